"""GAGAvatar's network on a device, and what draws for it there: shared by the streams of all avatars that it draws.

The CPU draws one picture after the other and is done when asked; a CUDA device draws batches, on one CUDA stream,
which nobody waits for. Batches are as large as the memory allows, and smaller where it turns out not to.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.gagavatar import GAGAvatar
from marotte.models.precision import full_float32
from marotte.renderers.cuda_frames import HostCopies
from marotte.renderers.gagavatar_graphs import Graphs
from marotte.renderers.gaussians import Gaussians, Raster
from marotte.renderers.rasterizers import backends, first_use, rasterize
from marotte.renderers.rasterizers.batch import GaussianBatch, Views
from marotte.renderers.rasterizers.cpu import Workspace as CpuWorkspace
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.rasterizers.triton_backend import Ticket, Workspace, draw_batch
from marotte.runtime.camera import Camera
from marotte.runtime.compiling import compiling

# Pictures drawn at once on CUDA, where there is memory for them: bytes of one, at most so much of what is free.
_MOST_FRAMES, _FRAME_BYTES, _SHARE = 32, 500 << 20, 0.5

Lap = Callable[[str], None]
# Draws B pictures on black: what a rasterizer returns, stacked, and the ticket that says whether all had room.
Painter = Callable[[GaussianBatch, Sequence[Camera], Lap], tuple[Raster, Ticket | None]]
# Reads a network: path, device and dtype as `GAGAvatar.load` takes them.
Loader = Callable[..., GAGAvatar]


@dataclass(frozen=True)
class EngineOptions:
    """How an engine draws.

    device: `cpu` or `cuda`; rasterizer: its name. precision: of the upsampler. compile: torch.compile, and on CUDA
    its calls as CUDA graphs.
    """

    device: str
    rasterizer: str
    precision: str = "float32"
    compile: bool = False


class Engine:
    """A network and what draws for it.

    batch: pictures that are drawn at once, a power of two. copies: to the host.
    """

    def __init__(self, network: GAGAvatar, options: EngineOptions, make_painter: Callable[[], Painter]) -> None:
        self.network, self.options = network, options
        self.device = network.head_base.device
        self.batch = 1
        self._upsampler: Callable[[Tensor, list[Tensor] | None], Tensor] = network.upsampler
        if options.compile:
            self._upsampler = torch.compile(network.upsampler, dynamic=False)
        self._graphs: Graphs | None = None
        self._stream: torch.cuda.Stream | None = None
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            most = min(_MOST_FRAMES, max(1, int(_SHARE * free / _FRAME_BYTES)))
            self.batch = 1 << (most.bit_length() - 1)
            self._stream = torch.cuda.Stream(self.device)
            # The weights may still be on their way.
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
            if options.compile:
                self._graphs = Graphs(self._upsampler, self.device)
        self._make_painter = make_painter
        self._paint = make_painter()
        # Guards the order on the stream, and what the painter and the graphs draw in.
        self._lock = threading.Lock()
        with self.at_work():
            self.copies = HostCopies(self.device)

    def paint(self, batch: GaussianBatch, cameras: Sequence[Camera], lap: Lap) -> tuple[Raster, Ticket | None]:
        """Return the pictures of Gaussians, 32 channels on black; only while at work."""
        return self._paint(batch, cameras, lap)

    def upsample(self, pictures: Tensor, noise: list[Tensor] | None) -> Tensor:
        """Return RGB [B, 3, s, s], 0 to 1, of rasterized pictures [B, s, s, 32]; only while at work.

        noise: as the network takes it. On CUDA the next call may overwrite what this one returned.
        """
        # A picture whose channels lie together is what convolutions are fastest with.
        given = pictures.permute(0, 3, 1, 2)
        with compiling("GAGAvatar", self.options.compile), full_float32(self.device):
            if self._graphs is not None:
                return self._graphs(given, noise)
            return self._upsampler(given, noise)

    def smaller(self) -> None:
        """Draw half as many pictures at once from now on, and say so; only while at work.

        Raises MarotteError where it was one.
        """
        if self.batch == 1:
            raise MarotteError(
                f"the memory of {self.device} is too small for a single picture of GAGAvatar: free some, or draw on "
                "the CPU (device cpu)"
            )
        self.batch //= 2
        what = f"{self.batch} picture{'s' if self.batch > 1 else ''}"
        warnings.warn(f"the memory of {self.device} is full: {what} at once from now on", MarotteWarning, stacklevel=2)
        # Both hold memory that is sized for the batches before.
        self._paint = self._make_painter()
        if self._graphs is not None:
            self._graphs = Graphs(self._upsampler, self.device)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def warm_up(self) -> None:
        """Compile what the first picture would wait for, and wait for it."""
        channels, size = self.network.config.channels, self.network.config.picture_size
        if self.device.type == "cpu":
            from marotte.renderers.rasterizers.cpu import warm_up

            warm_up((channels,))
        else:
            one = torch.zeros(1, 10 + channels, device=self.device)
            means, opacities, covariances, features = one.split((3, 1, 6, channels), dim=1)
            first_use.check(
                self.options.rasterizer,
                Gaussians(means=means, opacities=opacities[:, 0], covariances=covariances, features=features),
                self.device,
            )
        if self.device.type == "cuda" or self.options.compile:
            with self.at_work():
                for count in {1, self.batch}:
                    # A batch that is too large for the memory shows itself so when it is drawn.
                    with suppress(torch.cuda.OutOfMemoryError):
                        self.upsample(torch.zeros(count, size, size, channels, device=self.device), None)
                if self._stream is not None:
                    self._stream.synchronize()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """One thread at a time, on the engine's stream."""
        with self._lock, torch.no_grad():
            if self._stream is None:
                yield
            else:
                with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
                    yield


