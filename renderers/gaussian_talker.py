"""The GaussianTalker renderer: a filmed head of Gaussians that a network moves by sound, blink and head pose.

The network hears the sound itself; of the motion only lids and, if asked, the head's pose are read. This file is the
renderer and the CPU's way to draw; CUDA's is `talker_torch`. Nothing here imports torch before a face is opened.
Source: reference/gaussiantalker/SPEC.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import numba
import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.gaussian_talker import find_model
from marotte.models.gaussian_talker.config import CLASSES, STEPS, WINDOWS
from marotte.renderers.devices import choose_device
from marotte.renderers.face_marks import SEEN, box_of
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import rasterize
from marotte.renderers.rasterizers.cpu import Workspace
from marotte.renderers.rasterizers.cpu import warm_up as warm_up_cpu
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.splat_pictures import to_pixels
from marotte.renderers.talker_poses import DrivenTrack, Lids, Pose, RecordedTrack, Track
from marotte.renderers.talker_torsos import Torsos, put_under
from marotte.runtime.affine import Affine2D
from marotte.runtime.avatar import Avatar
from marotte.runtime.avatars.talker import TalkerFiles, talker_files
from marotte.runtime.background import Background
from marotte.runtime.camera import Camera
from marotte.runtime.contracts import Drive, Needs, Pending, Renderer, RenderOptions, RenderStream
from marotte.runtime.frames import Frames
from marotte.runtime.recording import FPS, Recording, camera_of, read_recording
from marotte.runtime.talker_features import choose

if TYPE_CHECKING:
    from marotte.renderers.splatting_torch import Painter
    from marotte.renderers.talker_person import Heard, Person, Splats
    from marotte.renderers.talker_torch import DeviceTalker, Piece

POSES = ("recorded", "motion")
PRECISIONS = ("float32", "bfloat16", "float16")
_OPTIONS = ("device", "features", "normalise", "pose", "precision", "rasterizer")
_SH_DEGREE = 3
# Batches under way in a session on CUDA: one is copied while the next is drawn and a third waits its turn.
_IN_FLIGHT = 3


class TalkerStream(RenderStream):
    """One face: where it is in its recording, and the pictures behind its head.

    notes: what a user should know about what the pictures show.
    """

    fps = Fraction(FPS)

    def __init__(self, avatar: Avatar, recording: Recording, options: RenderOptions, pose: str) -> None:
        """Raises MarotteError for a size of another shape than the recording's pictures."""
        extra = options.extra
        self.width, self.height = options.width, options.height
        native = recording.cameras[0]
        _check_size(avatar, options, native)
        self._scale = Affine2D(self.width / native.width, self.height / native.height)
        self.camera = self._scaled(native)
        middle = recording.euler.mean(axis=0), recording.translation.mean(axis=0)
        self.neutral = self._scaled(camera_of(*middle, native.K[0, 0], native.width, native.height))
        self.features = choose(extra.get("features"), avatar.features, extra.get("normalise"), avatar=avatar.name)
        self.torsos = Torsos.of(recording, self.width, self.height)
        self._own = Background(image=self.torsos.plain)
        self.lids = Lids(recording.blinks)
        self.track: Track = RecordedTrack(recording) if pose == "recorded" else DrivenTrack(recording)
        self.notes = (*_notes(pose, self.lids), *recording.notes)

    def reset(self) -> None:
        """Forget which torso was shown."""
        self.track.reset()

    def shots(self, drive: Drive, track: Track | None = None) -> "tuple[Heard, list[Pose], list[Camera]]":
        """Return what the network gets of a batch, its poses, and its cameras at the stream's size.

        track: in place of the stream's own, which goes on with the drive. Raises MarotteError where the drive has no
        audio features, or some that are not finite.
        """
        from marotte.renderers.talker_person import Heard

        if drive.features is None:
            raise MarotteError("gaussian-talker needs audio features and got none: give it those of its stream's need")
        finite = np.isfinite(drive.features).reshape(len(drive), -1).all(axis=1)
        if not finite.all():
            raise MarotteError(
                f"the audio features at tick {drive.ticks[np.argmin(finite)]} are not finite: mend where they come from"
            )
        poses = (track or self.track).poses(drive)
        heard = Heard.of(drive.features, self.lids.values(drive.head.eyelids), poses)
        return heard, poses, [self._scaled(pose.camera) for pose in poses]

    def head_boxes(self, drive: Drive) -> np.ndarray:
        """Return the boxes [T, 4] of the opaque Gaussians of the head, in the pose that the pictures have.

        Without audio features, of a silent head. It takes the network's time, and the track stays where it is. Heads
        that were trained with their torso, in recordings without one, are measured with it.
        """
        if drive.features is None:
            drive = replace(drive, features=np.zeros((len(drive), WINDOWS, CLASSES * STEPS), np.float32))
        heard, _, cameras = self.shots(drive, copy(self.track))
        boxes = np.full((len(drive), 4), np.nan)
        for box, splats, camera in zip(boxes, self.heads(heard), cameras, strict=True):
            means, opacities = splats.means[0].cpu().numpy(), splats.opacities[0].cpu().numpy()
            box[:] = box_of(means[opacities >= SEEN], camera)
        return boxes

    def heads(self, heard: "Heard") -> "Iterator[Splats]":
        """Yield the Gaussians of each frame, B = 1."""
        raise NotImplementedError

    def behind(self, background: Background) -> Background:
        """Return what stands behind the torso."""
        return self._own if background.own else background

    def _scaled(self, camera: Camera) -> Camera:
        if (camera.width, camera.height) == (self.width, self.height):
            return camera
        return camera.through(self._scale, self.width, self.height, "render")


