"""Face: one session's picture of what it says: cross-fades, idle life that never jumps, and the drive of each frame."""

import copy
from dataclasses import replace
from fractions import Fraction

import numpy as np

from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge, MotionOptions, condition
from marotte.runtime.clock import frame_tick
from marotte.runtime.contracts import Drive
from marotte.runtime.idle import Idle, IdleOptions
from marotte.runtime.live.segment import Segment
from marotte.runtime.motion import HEAD, WIDTH, Motion
from marotte.runtime.retime import mixed

# From what was shown to what is to be shown, wherever one does not follow from the other: the face, as fast as lips
# shut in speech, and the head, which is heavy.
FADE_S, _HEAD_FADE_S = 0.08, 0.25


class Face:
    """One face, frame by frame. Every segment goes through it, in order: to `drive` it, or to `skip` a late one.

    bridge: of the avatar; basis: of the driver's motion; rest: the feature window [window, width] of long silence,
    for renderers that hear for themselves.
    """

    def __init__(
        self,
        bridge: Bridge,
        basis: str,
        fps: Fraction,
        *,
        motion: MotionOptions | None = None,
        idle: IdleOptions | None = None,
        background: Background | None = None,
        rest: np.ndarray | None = None,
    ) -> None:
        self.fps = fps
        self._bridge, self._rest = bridge, rest
        self._options, self._background = motion or MotionOptions(), background or Background()
        self._idle = Idle(idle)
        self._frame = 0
        self._still = Motion(np.zeros((1, WIDTH), np.float32), fps, basis)
        self._shown = self._from = self._still
        self._before = ("", 0)
        self._since = np.inf  # frames since a fade began

    def set(
        self,
        *,
        expressiveness: float | None = None,
        head_motion: float | None = None,
        background: Background | None = None,
    ) -> None:
        """Change what may change while it is shown. Raises MarotteError for a value out of range; nothing changes."""
        now = self._options
        self._options = replace(
            now,
            expressiveness=now.expressiveness if expressiveness is None else expressiveness,
            head_motion=now.head_motion if head_motion is None else head_motion,
        )
        self._background = background or self._background

    def join(self, other: "Face") -> None:
        """Take up where another face is: at its frame, with the same idle life where that is the same person's, and as
        it looks where both are driven in one basis."""
        self._frame = other._frame
        if self._idle.options == other._idle.options:
            self._idle = copy.deepcopy(other._idle)
        if self._still.basis == other._still.basis:
            self._shown, self._from, self._since = other._shown, other._from, other._since
            self._before = other._before

    def drive(self, segment: Segment) -> Drive:
        """Return what the renderer gets for the next frame, which shows this segment."""
        tick = frame_tick(self._frame, self.fps)
        motion = self._next(segment)
        features = self._rest if segment.features is None else segment.features
        return Drive(
            ticks=np.array([tick], np.int64),
            head=self._bridge.head_state(motion),
            cameras=self._bridge.cameras(motion),
            background=self._background,
            features=None if features is None else features[None],
        )

    def skip(self, segment: Segment) -> None:
        """Let a frame pass that is not shown."""
        self._next(segment)

    def _next(self, segment: Segment) -> Motion:
        now = (segment.turn, segment.generation)
        if now != self._before:
            self._from, self._since, self._before = self._shown, 0, now
        wanted = self._still if segment.motion is None else segment.motion
        self._since += 1
        self._shown = self._faded(wanted)
        self._frame += 1
        self._idle.hear(segment.heard)
        return self._idle.apply(condition(self._shown, self._options))

    def _faded(self, wanted: Motion) -> Motion:
        """Return what is shown on the way from what was shown before to what is wanted."""
        face, head = (_eased(self._since / (seconds * float(self.fps))) for seconds in (FADE_S, _HEAD_FADE_S))
        if head >= 1:
            return wanted
        shown, slower = mixed(self._from, wanted, face), mixed(self._from, wanted, head)
        codes = shown.codes.copy()
        codes[:, HEAD] = slower.head
        return replace(shown, codes=codes, neck=slower.neck, translation=slower.translation)


def _eased(share: float) -> float:
    """Return how far a fade is at a share of its time, 0 to 1, without a jolt at its ends."""
    share = min(share, 1.0)
    return share * share * (3 - 2 * share)
