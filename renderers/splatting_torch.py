"""The SplattingAvatar renderer on a torch device: batches of frames, nothing waited for until pictures are wanted.

What a frame depends on goes to the device in one copy for a batch; Gaussians, pictures and bytes are made there; the
bytes come back on a stream of their own. Streams that share an avatar are drawn together.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from marotte.errors import MarotteError
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_torch import TorchSplats, TorchSplatted
from marotte.renderers.cuda_frames import Behind, to_bytes
from marotte.renderers.device_jobs import Drawn, UnderWay, Workplace, batch_size, same_runs
from marotte.renderers.face_marks import GaussianMarks, posed
from marotte.renderers.gaussians import Gaussians, Raster
from marotte.renderers.rasterizers import backends, first_use
from marotte.renderers.rasterizers.batch import GaussianBatch, Views
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.rasterizers.triton_backend import Ticket, Workspace, draw_batch
from marotte.renderers.splatting_update import SplattingUpdate
from marotte.runtime.camera import Camera
from marotte.runtime.contracts import Drive, FacePoints, RenderOptions, RenderStream

# Frames and Gaussians drawn at once: enough to fill a large device; the update needs some 200 bytes for each pair.
_MOST_FRAMES, _MOST_GAUSSIANS = 32, 2**22
# Batches under way in a session: one is copied while the next is drawn and a third waits its turn.
_IN_FLIGHT = 3

# Draws B pictures on black: what `draw_batch` returns, and the ticket that says whether all had room, if it has one.
Painter = Callable[[GaussianBatch, Sequence[PublishedSettings]], tuple[Raster, Ticket | None]]


class TorchAvatar:
    """One avatar on a device, for all streams that show it. Holds no state of any of them.

    head: with the identity baked in; splats: on numpy; paint: what draws, in memory that no other avatar draws in.
    """

    def __init__(self, head: HeadEvaluator, splats: SplattingAvatar, device: str, paint: Painter) -> None:
        # A power of two, as the update's graphs are.
        self.batch = batch_size(len(splats), _MOST_FRAMES, _MOST_GAUSSIANS)
        self.head, self._splats, self._paint = head, splats, paint
        self.gaussian_count = len(splats)
        self._place = Workplace(device)
        self.device = self._place.device
        with self._place.at_work():
            # Its memory is overwritten by its next call: only while at work.
            self.update = SplattingUpdate(head.model, head.scale, splats, self.device)

    @cached_property
    def marks(self) -> GaussianMarks:
        """Where its landmarks and its head are, worked out on the CPU."""
        return GaussianMarks(self.head, self._splats)

    def submit(self, pieces: "Sequence[tuple[TorchStream, Drive]]") -> Drawn:
        """Start to draw pieces of work of one size, all transparent or none."""
        first_stream, first_drive = pieces[0]
        channels = 4 if first_drive.background.transparent else 3
        ticks = np.concatenate([drive.ticks for _, drive in pieces])
        cameras = [camera for _, drive in pieces for camera in drive.cameras]
        with self._place.at_work():
            shape = len(ticks), first_stream.height, first_stream.width, channels
            job = _Job(
                ticks,
                np.concatenate([self.update.rows(drive.head, drive.cameras) for _, drive in pieces]),
                _settings(cameras),
                [stream.behind.on_device(drive.background) for stream, drive in pieces for _ in range(len(drive))],
                self._place.copies.room(shape, torch.uint8),
                self._place.copies.room(shape[:1], torch.bool),
            )
            spans = [slice(low, min(low + self.batch, len(ticks))) for low in range(0, len(ticks), self.batch)]
            under_way = [self._draw(job, span) for span in spans]
        counts = [len(drive) for _, drive in pieces]
        return Drawn(ticks, job.pixels, counts, under_way, lambda span: [self._draw_again(job, span)], job.check)

    def _draw_again(self, job: "_Job", span: slice) -> UnderWay:
        with self._place.at_work():
            return self._draw(job, span)

    def _draw(self, job: "_Job", span: slice) -> UnderWay:
        splatted, finite = self.update(job.rows[span])
        batch = _batch(self.update.splats, splatted)
        raster, ticket = self._paint(batch, job.settings[span])
        target = job.pixels[span]
        pixels = torch.empty(target.shape, dtype=torch.uint8, device=self.device)
        for run, behind in same_runs(job.behind[span]):
            to_bytes(raster.color[run], raster.transmittance[run], behind, pixels[run])
        # What the update returned is overwritten by the next one, so its flags are copied before they are sent.
        return UnderWay(span, ticket, self._place.copies.send((pixels, target), (finite.clone(), job.finite[span])))


class TorchStream(RenderStream):
    """One face on a torch device."""

    in_flight = _IN_FLIGHT

    def __init__(self, avatar: TorchAvatar, options: RenderOptions) -> None:
        self.width, self.height = options.width, options.height
        self.avatar, self.batch = avatar, avatar.batch
        self.gaussian_count = avatar.gaussian_count
        self.behind = Behind(avatar.device)

    def face_points(self, drive: Drive) -> FacePoints | None:
        """Return the landmarks, carried by the Gaussians that are drawn: worked out by the CPU's evaluators from the
        same head states, which agree with the device's to rounding, so that nothing waits for the device."""
        return self.avatar.marks.points(posed(self.avatar.head, drive))

    def head_boxes(self, drive: Drive) -> np.ndarray:
        """Return the boxes [T, 4] of the opaque Gaussians of the head, without those of neck and shoulders; on the CPU
        too."""
        return self.avatar.marks.boxes(posed(self.avatar.head, drive), drive)


