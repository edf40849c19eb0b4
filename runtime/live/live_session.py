"""LiveSession: one face that is live: its speech, its picture, its viewers, on one clock.

The studio's threads call it: `pace` takes what is due, `show` has it heard and drawn, `shot` hands a frame to the
renderer, `rendered` and `encode` take it on. Sound never waits for a picture; of pictures only the newest is ever
worked on. A session can stand beside another: it has the other's speech and clock, and a face of its own.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.background import read_background
from marotte.runtime.bridge import MotionOptions
from marotte.runtime.clock import TICK_RATE, frame_tick
from marotte.runtime.contracts import Driver, Renderer, RenderOptions, RenderStream
from marotte.runtime.idle import IdleOptions
from marotte.runtime.live.counter import counter, draw_counter
from marotte.runtime.live.encode import EncodedPicture, H264Encoder
from marotte.runtime.live.face import Face
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.metrics import Metrics
from marotte.runtime.live.pace import Clock
from marotte.runtime.live.segment import Segment
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.shot import Drawn, Moment, Shot
from marotte.runtime.live.speaker import CUSHION_S, Event, Finished, RanDry, Speaker, Started
from marotte.runtime.live.turn import Turn
from marotte.runtime.live.viewing import Picture, Sound, Viewer
from marotte.runtime.live.voice import Voice
from marotte.runtime.live.way import Way
from marotte.runtime.session import SessionOptions, open_bridge

# A clock that is found so far behind stood still with the machine; what was missed is not made up for.
_STALL_S = 0.25
# Sound of the packets of a live source.
_PACKET_S = 0.02
# The threads of a studio that work for its sessions.
THREADS = ("drive", "render", "encode")


@dataclass(frozen=True)
class Closed:
    """The session is over. reason: in words."""

    reason: str


class LiveSession:
    """One live face. on_event: called for each event, on the pacing thread. wake: called with the name of the thread
    (`drive`, `render`, `encode`) that has something to do. lead: the session beside which it stands: see `join`."""

    def __init__(
        self,
        name: str,
        settings: LiveSettings,
        driver: Driver,
        renderer: Renderer,
        clock: Clock,
        *,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        on_event: Callable[[Event | Closed], None] | None = None,
        wake: Callable[[str], None] = lambda thread: None,
        lead: "LiveSession | None" = None,
    ) -> None:
        self.name, self.settings, self.clock, self.lead = name, settings, clock, lead
        self.limits, self.metrics = limits or Limits(), Metrics(metrics)
        self.renderer = renderer
        self.on_event, self._wake = on_event or _nobody, wake
        self.avatar: Avatar = load_avatar(settings.avatar)
        background = settings.background or self.avatar.background
        if isinstance(background, str):
            background = read_background(background, settings.width, settings.height)
        if background.transparent:
            raise MarotteError("live pictures cannot be transparent: give a colour or a picture as background")
        self.stream = renderer.open(
            self.avatar, RenderOptions(settings.width, settings.height, extra=settings.renderer_options)
        )
        self.size = self.stream.width, self.stream.height  # of its pictures
        self.fps = settings.fps
        self.way = Way.of(
            driver, settings.driver_options, self.avatar.name, self.stream.features or renderer.needs.features
        )
        camera = self.stream.camera or self.avatar.framing(settings.framing).camera(
            self.stream.width, self.stream.height
        )
        bridge = open_bridge(self.avatar, camera, driver.basis, SessionOptions(flame=settings.flame))
        bridge.check(driver.basis)
        self.face = Face(
            bridge,
            driver.basis,
            self.fps,
            motion=MotionOptions(expressiveness=settings.expressiveness, head_motion=settings.head_motion),
            idle=IdleOptions(settings.idle, settings.seed),
            background=background,
            rest=self.way.window,
        )
        self.speaker: Speaker = (
            lead.speaker
            if lead
            else Speaker(self._turn, self.fps, now=clock.now, wake=lambda: wake("drive"), limits=self.limits)
        )
        self.encoder: H264Encoder | None = None
        self.cost = 0.0  # seconds of the renderer for a frame, a running mean
        self.opened = self.used = clock.now()
        self._start: float | None = None
        self._frame = 0
        self._ticks = 0
        self._lock = threading.Lock()
        self._viewers: list[Viewer] = []
        self._beside: tuple[LiveSession, ...] = ()
        self._in_step = lead is None  # it has taken up its lead's frame
        self._shot: Shot | None = None
        self._drawn: Drawn | None = None
        self._sent_at: float | None = None
        self.closed = False
        self._held = set(THREADS)

    def watch(self, viewer: Viewer) -> None:
        """Let a viewer have what is heard and seen from now on. Raises MarotteError where there are enough."""
        with self._lock:
            if len(self._viewers) >= self.limits.viewers:
                raise MarotteError(f"session {self.name} has {len(self._viewers)} viewers, the limit `viewers`")
            self._viewers = [*self._viewers, viewer]
        self.touch()

    def leave(self, viewer: Viewer) -> None:
        """Let a viewer have nothing any more."""
        with self._lock:
            self._viewers = [each for each in self._viewers if each is not viewer]
        self.touch()

    def touch(self) -> None:
        """Say that somebody uses it."""
        self.used = self.clock.now()

    def expired(self) -> str:
        """Return why it is to be closed, empty where it is not."""
        now = self.clock.now()
        if now - self.opened > self.limits.session_s:
            return f"it lasted {now - self.opened:.0f} s, the limit session_s"
        watched = any(each._viewers for each in (self, *self._beside))
        if not watched and now - self.used > self.limits.idle_s:
            return f"nobody used it for {now - self.used:.0f} s, the limit idle_s"
        return ""

    def join(self) -> None:
        """Begin to move beside its lead, with its next frame, in the middle of what that says; on any thread.

        Where both faces are driven alike they share the motion; else a driver of its own hears what is said from now
        on, and a turn waits a little for both. Raises MarotteError where the lead is closed.
        """
        lead = self.lead
        assert lead is not None
        with lead._lock:
            if lead.closed:
                raise MarotteError("the session beside which it was to be has ended")
            lead._beside = (*lead._beside, self)
        if not lead.way.serves(self.way):
            lead.speaker.join(self.name, self._voice)
            if self.closed:  # in the meantime, when there was no voice to take away
                lead.speaker.part(self.name)

    @property
    def beside(self) -> tuple["LiveSession", ...]:
        """The sessions that stand beside it."""
        return self._beside

    # The pacing thread's.

    def next_due(self) -> float:
        """Return when its next frame is due, seconds of the clock."""
        if self._start is None:
            self._start = self.clock.now()
        return self._start + frame_tick(self._frame, self.fps) / TICK_RATE

    def time_of(self, tick: int) -> float:
        """Return when a tick of its sound is due, seconds of the clock."""
        first = self.lead or self
        return (first.opened if first._start is None else first._start) + tick / TICK_RATE

    def fall_in(self) -> None:
        """Take up its lead's frame, before that moves on; once."""
        if self.lead and not self._in_step:
            self.face.join(self.lead.face)
            self._in_step = True

    def pace(self) -> list[Moment]:
        """Take all frames that are due, for it and those beside it."""
        now = self.clock.now()
        behind = now - self.next_due()
        assert self._start is not None
        if behind > _STALL_S:
            self._start += behind
            self.metrics.count("stalls")
        taken: list[Moment] = []
        while (due := self.next_due()) <= now:
            segment = self.speaker.take()
            taken.append(Moment(segment, self._ticks, due))
            self._frame += 1
            self._ticks += len(segment.sound)
        for event in self.speaker.events():
            self._tell(event)
        return taken

    def show(self, taken: list[Moment]) -> None:
        """Let the viewers hear what was taken, and have the newest of it drawn: the others were late."""
        for moment in taken:
            sound = Sound(moment.tick, moment.segment.sound)
            for viewer in self._viewers:
                viewer.hear(sound)
        for index, moment in enumerate(taken):
            segment = self._own(moment.segment)
            if index < len(taken) - 1 or not self._viewers:
                self.face.skip(segment)
                self.metrics.count("dropped_late" if self._viewers else "unwatched")
                continue
            shot = Shot(self.face.drive(segment), segment.generation, segment.born, moment.due, bool(segment.turn))
            if segment.turn:
                self.metrics.delay("motion", self.clock.now() - segment.born)
                self.touch()
            with self._lock:
                late, self._shot = self._shot, shot
            if late:
                self.metrics.count("dropped_render")

    def _own(self, segment: Segment) -> Segment:
        """Return the moment by its own voice; a face that is late with it is still."""
        if self.lead is None:
            return segment
        own = segment.by(self.name)
        if segment.turn and not own.turn:
            self.metrics.count("behind")
        return own if self.way.need else replace(own, features=None)

    def _tell(self, event: Event) -> None:
        if isinstance(event, Started):
            self.metrics.count("turns")
        elif isinstance(event, RanDry):
            self.metrics.count("ran_dry")
        elif isinstance(event, Finished) and event.reason == "interrupted":
            self.metrics.count("interrupted")
        for each in (self, *self._beside):
            each.on_event(event)

    # The rendering thread's.

    def shot(self) -> Shot | None:
        """Take the frame that is to be drawn."""
        with self._lock:
            shot, self._shot = self._shot, None
        return shot

    def rendered(self, shot: Shot, pixels: np.ndarray, seconds: float) -> None:
        """Take a shot's picture [h, w, 3] uint8; seconds: what it cost."""
        now = self.clock.now()
        self.cost = seconds if self.cost == 0 else self.cost + 0.05 * (seconds - self.cost)
        self.metrics.delay("render", now - shot.due)
        with self._lock:
            late, self._drawn = self._drawn, Drawn(shot, pixels, now)
        if late:
            self.metrics.count("dropped_encode")
        self._wake("encode")

    # The encoding thread's.

    def encode(self) -> bool:
        """Encode the picture that waits and hand it to the viewers; return whether there was one."""
        with self._lock:
            drawn, self._drawn, viewers = self._drawn, None, self._viewers
        if drawn is None or self.closed:
            return False
        if drawn.shot.generation < self.speaker.generation:
            self.metrics.count("dropped_interrupted")
            return True
        tick, pixels, kinds = int(drawn.shot.drive.ticks[0]), drawn.pixels, {viewer.kind for viewer in viewers}
        made: dict[str, Sequence[EncodedPicture | Picture]] = {}
        if "pixels" in kinds:
            made["pixels"] = [Picture(tick, draw_counter(pixels, tick) if self.settings.counter else pixels)]
        if "h264" in kinds:
            if self.encoder is None:
                self.encoder = H264Encoder(*self.size, self.fps, self.settings.bitrate)
            key = any(viewer.wants_key for viewer in viewers)
            for viewer in viewers:
                viewer.wants_key = False
            squares = counter(*self.size, tick) if self.settings.counter else None
            made["h264"] = self.encoder.encode(pixels, tick, key=key, corner=squares)
        now = self.clock.now()
        self.metrics.delay("encode", now - drawn.at)
        if self._sent_at is not None:
            self.metrics.delay("interval", now - self._sent_at)
        self._sent_at = now
        if drawn.shot.speech:
            self.metrics.delay("total", now - drawn.shot.born)
        self.metrics.count("frames")
        dated = {kind: [replace(each, made=now) for each in pictures] for kind, pictures in made.items()}
        for viewer in viewers:
            for picture in dated[viewer.kind]:
                viewer.see(picture)
        return True

    def close(self, reason: str = "closed") -> None:
        """End it; once. What it holds is given back by the threads that use it: `release`."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._viewers, self._shot, self._drawn = [], None, None
        if self.lead:
            self.lead._forget(self)
        else:
            self.speaker.close()
        self.on_event(Closed(reason))
        for each in self._beside:
            each.close(f"the session beside it ended: {reason}")
        for thread in THREADS:
            self._wake(thread)

    def release(self, thread: str) -> bool:
        """Give back what a thread of `THREADS` uses, on it; return whether all is given back."""
        if thread in self._held:
            self._held.discard(thread)
            if thread == "drive" and not self.lead:
                self.speaker.work()
            elif thread == "render":
                self.stream.close()
                self.stream = RenderStream()  # whoever still knows the session does not hold its memory
            elif self.encoder:
                self.encoder.close()
            if not self._held:
                self.on_event = _nobody  # who listens holds the session: its memory would wait for the collector
        return not self._held

    def _voice(self) -> Voice | None:
        """Return its voice in a turn of its lead's; what fails ends this session only."""
        try:
            return Voice(self.name, self.way, self.fps)
        except Exception as error:
            self.close(f"its driver cannot begin: {error}")
            return None

    def _forget(self, session: "LiveSession") -> None:
        """Let a session be beside it no more."""
        with self._lock:
            self._beside = tuple(each for each in self._beside if each is not session)
        self.speaker.part(session.name)

    def _turn(self, name: str, generation: int, rate: int, stream: bool) -> Turn:
        faces = (self, *self._beside)
        for each in faces:
            each.metrics.begin_turn()
        target = max(each.way.latency for each in faces) + CUSHION_S + 3 * _PACKET_S
        return Turn(name, generation, self.way, self.fps, rate=rate, follow=target if stream else None)


def _nobody(event: Event | Closed) -> None:
    """Tell nobody."""