_ENGINES: WeakValueDictionary[tuple[Any, ...], Engine] = WeakValueDictionary()
_NETWORKS: WeakValueDictionary[tuple[Any, ...], GAGAvatar] = WeakValueDictionary()
_OPENING = threading.Lock()


def engine(weights: Path, options: EngineOptions, load: Loader | None = None) -> Engine:
    """Return the engine of a network's file, one for all who hold it; engines that differ otherwise share the weights.

    Raises MarotteError where the file cannot be read, or torch is not installed.
    """
    device = torch.device(options.device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    about = weights.stat() if weights.exists() else None
    stamp = (about.st_size, about.st_mtime_ns) if about else None
    kind = weights.absolute(), stamp, str(device), options.precision, load
    with _OPENING:
        found = _ENGINES.get((*kind, options))
        if found is None:
            network = _NETWORKS.get(kind)
            if network is None:
                dtype = getattr(torch, options.precision)
                network = lay_channels_together((load or GAGAvatar.load)(weights, device=device, dtype=dtype))
                _NETWORKS[kind] = network
            found = _ENGINES[(*kind, options)] = Engine(network, options, lambda: painter(options.rasterizer, device))
    return found


def lay_channels_together(network: GAGAvatar) -> GAGAvatar:
    """Lay the upsampler's weights as pictures whose channels lie together need them, and return it; values stay."""
    for parameter in network.upsampler.parameters():
        if parameter.dim() in (4, 5):
            # Modulated convolutions have one more dimension, of one, before.
            weight = parameter.data.reshape(parameter.shape[-4:]).contiguous(memory_format=torch.channels_last)
            parameter.data = weight if parameter.dim() == 4 else weight[None]
    return network


def painter(rasterizer: str, device: torch.device) -> Painter:
    """Return what draws with a rasterizer of that name, in memory of its own."""
    if device.type == "cpu":
        return _cpu_painter(rasterizer)
    return _batch_painter(rasterizer) if rasterizer == "triton" else _single_painter(rasterizer)


def _cpu_painter(rasterizer: str) -> Painter:
    workspace = CpuWorkspace()

    def paint(batch: GaussianBatch, cameras: Sequence[Camera], lap: Lap) -> tuple[Raster, Ticket | None]:
        pictures = []
        for index, camera in enumerate(cameras):
            raster = rasterize(_one(batch, index), camera, backend=rasterizer, workspace=workspace, clock=lap)
            if len(cameras) == 1:
                return Raster(raster.color[None], raster.transmittance[None]), None
            # The workspace is drawn in again.
            pictures.append(Raster(raster.color.clone(), raster.transmittance.clone()))
        return _stacked(pictures), None

    return paint


def _batch_painter(rasterizer: str) -> Painter:
    workspace = Workspace()

    def paint(batch: GaussianBatch, cameras: Sequence[Camera], lap: Lap) -> tuple[Raster, Ticket | None]:
        device = batch.means.device
        first_use.check(rasterizer, _one(batch, 0), device)
        views = Views.stack([PublishedSettings.from_camera(camera) for camera in cameras], device)
        return draw_batch(batch, views, workspace=workspace), workspace.ticket

    return paint


def _single_painter(rasterizer: str) -> Painter:
    draw = backends.load(rasterizer).draw

    def paint(batch: GaussianBatch, cameras: Sequence[Camera], lap: Lap) -> tuple[Raster, Ticket | None]:
        first_use.check(rasterizer, _one(batch, 0), batch.means.device)
        settings = map(PublishedSettings.from_camera, cameras)
        return _stacked([draw(_one(batch, i), view, None, depth=False) for i, view in enumerate(settings)]), None

    return paint


def _one(batch: GaussianBatch, index: int) -> Gaussians:
    """Return the Gaussians of one picture of a batch whose pictures differ in places alone."""
    return Gaussians(
        means=batch.means[index],
        opacities=batch.opacities,
        covariances=batch.covariances,
        features=batch.features,
    )


def _stacked(pictures: Sequence[Raster]) -> Raster:
    colour = torch.stack([picture.color for picture in pictures])
    return Raster(colour, torch.stack([picture.transmittance for picture in pictures]))