class _Job(NamedTuple):
    """Frames that are drawn together: what they depend on, and the host memory that they go to."""

    ticks: np.ndarray
    rows: np.ndarray
    settings: list[PublishedSettings]
    behind: list[torch.Tensor | None]
    pixels: torch.Tensor
    finite: torch.Tensor

    def check(self) -> None:
        """Raise MarotteError where a frame's mesh was not finite."""
        finite = self.finite.numpy()
        if not finite.all():
            tick = self.ticks[np.argmin(finite)]
            raise MarotteError(f"the motion at tick {tick} has NaN or infinite values: mend what drives the head")


def warm_up(splats: SplattingAvatar, camera: Camera, rasterizer: str) -> None:
    """Draw an avatar at rest on CUDA and wait for it: kernels are compiled, or loaded from their cache."""
    with torch.inference_mode():
        source = TorchSplats(splats, "cuda")
        driven = source.drive(torch.from_numpy(splats.canonical)[None].to("cuda"))
        painter(rasterizer)(_batch(source, driven), [PublishedSettings.from_camera(camera)])
        torch.cuda.synchronize()


def painter(rasterizer: str) -> Painter:
    """Return what draws with a rasterizer of that name: batches, where it can, else one picture after the other."""
    if rasterizer != "triton":
        return single_painter(rasterizer)
    workspace = Workspace()

    def paint(batch: GaussianBatch, settings: Sequence[PublishedSettings]) -> tuple[Raster, Ticket | None]:
        device = batch.means.device
        first_use.check(rasterizer, picture_of(batch, 0), device)
        return draw_batch(batch, Views.stack(settings, device), workspace=workspace), workspace.ticket

    return paint


def single_painter(rasterizer: str) -> Painter:
    """Return what draws one picture after the other with a rasterizer that has no batches."""
    draw = backends.load(rasterizer).draw

    def paint(batch: GaussianBatch, settings: Sequence[PublishedSettings]) -> tuple[Raster, Ticket | None]:
        first_use.check(rasterizer, picture_of(batch, 0), batch.means.device)
        pictures = [draw(picture_of(batch, index), view, None, depth=False) for index, view in enumerate(settings)]
        colour = torch.stack([picture.color for picture in pictures])
        return Raster(colour, torch.stack([picture.transmittance for picture in pictures])), None

    return paint


def picture_of(batch: GaussianBatch, index: int) -> Gaussians:
    """Return the Gaussians of one picture of a batch."""

    def part(value: torch.Tensor | None, shared: int) -> torch.Tensor | None:
        return value[index] if value is not None and value.dim() > shared else value

    return Gaussians(
        means=batch.means[index],
        opacities=part(batch.opacities, 1),
        quats_wxyz=part(batch.quats_wxyz, 2),
        scales=part(batch.scales, 2),
        features=part(batch.features, 2),
        sh=batch.sh,
        sh_degree=batch.sh_degree,
    )


def _batch(source: TorchSplats, splatted: TorchSplatted) -> GaussianBatch:
    outside = splatted.colours is not None
    return GaussianBatch(
        means=splatted.means,
        opacities=source.opacities,
        quats_wxyz=splatted.quats_wxyz,
        scales=splatted.scales,
        features=splatted.colours,
        sh=None if outside else source.sh,
        sh_degree=None if outside else source.avatar.sh_degree,
    )


def _settings(cameras: Sequence[Camera]) -> list[PublishedSettings]:
    """Return the settings of cameras, each worked out once: most films have one camera."""
    known: dict[int, PublishedSettings] = {}
    return [
        known.get(id(camera)) or known.setdefault(id(camera), PublishedSettings.from_camera(camera))
        for camera in cameras
    ]
