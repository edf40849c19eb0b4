"""Offline: a sound file to a video file, or to a motion file."""

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import marotte
from marotte.errors import MarotteError, MarotteWarning
from marotte.runtime.audio.resample import mono_blocks
from marotte.runtime.audio.source import AudioCheck, AudioSource, open_audio
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.background import read_background
from marotte.runtime.bridge import MotionOptions, expression_level, expression_match
from marotte.runtime.clock import as_fps, frame_count
from marotte.runtime.compiled import prepare
from marotte.runtime.contracts import SAMPLE_RATE, Driver, Renderer
from marotte.runtime.idle import IdleOptions
from marotte.runtime.motion import Motion, concatenate
from marotte.runtime.motion_files import check_format, save_motion
from marotte.runtime.registry import create
from marotte.runtime.session import Session, SessionOptions
from marotte.runtime.transfer.find import find_transfer
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import Sink, open_sink
from marotte.runtime.whole_file import check_place

DEFAULT_AVATAR = "demo"
DEFAULT_DRIVER = "viseme"

LARGEST_SIDE = 8192

# Samples at 16 kHz that go through the session at once: small enough to keep a progress bar moving.
_PACKET = SAMPLE_RATE // 5

# Called with the frames done and the frames expected (None where the sound's length is not known).
Progress = Callable[[int, int | None], None]
# Entered around work that is slow on a machine's first run only.
Slow = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Report:
    """What `render` did.

    seconds: of video. wall_seconds: from the first sample in to the file's final name. approximations: what the
    picture shows in place of what was driven. notes: what else a user may want to know.
    """

    path: Path
    frames: int
    fps: Fraction
    size: tuple[int, int]
    seconds: float
    wall_seconds: float
    approximations: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def speed(self) -> float:
        """Seconds of video for each second of work, after start-up."""
        return self.seconds / max(self.wall_seconds, 1e-9)


