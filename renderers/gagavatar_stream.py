"""One avatar of GAGAvatar on a device, the streams that show it, and the pictures under way.

FLAME and the forehead are worked out on the host, where a stream's frames follow each other; from there on frames are
drawn in batches, of whichever streams of the avatar have some.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marotte.errors import MarotteError
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.rotations import rotvec_to_matrix
from marotte.renderers.cuda_frames import Arrival, Behind
from marotte.renderers.face_marks import VertexMarks
from marotte.renderers.gagavatar_engine import Engine, Lap
from marotte.renderers.gagavatar_forehead import ForeheadStream
from marotte.renderers.gagavatar_identity import Person
from marotte.renderers.gagavatar_picture import Mark, finish, place
from marotte.renderers.rasterizers.batch import GaussianBatch
from marotte.renderers.rasterizers.triton_backend import Ticket
from marotte.runtime.affine import Affine2D
from marotte.runtime.background import Background
from marotte.runtime.camera import Camera
from marotte.runtime.contracts import Drive, FacePoints, RenderOptions, RenderStream, ignore_stage
from marotte.runtime.frames import Frames

# Batches under way on CUDA: one is copied while the next is drawn and a third waits its turn.
_IN_FLIGHT = 3
# Of a full pose: the rotations of root and neck.
_TURNS = 6


class Face:
    """One avatar on an engine's device, for all streams that show it. Holds no state of any of them.

    head: with the identity baked in, in world units. camera: of a straight head, for the network's own square.
    """

    def __init__(self, engine: Engine, person: Person, head: HeadEvaluator, camera: Camera) -> None:
        self.engine, self.head = engine, head
        with engine.at_work():
            self.person = person.to(engine.device)
        self.camera = self.in_square(camera)

    def in_square(self, camera: Camera) -> Camera:
        """Return a camera for the network's square, in which a picture of the camera's size shows the head."""
        size = self.engine.network.config.picture_size
        if (camera.width, camera.height) == (size, size):
            return camera
        left, top, side = place(camera.width, camera.height)
        factor = size / side
        return camera.through(Affine2D(factor, factor, -left * factor, -top * factor), size, size, camera.space)

    def following(self, camera: Camera, turns: np.ndarray, shift: np.ndarray) -> Camera:
        """Return the camera, for the network's square, that sees a still head as `camera` sees a moved one.

        turns: [6] rotation vectors of root and neck; shift: [3] world units, after them. Hair and shoulders, which
        FLAME has not, go where the head goes, and the forehead follows slowly without being left behind.
        """
        if shift.any():
            camera = replace(camera, t=camera.t + camera.R @ shift)
        if turns.any():
            for turn, pivot in zip(rotvec_to_matrix(turns.reshape(2, 3)), self.pivots, strict=True):
                camera = camera.moved(turn, pivot)
        return self.in_square(camera)

    @cached_property
    def pivots(self) -> np.ndarray:
        """[2, 3] what root and neck turn about, in world units."""
        model = self.head.model
        return self.head.scale * (model.joint_regressor[:2].astype(np.float64) @ model.v_template)

    @cached_property
    def marks(self) -> VertexMarks:
        """Where its landmarks are."""
        return VertexMarks(self.head)

    def gaussians(self, vertices: Tensor) -> GaussianBatch:
        """Return the Gaussians of frames with FLAME vertices [T, 5023, 3] on the device, in world units."""
        person = self.person
        return GaussianBatch(
            means=torch.cat([vertices, person.plane_means.expand(len(vertices), -1, -1)], dim=1),
            opacities=person.opacities,
            covariances=person.covariances,
            features=person.features,
        )

    def submit(self, pieces: "Sequence[tuple[GAGAvatarStream, Drive]]") -> "Pictures":
        """Start to draw pieces of work of one size, all transparent or none; the CPU is done with it on return."""
        vertices, cameras = zip(*(stream.posed(drive) for stream, drive in pieces), strict=True)
        first_stream, first_drive = pieces[0]
        channels = 4 if first_drive.background.transparent else 3
        ticks = np.concatenate([drive.ticks for _, drive in pieces])
        with self.engine.at_work():
            shape = len(ticks), first_stream.height, first_stream.width, channels
            job = _Job(
                ticks=ticks,
                vertices=torch.cat(vertices),
                cameras=[camera for some in cameras for camera in some],
                streams=[stream for stream, drive in pieces for _ in range(len(drive))],
                backgrounds=[drive.background for _, drive in pieces for _ in range(len(drive))],
                pixels=self.engine.copies.room(shape, torch.uint8),
            )
            under_way = self._draw(job, slice(0, len(ticks)))
        return Pictures(self, job, under_way, [len(drive) for _, drive in pieces])

    def draw_again(self, job: "_Job", span: slice) -> "list[_UnderWay]":
        """Draw a span of a job once more, after its ticket has made room."""
        with self.engine.at_work():
            return self._draw(job, span)

    def _draw(self, job: "_Job", span: slice) -> "list[_UnderWay]":
        """Start to draw a span in batches that the memory has room for."""
        under_way, low = [], span.start
        while low < span.stop:
            part = slice(low, min(low + self.engine.batch, span.stop))
            with suppress(torch.cuda.OutOfMemoryError):
                under_way.append(self._draw_batch(job, part))
                low = part.stop
                continue
            # Here nothing of the batch that failed is held any more.
            self.engine.smaller()
        return under_way

    def _draw_batch(self, job: "_Job", span: slice) -> "_UnderWay":
        engine = self.engine
        streams = job.streams[span]
        lap: Lap = streams[0].lap if engine.device.type == "cpu" else ignore_stage
        vertices = job.vertices[span]
        if engine.device.type == "cuda":
            # From memory that is not pinned the copy would wait for the batches before.
            vertices = vertices.pin_memory().to(engine.device, non_blocking=True)
        batch = self.gaussians(vertices)
        lap("head")
        raster, ticket = engine.paint(batch, job.cameras[span], lap)
        pictures = engine.upsample(raster.color, _noise(streams))
        lap("upsample")
        target = job.pixels[span]
        pixels = torch.empty(target.shape, dtype=torch.uint8, device=engine.device)
        for low, high in _runs(streams, job.backgrounds[span]):
            stream, background = streams[low], job.backgrounds[span][low]
            behind = stream.behind.on_device(background)
            through = raster.transmittance[low:high]
            finish(pictures[low:high], through, behind, background.own, stream.mark, pixels[low:high])
        arrival = engine.copies.send((pixels, target))
        lap("bytes")
        return _UnderWay(span, ticket, arrival)


class GAGAvatarStream(RenderStream):
    """One face: its forehead, its noise, its mark.

    noise: the generator that draws it, None for the network's own.
    """

    def __init__(self, face: Face, options: RenderOptions, mark: Mark | None, noise: torch.Generator | None) -> None:
        self.width, self.height = options.width, options.height
        self.face, self.mark, self.noise = face, mark, noise
        self.camera = face.camera
        self.batch = face.engine.batch
        self.gaussian_count = len(face.person.opacities)
        self.in_flight = _IN_FLIGHT if face.engine.device.type == "cuda" else 1
        self.behind = Behind(face.engine.device)
        self._forehead = ForeheadStream()

    def reset(self) -> None:
        """Let the forehead start anew."""
        self._forehead.reset()

    def posed(self, drive: Drive) -> tuple[Tensor, list[Camera]]:
        """Return the vertices [T, 5023, 3] of the next frames, on the CPU, and the network's cameras.

        Raises MarotteError, and the stream stays as it was, where the motion is not finite.
        """
        vertices, turns, shifts = self._still(drive)
        finite = np.isfinite(vertices).all(axis=(1, 2)) & np.isfinite(np.hstack([turns, shifts])).all(axis=1)
        if not finite.all():
            tick = drive.ticks[np.argmin(finite)]
            raise MarotteError(f"the motion at tick {tick} has NaN or infinite values: mend what drives the head")
        cameras = map(self.face.following, drive.cameras, turns, shifts)
        return self._forehead(drive.ticks, torch.from_numpy(vertices)), list(cameras)

    def face_points(self, drive: Drive) -> FacePoints | None:
        """Return the landmarks on FLAME's vertices, which are Gaussians each; brows as FLAME moves them, without the
        forehead's slow following. Its picture shows them where the drive's cameras, of the network's square, do."""
        vertices, turns, shifts = self._still(drive)
        found = self.face.marks.points(vertices)
        if found is None:
            return None
        points = found.points
        neck, root = (rotvec_to_matrix(turns[:, part]) for part in (slice(3, 6), slice(3)))
        for turn, pivot in zip((neck, root), self.face.pivots[::-1], strict=True):
            points = np.einsum("tij,tnj->tni", turn, points - pivot) + pivot
        return replace(found, points=points + shifts[:, None])

    def _still(self, drive: Drive) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the vertices [T, 5023, 3] of a head held still, and what its camera does instead: the rotation
        vectors [T, 6] of root and neck, and the shift [T, 3] in world units."""
        state, head = drive.head, self.face.head
        lids = state.eyelids if head.model.eyelid_fields is not None else None
        pose = state.full_pose
        turns = pose[:, :_TURNS].astype(np.float64)
        pose[:, :_TURNS] = 0
        return head.vertices(state.expression, pose, lids), turns, state.translation.astype(np.float64) * head.scale


@dataclass(frozen=True, eq=False)
class _Job:
    """Frames that are drawn together: what each depends on, and the host memory that they go to."""

    ticks: np.ndarray
    vertices: Tensor
    cameras: list[Camera]
    streams: list[GAGAvatarStream]
    backgrounds: list[Background]
    pixels: Tensor


class _UnderWay(NamedTuple):
    span: slice
    ticket: Ticket | None
    arrival: Arrival


class Pictures:
    """Pictures under way."""

    def __init__(self, face: Face, job: _Job, under_way: list[_UnderWay], counts: list[int]) -> None:
        self._face, self._job, self._under_way, self._counts = face, job, under_way, counts

    def result(self) -> list[Frames]:
        """Wait for the pictures and return them, a batch for each piece of work."""
        while self._under_way:
            span, ticket, arrival = self._under_way[0]
            # First what sleeps; the ticket, which would not, has its count by then.
            arrival.wait()
            overflowed = ticket is not None and ticket.overflowed()
            self._under_way[:1] = self._face.draw_again(self._job, span) if overflowed else []
        pixels, stops = self._job.pixels.numpy(), np.cumsum(self._counts)
        form = "rgba" if pixels.shape[-1] == 4 else "rgb24"
        return [
            Frames(self._job.ticks[stop - count : stop], pixels[stop - count : stop], form)
            for count, stop in zip(self._counts, stops, strict=True)
        ]


def _noise(streams: Sequence[GAGAvatarStream]) -> list[Tensor] | None:
    """Return noise for a picture of each stream, as each one's generator draws it; None for the network's own."""
    if all(stream.noise is None for stream in streams):
        return None
    network = streams[0].face.engine.network
    stored = network.stored_noise()
    drawn = [stored if stream.noise is None else network.random_noise(stream.noise) for stream in streams]
    return [torch.cat(layer) for layer in zip(*drawn, strict=True)]


def _runs(streams: Sequence[GAGAvatarStream], backgrounds: Sequence[Background]) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) for each run of frames of one stream before one background."""
    low = 0
    for high in range(1, len(streams) + 1):
        if high == len(streams) or streams[high] is not streams[low] or backgrounds[high] is not backgrounds[low]:
            yield low, high
            low = high
