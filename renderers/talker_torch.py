"""The GaussianTalker renderer on a torch device: batches of frames, nothing waited for until pictures are wanted.

What a frame depends on goes to the device, and bytes come back on a stream of their own; torsos that have been there
stay there while there is room. Streams that show the same head at the same size are drawn together.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.gaussian_talker.config import CLASSES, STEPS, WINDOWS
from marotte.renderers.cuda_frames import Behind, to_bytes
from marotte.renderers.device_jobs import Drawn, UnderWay, Workplace, batch_size, same_runs
from marotte.renderers.rasterizers.batch import GaussianBatch
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.splatting_torch import Painter
from marotte.renderers.talker_person import Heard, Person, Splats, colours
from marotte.renderers.talker_poses import Pose
from marotte.renderers.talker_torsos import Torsos
from marotte.runtime.background import Background

# Frames, and pairs of a frame and a Gaussian, drawn at once: enough to fill a large device; a pair takes some 4 KB.
_MOST_FRAMES, _MOST_PAIRS = 32, 2**20
# Share of the device's memory that torsos may take.
_TORSO_SHARE = 1 / 8


class Piece(NamedTuple):
    """Frames of one stream. frames: [T] recorded frames whose torsos are shown; background: none of the avatar's own;
    behind: the stream's."""

    ticks: np.ndarray
    heard: Heard
    settings: list[PublishedSettings]
    frames: list[int]
    torsos: Torsos
    background: Background
    behind: Behind