class _Silence:
    """Stands in for a sound file where a motion is shown alone."""

    rate = SAMPLE_RATE
    path = Path("silence")

    def __init__(self, duration: Fraction) -> None:
        self.frames = round(duration * self.rate)
        self.check = AudioCheck()

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield zeros [n, 1]."""
        for start in range(0, self.frames, size):
            yield np.zeros((min(size, self.frames - start), 1), np.float32)


def render(
    audio: str | Path | None,
    out: str | Path,
    *,
    avatar: str | Path | Avatar = DEFAULT_AVATAR,
    driver: str | Driver | None = None,
    renderer: str | Renderer | None = None,
    size: int | str | tuple[int, int] | None = None,
    fps: int | float | str | Fraction | None = None,
    background: str | None = None,
    framing: str = "head",
    start: float = 0.0,
    duration: float | None = None,
    motion: str | Path | Motion | None = None,
    motion_basis: str | None = None,
    motion_fps: str | float | Fraction | None = None,
    jaw: str = "full",
    head_motion: float = 1.0,
    expressiveness: float = 1.0,
    fix_pose: bool = False,
    smooth: bool = False,
    idle: float = 1.0,
    seed: int = 0,
    basis_approx: str | None = None,
    head_rotation: str | None = None,
    flame: str | Path | None = None,
    match_expression: bool = False,
    variant: str | None = None,
    rasterizer: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    crf: int | None = None,
    preset: str = "veryfast",
    driver_options: Mapping[str, Any] | None = None,
    renderer_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    slow: Slow | None = None,
) -> Report:
    """Render a talking head that says `audio` into the video `out` (.mp4, .webm, .gif, a PNG folder).

    audio: a sound or video file; None, with a `motion`, for a silent video of it.
    avatar: a name or an avatar's folder. driver: where motion comes from, by name (default
        `viseme`, or `playback` when `motion` is given) or an object. renderer: the avatar's own
        unless named.
    size: pixels, one number for a square or (width, height) or "WxH". fps: of the video.
    background: a colour, a picture file or "transparent". framing: a camera of the avatar.
    start, duration: seconds of the sound to use.
    motion: plays this motion instead of a driver's; motion_basis and motion_fps for files that do
        not say theirs.
    jaw, head_motion, expressiveness, fix_pose: see `marotte.runtime.bridge.MotionOptions`. smooth:
        ARTalk's Savitzky-Golay smoother on the motion. idle: 0 for none, 1 for natural; seed: of it.
    basis_approx: "jaw+head" shows a motion of a foreign basis without its expression.
    head_rotation: "root", "neck" or "camera" in place of the avatar's own choice.
    flame: a FLAME file, or a folder of some: what takes motion of another basis to the avatar's, where the
        avatar does not bring its own. match_expression: scale the expression to the level that the avatar was
        trained with; the sound is driven twice for it.
    variant: another set of the avatar's data (`live`). rasterizer: for renderers that splat, by name.
    device: "cpu" or "cuda" for renderers that know both ("auto").
    threads: how many the encoder may use. crf, preset: x264's.
    driver_options, renderer_options: passed on by name, as {"smile": 0.5} to the driver viseme.

    Returns a `Report`. Raises MarotteError for what the user can mend; `out` appears only when it
    is whole.
    """
    prepare()
    for read in (audio, motion):
        if (
            isinstance(read, str | Path)
            and os.path.exists(read)
            and os.path.exists(out)
            and os.path.samefile(read, out)
        ):
            raise MarotteError(f"{out} is what is read: give the output another name")
    picture = load_avatar(avatar) if not isinstance(avatar, Avatar) else avatar
    width, height = parse_size(picture.size if size is None else size)
    backdrop = read_background(picture.background if background is None else background, width, height)
    if backdrop.transparent and Path(out).suffix.lower() in (".mp4", ".gif"):
        raise MarotteError(f"{out} cannot be transparent: .webm and PNG files can")
    source_driver, driver_name = _driver(driver, motion, motion_basis, motion_fps)
    chosen = {"variant": variant, "rasterizer": rasterizer, "device": device}
    gain, notes = 1.0, list[str]()
    if match_expression:
        gain, *notes = _match(audio, source_driver, picture, flame, start, duration, driver_options)
    options = SessionOptions(
        width=width,
        height=height,
        fps=None if fps is None else as_fps(fps),
        background=backdrop,
        framing=framing,
        motion=MotionOptions(jaw, head_motion, expressiveness, fix_pose),
        smooth=smooth,
        idle=IdleOptions(idle, seed),
        basis_approx=basis_approx,
        head_rotation=head_rotation,
        flame=flame,
        expression_gain=gain,
        driver=driver_options or {},
        renderer={
            **{name: value for name, value in chosen.items() if value is not None},
            **(renderer_options or {}),
        },
    )
    with _open(audio, source_driver, start, duration) as source:
        drawn_by = renderer if isinstance(renderer, Renderer) else create("renderer", renderer or picture.renderer)
        with closing(Session(source_driver, drawn_by, picture, options)) as session:
            with slow("preparing the renderer") if slow else nullcontext():
                source_driver.warm_up()
                drawn_by.warm_up()
            approximations = session.bridge.approximations(source_driver.basis)
            began = time.perf_counter()
            sink = open_sink(
                out,
                width=session.size[0],
                height=session.size[1],
                fps=session.fps,
                audio=audio,
                audio_start=start,
                audio_duration=duration,
                provenance=Provenance(
                    generator=f"marotte {marotte.__version__}",
                    avatar=picture.name,
                    avatar_sha256=picture.sha256,
                    driver=driver_name,
                    motion_basis=source_driver.basis,
                    approximations=approximations,
                ),
                preset=preset,
                crf=crf,
                threads=threads,
            )
            with sink:
                _run(source, session, sink, progress)
    if motion is not None:
        _warn_of_short_motion(source_driver, sink, session.fps)
    return Report(
        path=Path(out),
        frames=sink.frames_written,
        fps=session.fps,
        size=session.size,
        seconds=float(sink.frames_written / session.fps),
        wall_seconds=time.perf_counter() - began,
        approximations=approximations,
        notes=(*notes, *session.notes, *_levels(session, picture)),
    )


def drive(
    audio: str | Path,
    out: str | Path | None = None,
    *,
    driver: str | Driver | None = None,
    start: float = 0.0,
    duration: float | None = None,
    smooth: bool = False,
    driver_options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Motion:
    """Return the motion that a driver makes of a sound file, and write it to `out` if given: .npz, or ARTalk's .pt.

    It is the driver's own motion, at its own rate, without idle life. Raises MarotteError.
    """
    if out is not None:
        check_format(out)
        check_place(Path(out))
    mover, name = _driver(driver, None, None, None)
    if out is not None:
        check_format(out, mover.basis)
    with open_audio(audio, start=start, duration=duration) as source:
        stream = mover.open(driver_options)
        total = None if source.frames is None else frame_count(Fraction(source.frames, source.rate), mover.fps)
        parts, done = [], 0
        with closing(stream):
            for samples in mono_blocks(source, SAMPLE_RATE, _PACKET):
                parts.append(mover.step([(stream, samples)])[0])
                done += len(parts[-1])
                if progress:
                    progress(done, total)
            parts.append(stream.finish())
        _note_silence(source, "the mouth stays shut")
    motion = concatenate(parts)
    if smooth and not mover.smooths:
        from marotte.runtime.smoothing import MotionSmoother

        smoother = MotionSmoother()
        motion = concatenate([smoother.feed(motion), smoother.finish()])
    if out is not None:
        save_motion(
            out, motion, {"driver": name, "audio": Path(audio).name, "generator": f"marotte {marotte.__version__}"}
        )
    return motion


def parse_size(size: int | str | tuple[int, int]) -> tuple[int, int]:
    """Return (width, height) of `512`, `"512"`, `"640x360"` or `(640, 360)`."""
    if isinstance(size, tuple):
        width, height = size
    elif match := re.fullmatch(r"\s*(\d+)(?:\s*[xX]\s*(\d+))?\s*", str(size)):
        width = int(match[1])
        height = int(match[2] or match[1])
    else:
        raise MarotteError(f"size {size!r} is not a number of pixels: give 512 or 640x360")
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise MarotteError(f"size {width}x{height} is not between 1x1 and {LARGEST_SIDE}x{LARGEST_SIDE}")
    return width, height


def _open(
    audio: str | Path | None, driver: Driver, start: float, duration: float | None
) -> AbstractContextManager[AudioSource | _Silence]:
    if audio is not None:
        return open_audio(audio, start=start, duration=duration)
    motion = getattr(driver, "motion", None)
    if not isinstance(motion, Motion) or not len(motion):
        raise MarotteError("without a sound file there must be a motion of at least one frame to show")
    return nullcontext(_Silence(motion.duration))


def _driver(
    driver: str | Driver | None,
    motion: str | Path | Motion | None,
    basis: str | None,
    fps: str | float | Fraction | None,
) -> tuple[Driver, str]:
    if isinstance(driver, Driver):
        return driver, type(driver).__name__.lower()
    if motion is None:
        return create("driver", driver or DEFAULT_DRIVER), driver or DEFAULT_DRIVER
    if driver not in (None, "playback"):
        raise MarotteError(f"the driver {driver!r} makes its own motion: leave out either it or the motion {motion}")
    return create("driver", "playback", motion=motion, basis=basis, fps=fps), "playback"


def _match(
    audio: str | Path | None,
    driver: Driver,
    avatar: Avatar,
    flame: str | Path | None,
    start: float,
    duration: float | None,
    options: Mapping[str, Any] | None,
) -> tuple[float, str]:
    """Return the gain that brings a driver's expression to the level of the avatar's training, and a line about it."""
    motion = getattr(driver, "motion", None)
    if not isinstance(motion, Motion) and avatar.expression_level and audio is not None:
        motion = drive(audio, driver=driver, start=start, duration=duration, driver_options=options)
    if not isinstance(motion, Motion):
        return expression_match(0.0, avatar.expression_level)
    if motion.basis != avatar.basis and (transfer := find_transfer(motion.basis, avatar, flame).transfer):
        motion = transfer.apply(motion)
    return expression_match(expression_level(motion, avatar.expressions), avatar.expression_level)


def _levels(session: Session, avatar: Avatar) -> list[str]:
    if not avatar.expression_level:
        return []
    trained = avatar.expression_level
    return [f"mean |expression| {session.expression_level:.3f} driven, {trained:.3f} in the avatar's training"]


def _run(source: AudioSource | _Silence, session: Session, sink: Sink, progress: Progress | None) -> None:
    total = None if source.frames is None else frame_count(Fraction(source.frames, source.rate), session.fps)

    def pictures(batches: Any) -> None:
        for frames in batches:
            sink.write(frames)
            if progress:
                progress(sink.frames_written, total)

    packet = max(_PACKET, int(session.appetite / session.fps * SAMPLE_RATE))
    for samples in mono_blocks(source, SAMPLE_RATE, packet):
        pictures(session.feed(samples))
    assert source.frames is not None  # the source is read to its end
    pictures(session.finish(Fraction(source.frames, source.rate)))
    if isinstance(source, AudioSource):
        _note_silence(source, "the head will only breathe and blink")


def _note_silence(source: AudioSource, meaning: str) -> None:
    if source.check.silent:
        warnings.warn(f"{source.path} is silent: {meaning}", MarotteWarning, stacklevel=3)


def _warn_of_short_motion(driver: Driver, sink: Sink, fps: Fraction) -> None:
    motion = getattr(driver, "motion", None)
    if isinstance(motion, Motion) and motion.duration + 2 / motion.fps < sink.frames_written / fps:
        warnings.warn(
            f"the motion ends after {float(motion.duration):.2f} s, the sound after "
            f"{float(sink.frames_written / fps):.2f} s: the face rests from there on",
            MarotteWarning,
            stacklevel=2,
        )
