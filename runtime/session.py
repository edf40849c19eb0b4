"""Session: one speaker and one face, from sound to pictures.

Offline and live are the same session with another clock around it. Fed at once or in packets of
any size, the pictures are the same.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.avatar import NO_BASIS, Avatar, load_avatar
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge, MotionOptions, condition
from marotte.runtime.camera import Camera
from marotte.runtime.clock import frame_count, frame_ticks
from marotte.runtime.contracts import (
    SAMPLE_RATE,
    Drive,
    Driver,
    Pending,
    Renderer,
    RenderOptions,
    RenderStream,
    ignore_stage,
)
from marotte.runtime.frames import Frames
from marotte.runtime.idle import Idle, IdleOptions
from marotte.runtime.join import FeatureJoin, features_for
from marotte.runtime.motion import Motion, concatenate, empty
from marotte.runtime.retime import Retimer
from marotte.runtime.smoothing import MotionSmoother
from marotte.runtime.transfer.find import Found, find_blink, find_transfer

DEFAULT_FPS = Fraction(25)
DEFAULT_FRAMING = "head"


@dataclass(frozen=True)
class SessionOptions:
    """How a session looks and moves.

    fps: of the pictures; None for the avatar's own, else 25. framing: a camera of the avatar; camera: another one in
    its place, of the pictures' size, for avatars that take any.
    smooth: ARTalk's Savitzky-Golay smoother on the driver's motion. flame: a FLAME file, or a folder of
    some, for motion of another basis than the avatar's; expression_gain: factor on expression in the
    avatar's basis. driver, renderer: passed to the plug-ins by name.
    """

    width: int = 512
    height: int = 512
    fps: Fraction | None = None
    background: Background = field(default_factory=Background)
    framing: str = DEFAULT_FRAMING
    camera: Camera | None = None
    motion: MotionOptions = field(default_factory=MotionOptions)
    smooth: bool = False
    idle: IdleOptions = field(default_factory=IdleOptions)
    basis_approx: str | None = None
    head_rotation: str | None = None
    flame: str | Path | None = None
    expression_gain: float = 1.0
    driver: Mapping[str, Any] = field(default_factory=dict)
    renderer: Mapping[str, Any] = field(default_factory=dict)


def open_bridge(avatar: Avatar, camera: Camera, basis: str, options: SessionOptions) -> Bridge:
    """Return the bridge from motion of `basis` to an avatar, with what transfer the options and files allow."""
    found, blink = Found(None), None
    if not options.basis_approx:
        # An avatar that reads no expressions reads blinks, and the demo head's expressions say what is one.
        reads = avatar.basis != NO_BASIS
        found = find_transfer(basis, avatar if reads else load_avatar("demo"), options.flame)
        blink = find_blink(avatar, options.flame) if reads and avatar.head else None
    return Bridge(
        avatar,
        camera,
        basis_approx=options.basis_approx,
        head_rotation=options.head_rotation,
        transfer=found.transfer,
        no_transfer=found.reason,
        blink=blink,
        expression_gain=options.expression_gain,
    )


class Session:
    """One speaker and one face. `feed` sound, take frames, `finish`; `reset` starts a new utterance.

    lap: called with the name of each stage as it ends (drive, features, bridge, the renderer's own,
        and render for what it does not name), to time them. watch: called with the renderer's stream and each drive
        before it is drawn, in the order of the pictures.
    Raises MarotteError where driver, avatar and renderer do not fit together.
    """

    _samples: int
    _timed: int  # frames that have a motion
    _drawn: int  # frames that have a drive
    _moved: bool  # whether the smoother was fed
    _expression: float  # sum over the frames driven of their mean |coefficient|
    _expressive: int  # how many of them have any
    _finished: bool

    def __init__(
        self,
        driver: Driver,
        renderer: Renderer,
        avatar: Avatar,
        options: SessionOptions | None = None,
        *,
        lap: Callable[[str], None] | None = None,
        watch: Callable[[RenderStream, Drive], None] | None = None,
    ) -> None:
        options = options or SessionOptions()
        self.avatar, self.options = avatar, options
        self._driver, self._renderer = driver, renderer
        self._lap, self._watch = lap or ignore_stage, watch
        self._face = renderer.open(
            avatar, RenderOptions(options.width, options.height, options.background.transparent, options.renderer)
        )
        if lap:
            self._face.lap = lap
        self._speaker = driver.open(options.driver)
        self.fps = options.fps or self._face.fps or avatar.fps or DEFAULT_FPS
        if self._face.camera is not None and options.framing != DEFAULT_FRAMING:
            raise MarotteError(
                f"avatar {avatar.name} is drawn by {avatar.renderer} with a camera of its own: leave out --framing "
                f"{options.framing}"
            )
        camera = (
            self._face.camera
            or options.camera
            or avatar.framing(options.framing).camera(self._face.width, self._face.height)
        )
        self.bridge = open_bridge(avatar, camera, driver.basis, options)
        self.bridge.check(driver.basis)
        self._smoother = MotionSmoother() if options.smooth and not driver.smooths else None
        self._retimer = Retimer(self.fps)
        self._idle = Idle(options.idle)
        need = self._face.features or renderer.needs.features
        self._join = FeatureJoin(features_for(need, avatar.name), need, self.fps) if need else None
        self._start()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return self._face.width, self._face.height

    @property
    def appetite(self) -> int:
        """How many frames at a time keep the renderer busy."""
        return self._face.batch * self._face.in_flight

    @property
    def works_ahead(self) -> bool:
        """Whether the renderer works on several batches at a time, and several frames should be fed at once."""
        return self._face.in_flight > 1

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of what the pictures show."""
        return self._face.notes

    @property
    def expression_level(self) -> float:
        """The mean |coefficient| of the driven expression in the avatar's basis, over the frames that have any.

        0 for avatars of which it is not known how they were trained, as nobody compares it there.
        """
        return self._expression / max(self._expressive, 1)

    def feed(self, samples: np.ndarray) -> Iterator[Frames]:
        """Take sound [n] float32 at 16 kHz mono; return the pictures that are now decided.

        They are made as they are taken; what is not taken comes with the next call.
        """
        if self._finished:
            raise MarotteError("the session is finished: reset it before it is fed again")
        samples = np.ascontiguousarray(samples, dtype=np.float32)
        self._samples += len(samples)
        motion = self._driver.step([(self._speaker, samples)])[0]
        self._lap("drive")
        if self._join:
            self._join.feed(samples)
            self._lap("features")
        self._idle.hear(samples)
        self._queue_motion(self._retimer.feed(self._smoothed(motion)))
        self._lap("bridge")
        return self.frames()

    def finish(self, duration: Fraction | None = None) -> Iterator[Frames]:
        """End the sound; return the pictures that are left, so that all together cover the sound.

        duration: of the original sound in seconds, where resampling to 16 kHz may have rounded it.
        """
        if self._finished:
            raise MarotteError("the session is finished already: reset it first")
        self._finished = True
        seconds = Fraction(self._samples, SAMPLE_RATE) if duration is None else duration
        motion = self._smoothed(self._speaker.finish())
        if self._smoother and self._moved:
            motion = concatenate([motion, self._smoother.finish()])
        if self._join:
            self._join.finish()
        parts = [self._retimer.feed(motion)]
        rest = self._retimer.finish(seconds)
        parts += [rest] if rest is not None else []
        # A driver may round its own last frame up; the sound's length decides.
        left = frame_count(seconds, self.fps) - self._timed
        self._queue_motion(concatenate(parts)[: max(left, 0)])
        return self.frames()

    def frames(self) -> Iterator[Frames]:
        """Make and return the pictures that are decided and not yet taken."""
        while self._drives or self._pending:
            while self._drives and len(self._pending) < self._face.in_flight:
                drive = self._drives.popleft()
                if self._watch:
                    self._watch(self._face, drive)
                self._pending.append(self._renderer.submit([(self._face, drive)]))
            frames = self._pending.popleft().result()[0]
            self._lap("render")
            yield frames

    def reset(self) -> None:
        """Forget the utterance and what is queued; the next sample is the first of a new one."""
        self._speaker.reset()
        self._face.reset()
        if self._smoother:
            self._smoother.reset()
        self._retimer.reset()
        self._idle.reset()
        if self._join:
            self._join.reset()
        self._start()

    def close(self) -> None:
        """Give back the streams."""
        self._speaker.close()
        self._face.close()
        if self._join:
            self._join.close()

    def _start(self) -> None:
        self._samples = 0
        self._timed = 0
        self._drawn = 0
        self._moved = False
        self._expression, self._expressive = 0.0, 0
        self._finished = False
        self._waiting = empty(self.fps, self._driver.basis)
        self._drives: deque[Drive] = deque()
        self._pending: deque[Pending] = deque()

    def _smoothed(self, motion: Motion) -> Motion:
        if self._smoother is None or not len(motion):
            return motion
        self._moved = True
        return self._smoother.feed(motion)

    def _queue_motion(self, motion: Motion) -> None:
        self._timed += len(motion)
        if self.avatar.expression_level and len(motion):
            levels = self.bridge.level(motion)
            self._expression += float(levels.sum())
            self._expressive += int(np.count_nonzero(levels))
        self._waiting = concatenate([self._waiting, self._idle.apply(condition(motion, self.options.motion))])
        stop = self._drawn + len(self._waiting)
        ready = self._join.ready(self._drawn, stop) if self._join else stop
        while self._drawn < ready:
            count = min(self._face.batch, ready - self._drawn)
            self._drives.append(self._drive(self._waiting[:count]))
            self._waiting = self._waiting[count:]
            self._drawn += count

    def _drive(self, motion: Motion) -> Drive:
        start, stop = self._drawn, self._drawn + len(motion)
        return Drive(
            ticks=frame_ticks(start, stop, self.fps),
            head=self.bridge.head_state(motion),
            cameras=self.bridge.cameras(motion),
            background=self.options.background,
            features=self._join.windows(start, stop) if self._join else None,
        )