class CpuStream(TalkerStream):
    """One face on the CPU, with the memory that its pictures are drawn in."""

    def __init__(self, person: "Person", rasterizer: str, avatar: Avatar, options: RenderOptions, pose: str) -> None:
        super().__init__(avatar, person.recording, options, pose)
        self.person = person
        self.rasterizer: str = rasterizer
        self.gaussian_count = person.count
        self.workspace = Workspace()

    def heads(self, heard: "Heard") -> "Iterator[Splats]":
        """Yield the Gaussians of each frame, B = 1."""
        return self.person.one_by_one(heard)


class DeviceStream(TalkerStream):
    """One face on a torch device."""

    in_flight = _IN_FLIGHT

    def __init__(self, talker: "DeviceTalker", avatar: Avatar, options: RenderOptions, pose: str) -> None:
        from marotte.renderers.cuda_frames import Behind

        super().__init__(avatar, talker.person.recording, options, pose)
        self.talker, self.batch = talker, talker.batch
        self.gaussian_count = talker.person.count
        self._behind: Behind = Behind(talker.device)

    def heads(self, heard: "Heard") -> "Iterator[Splats]":
        """Yield the Gaussians of each frame, B = 1, on the device."""
        for index in range(len(heard.audio)):
            yield self.talker.splats(heard.part(slice(index, index + 1)))

    def piece(self, drive: Drive) -> "Piece":
        """Return a batch of this stream's as work for the device."""
        from marotte.renderers.talker_torch import Piece

        heard, poses, cameras = self.shots(drive)
        return Piece(
            drive.ticks,
            heard,
            [PublishedSettings.from_camera(camera) for camera in cameras],
            [pose.frame for pose in poses],
            self.torsos,
            self.behind(drive.background),
            self._behind,
        )