class DeviceTalker:
    """One head on a device, for all streams that show it. Holds no state of any of them.

    load: returns the head on the device that it is given. paint: what draws, in memory that no other head draws in.
    batch: frames that it likes at once.
    """

    def __init__(self, load: Callable[[torch.device], Person], device: str, paint: Painter) -> None:
        self._place = Workplace(device)
        self.device = self._place.device
        self._paint = paint
        # Those used last, by frame, width and height; changed only while at work.
        self._torsos: OrderedDict[tuple[int, int, int], Tensor] = OrderedDict()
        self._torso_room = _torso_room(self.device)
        with self._place.at_work():
            self.person = load(self.device)
        self.batch = batch_size(self.person.count, _MOST_FRAMES, _MOST_PAIRS)

    def submit(self, pieces: Sequence[Piece]) -> Drawn:
        """Start to draw pieces of work of one size, all transparent or none."""
        first = pieces[0]
        channels = 4 if first.background.transparent else 3
        ticks = np.concatenate([piece.ticks for piece in pieces])
        # Read, by several threads, before the device is taken: this is what takes time here.
        read = self._read(first.torsos, [frame for piece in pieces for frame in piece.frames])
        shape = len(ticks), first.torsos.height, first.torsos.width, channels
        with self._place.at_work():
            job = _Job(
                Heard(*(torch.cat(parts) for parts in zip(*(piece.heard for piece in pieces), strict=True))),
                [view for piece in pieces for view in piece.settings],
                [self._on_device(piece.torsos, frame, read) for piece in pieces for frame in piece.frames],
                [piece.behind.on_device(piece.background) for piece in pieces for _ in piece.frames],
                self._place.copies.room(shape, torch.uint8),
            )
            under_way = self._draw_all(job, slice(0, len(ticks)))
        counts = [len(piece.ticks) for piece in pieces]
        return Drawn(ticks, job.pixels, counts, under_way, lambda span: self._draw_again(job, span))

    def splats(self, heard: Heard) -> Splats:
        """Return the Gaussians of frames, which the device has made when they are here."""
        with self._place.at_work():
            made = self.person.splats(heard)
            self._place.wait()
        return made

    def warm_up(self) -> None:
        """Draw a silent frame and wait for it: kernels are compiled, or loaded from their cache."""
        camera, silence = self.person.recording.cameras[0], np.zeros((1, WINDOWS, CLASSES * STEPS), np.float32)
        heard = Heard.of(silence, np.zeros(1), [Pose(0, camera)])
        settings = [PublishedSettings.from_camera(camera)]
        with self._place.at_work():
            self._paint(self._batch(heard, settings), settings)
            self._place.wait()

    def _draw_again(self, job: "_Job", span: slice) -> list[UnderWay]:
        with self._place.at_work():
            return self._draw_all(job, span)

    def _draw_all(self, job: "_Job", span: slice) -> list[UnderWay]:
        """Draw a span in batches, smaller ones where the device's memory is not enough."""
        done, low = list[UnderWay](), span.start
        while low < span.stop:
            part = slice(low, min(low + self.batch, span.stop))
            with suppress(torch.cuda.OutOfMemoryError):
                done.append(self._draw(job, part))
                low = part.stop
                continue
            # Here nothing of the batch that failed is held any more.
            self._shrink(part.stop - part.start)
        return done

    def _shrink(self, failed: int) -> None:
        """Make batches smaller than one that failed, and say so. Raises MarotteError where one frame is too much."""
        self._torsos.clear()
        torch.cuda.empty_cache()
        heads = f"of {self.person.count} Gaussians"
        if failed == 1:
            raise MarotteError(
                f"{self.device} has no memory for one frame {heads}: end what else uses it, or draw with --device cpu"
            )
        self.batch = 1 << ((failed - 1).bit_length() - 1)
        self._torso_room //= 2
        warnings.warn(
            f"{self.device} has no memory for {failed} frames {heads} at once: drawing {self.batch}, which is slower",
            MarotteWarning,
            stacklevel=2,
        )

    def _draw(self, job: "_Job", span: slice) -> UnderWay:
        settings = job.settings[span]
        raster, ticket = self._paint(self._batch(job.heard.part(span), settings), settings)
        colour, through = put_under(raster.color, raster.transmittance, torch.stack(job.torsos[span]))
        target = job.pixels[span]
        pixels = torch.empty(target.shape, dtype=torch.uint8, device=self.device)
        for run, behind in same_runs(job.behind[span]):
            to_bytes(colour[run], through[run], behind, pixels[run])
        return UnderWay(span, ticket, self._place.copies.send((pixels, target)))

    def _batch(self, heard: Heard, settings: Sequence[PublishedSettings]) -> GaussianBatch:
        splats = self.person.splats(heard)
        centres = self._place.bring(torch.from_numpy(np.stack([view.campos for view in settings])))
        return GaussianBatch(
            means=splats.means,
            opacities=splats.opacities,
            quats_wxyz=splats.quats_wxyz,
            scales=splats.scales,
            features=colours(splats, centres),
        )

    def _read(self, torsos: Torsos, frames: Sequence[int]) -> dict[int, np.ndarray]:
        """Return the torsos of frames that are not on the device yet."""
        with self._place.at_work():
            missing = [frame for frame in map(torsos.shown, frames) if self._key(torsos, frame) not in self._torsos]
        return torsos.torsos(missing)

    def _on_device(self, torsos: Torsos, frame: int, read: Mapping[int, np.ndarray]) -> Tensor:
        """Return a torso on the device; the last ones used are kept there."""
        shown = torsos.shown(frame)
        key = self._key(torsos, shown)
        if key in self._torsos:
            self._torsos.move_to_end(key)
            return self._torsos[key]
        # Another thread's work may have taken its place since it was looked for.
        picture = read[shown] if shown in read else torsos.torso(shown)
        torso = self._torsos[key] = self._place.bring(torch.from_numpy(picture))
        while len(self._torsos) > max(1, self._torso_room // picture.nbytes):
            self._torsos.popitem(last=False)
        return torso

    @staticmethod
    def _key(torsos: Torsos, shown: int) -> tuple[int, int, int]:
        return shown, torsos.width, torsos.height


class _Job(NamedTuple):
    """Frames that are drawn together: what they depend on, and the host memory that they go to."""

    heard: Heard
    settings: list[PublishedSettings]
    torsos: list[Tensor]
    behind: list[Tensor | None]
    pixels: Tensor


def put_under(colour: Tensor, transmittance: Tensor, torsos: Tensor) -> tuple[Tensor, Tensor]:
    """Return colour [B, H, W, 3] and transmittance [B, H, W] with torsos [B, H, W, 4] uint8 laid under them.

    What `talker_torsos.put_under` does for one picture on the CPU.
    """
    alpha = torsos[..., 3].float().div_(255)
    torso = torsos[..., :3].float().div_(255).mul_(alpha[..., None]).mul_(transmittance[..., None])
    return torso.add_(colour), transmittance * (1 - alpha)


def _torso_room(device: torch.device) -> int:
    if device.type != "cuda":
        return 64 << 20
    return int(torch.cuda.get_device_properties(device).total_memory * _TORSO_SHARE)