class GaussianTalkerRenderer(Renderer):
    """Draws avatars that have a GaussianTalker network and the tracked recording of their person.

    Options: `pose`, `recorded` (the recording's own head motion, forth and back) or `motion` (as driven); `features`
    and `normalise`, which audio features (`marotte.runtime.talker_features.choose`); `precision` of the network's large
    products; `device`, one of auto, cpu, cuda; `rasterizer`, the name of a back end, which may imply the device.
    """

    needs = Needs(head=False, blink=True, head_pose=True)

    def __init__(self, paint: "Painter | None" = None) -> None:
        """Take what draws in batches, for tests of the device's way without the device."""
        self._paint = paint
        # By what distinguishes them, for as long as a stream shows them.
        self._shared: WeakValueDictionary[tuple, Any] = WeakValueDictionary()

    @staticmethod
    def why_not() -> str:
        """Return what is missing here for this renderer, in words; nothing is loaded to find out."""
        return "" if find_spec("torch") else "torch is not installed (pip install 'marotte[gaussian-talker]')"

    def open(self, avatar: Avatar, options: RenderOptions) -> RenderStream:
        """Return the stream of a new face. Raises MarotteError where the avatar's files or the options do not fit."""
        if missing := self.why_not():
            raise MarotteError(f"gaussian-talker cannot be used here: {missing}")
        pose, precision = _chosen(options.extra)
        device, rasterizer = choose_device(
            str(options.extra.get("device", "auto")), str(options.extra.get("rasterizer", "auto"))
        )
        files = talker_files(avatar)
        on_device = device != "cpu" or self._paint is not None
        kind = avatar.path, avatar.network, avatar.recording, device, precision, rasterizer if on_device else ""
        shared = self._shared.get(kind)
        if shared is None:
            shared = self._open(files, device, rasterizer, precision)
            self._shared[kind] = shared
        if on_device:
            stream = DeviceStream(cast("DeviceTalker", shared), avatar, options, pose)
            stream.rasterizer = rasterizer
            return stream
        return CpuStream(cast("Person", shared), rasterizer, avatar, options, pose)

    def _open(self, files: TalkerFiles, device: str, rasterizer: str, precision: str) -> "Person | DeviceTalker":
        import torch

        from marotte.renderers.talker_person import Person

        recording = read_recording(files.data, files.frames)

        def load(where: torch.device) -> Person:
            return Person.load(find_model(files.model), recording, where, precision)

        if device == "cpu" and not self._paint:
            return load(torch.device(device))
        from marotte.renderers.splatting_torch import painter
        from marotte.renderers.talker_torch import DeviceTalker

        return DeviceTalker(load, device, self._paint or painter(rasterizer))

    def render(self, stream: RenderStream, drive: Drive) -> Frames:
        """Return the pictures of a batch: rgb24, or rgba where the background is transparent."""
        if isinstance(stream, CpuStream):
            return _render(stream, drive)
        return self.submit([(stream, drive)]).result()[0]

    def submit(self, work: Sequence[tuple[RenderStream, Drive]]) -> Pending:
        """Start work on several streams. On CUDA it returns at once, and streams that share a head and a size are
        drawn together."""
        together: dict[tuple, list[int]] = {}
        parts: list[tuple[Sequence[int], Pending]] = []
        here: list[int] = []
        for index, (stream, drive) in enumerate(work):
            if isinstance(stream, DeviceStream):
                kind = id(stream.talker), stream.width, stream.height, drive.background.transparent
                together.setdefault(kind, []).append(index)
            else:
                here.append(index)
        for indices in together.values():
            streams = [(cast(DeviceStream, work[i][0]), work[i][1]) for i in indices]
            pieces = [stream.piece(drive) for stream, drive in streams]
            parts.append((indices, streams[0][0].talker.submit(pieces)))
        # The device is at work by now; what the CPU draws, it draws here.
        return _Pending(parts, {index: self.render(*work[index]) for index in here})

    def warm_up(self) -> None:
        """Compile the kernels, or load them from their caches: the CPU's, and CUDA's where a face is open on it."""
        warm_up_cpu(sh=True)
        picture, through = np.zeros((16, 16, 3), np.float32), np.ones((16, 16), np.float32)
        put_under(picture, through, np.zeros((16, 16, 4), np.uint8))
        for background in (
            Background(),
            Background(image=np.zeros((16, 16, 3), np.uint8)),
            Background(transparent=True),
        ):
            to_pixels(picture, through, background, np.empty((16, 16, 4 if background.transparent else 3), np.uint8))
        for shared in list(self._shared.values()):
            shared.warm_up()


@dataclass(frozen=True)
class _Pending:
    """Work under way, in parts, each with the places of its pieces; `done` is what is there already, by place."""

    parts: list[tuple[Sequence[int], Pending]]
    done: dict[int, Frames]

    def result(self) -> list[Frames]:
        """Wait for the pictures, one batch for each piece of work."""
        for indices, pending in self.parts:
            self.done.update(zip(indices, pending.result(), strict=True))
        self.parts.clear()
        return [self.done[index] for index in range(len(self.done))]


def _render(stream: CpuStream, drive: Drive) -> Frames:
    """Draw a batch on the CPU, each frame by itself, so that batches round as single frames do.

    The time of the stage `network` is what is waited for it: other threads work out later frames meanwhile.
    """
    heard, poses, cameras = stream.shots(drive)
    stream.lap("features")
    channels = 4 if drive.background.transparent else 3
    pixels = np.empty((len(drive), stream.height, stream.width, channels), np.uint8)
    behind = stream.behind(drive.background)
    every = stream.person.one_by_one(heard)
    with _alone() if len(drive) > 1 else nullcontext():
        for splats, pose, camera, picture in zip(every, poses, cameras, pixels, strict=True):
            means, scales, quats, opacities, sh = (each[0].numpy() for each in splats)
            gaussians = Gaussians(
                means=means, opacities=opacities, quats_wxyz=quats, scales=scales, sh=sh, sh_degree=_SH_DEGREE
            )
            stream.lap("network")
            raster = rasterize(
                gaussians, camera, backend=stream.rasterizer, workspace=stream.workspace, clock=stream.lap
            )
            put_under(raster.color, raster.transmittance, stream.torsos.torso(pose.frame))
            stream.lap("torso")
            to_pixels(raster.color, raster.transmittance, behind, picture)
            stream.lap("bytes")
    return Frames(drive.ticks, pixels, "rgba" if channels == 4 else "rgb24")


@contextmanager
def _alone() -> Iterator[None]:
    """Rasterize on this thread alone, while others work out the next frames: nothing then waits for a busy core."""
    usual = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(usual)


def _chosen(extra: Mapping[str, Any]) -> tuple[str, str]:
    """Return pose and precision of the options. Raises MarotteError for names and values that are not known."""
    for name in extra:
        if name not in _OPTIONS:
            raise unknown_name("option of gaussian-talker", name, _OPTIONS)
    pose, precision = str(extra.get("pose", POSES[0])), str(extra.get("precision", PRECISIONS[0]))
    if pose not in POSES:
        raise unknown_name("pose of gaussian-talker", pose, POSES)
    if precision not in PRECISIONS:
        raise unknown_name("precision of gaussian-talker", precision, PRECISIONS)
    return pose, precision


def _check_size(avatar: Avatar, options: RenderOptions, native: Camera) -> None:
    """Raise MarotteError for pictures that are not the recording's, scaled, to within a pixel."""
    width, height = options.width, options.height
    by_width, by_height = width * native.height / native.width, height * native.width / native.height
    if abs(height - by_width) < 1 or abs(width - by_height) < 1:
        return
    fits = dict.fromkeys(
        f"{w}x{h}"
        for w, h in ((width, _even(by_width)), (_even(by_height), height), (native.width, native.height))
        if min(w, h) > 0
    )
    raise MarotteError(
        f"pictures of {width}x{height} do not have the shape of avatar {avatar.name}'s recording, {native.width}x"
        f"{native.height}: {' or '.join(fits)} would fit"
    )


def _even(side: float) -> int:
    """Return a side's pixels: even, as films want them, where that is within a pixel."""
    even = 2 * round(side / 2)
    return even if abs(even - side) < 1 else round(side)


def _notes(pose: str, lids: Lids) -> tuple[str, ...]:
    lines = ["lips follow the sound through the avatar's own network: expressions of the motion are not shown"]
    if pose == "recorded":
        lines.append("the head moves as in the recording: head motion is not shown (--pose motion shows it)")
    if not lids.blinks_seen:
        lines.append(f"the recording has no blinks (AU45 / 2 from {lids.open:.2f} to {lids.shut:.2f}): eyes stay open")
    return tuple(lines)
