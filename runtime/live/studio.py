"""Studio: the sessions of one device and the threads that work for them.

Four threads: pacing looks at the clock, drive turns sound into motion, render draws what all sessions show now in one
call, encode makes packets of it. A driver that needs a second for a chunk delays no picture, a picture that is late
delays no sound. `run_once` does the same work in the caller's thread, for simulations.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.compiled import prepare
from marotte.runtime.contracts import Driver, Renderer
from marotte.runtime.live.cost import end, kind_of, measured
from marotte.runtime.live.limits import Limits
from marotte.runtime.live.live_session import THREADS, Closed, LiveSession
from marotte.runtime.live.memory import give_back
from marotte.runtime.live.metrics import Metrics
from marotte.runtime.live.pace import Clock, RealClock
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.live.shot import Shot
from marotte.runtime.live.speaker import Event
from marotte.runtime.live.turn import drive_turns
from marotte.runtime.registry import create

_LOG = logging.getLogger("marotte.live")
# The longest that pacing sleeps, unless a session is opened.
_NAP_S = 0.1
# What admission leaves free.
SHARE = 0.85
# How long a measurement that refuses a session counts.
_AGAIN_S = 5.0
_SWEEP_S = 1.0


class Busy(MarotteError):
    """There is no room for another session now."""


class Studio:
    """Opens, runs and closes sessions. Drivers and renderers are made once and shared.

    clock: what time is; limits: see there; share: of one renderer's time that may be promised. make: what makes
    plug-ins, as `registry.create`.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        share: float = SHARE,
        make: Callable[[str, str], Any] = create,
    ) -> None:
        self.clock, self.limits, self.share = clock or RealClock(), limits or Limits(), share
        self.metrics = Metrics()
        self._make = make
        self._plugins: dict[tuple[str, str], Any] = {}
        self._costs: dict[tuple, tuple[float, float]] = {}  # by kind of session: of a frame, seconds; measured when
        self._lock = threading.RLock()
        self._opening, self._making = threading.Lock(), threading.Lock()
        self._sessions: tuple[LiveSession, ...] = ()
        self._names = 0
        self._wakes = {thread: threading.Event() for thread in ("pace", *THREADS)}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._swept = self.clock.now()
        self._freed = False  # a session has ended, and its memory may be the system's again

    @property
    def sessions(self) -> tuple[LiveSession, ...]:
        """Those that are open, the oldest first."""
        return tuple(session for session in self._sessions if not session.closed)

    def start(self) -> None:
        """Start the threads."""
        prepare()
        for name, work in (("pace", self._pace_forever), *((t, self._worker(t)) for t in THREADS)):
            thread = threading.Thread(target=work, name=f"marotte-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Close all sessions and stop the threads."""
        for session in self.sessions:
            session.close("the server stops")
        if self._threads:
            self._stopping.set()
            for wake in self._wakes.values():
                wake.set()
            for thread in self._threads:
                thread.join()
        else:
            self.run_once()

    def warm_up(self, settings: LiveSettings) -> float:
        """Run the whole path once, sound to packets, in this thread; return the seconds that it took."""
        began = time.perf_counter()
        prepare()
        self.cost(settings)
        return time.perf_counter() - began

    def open(
        self,
        settings: LiveSettings,
        on_event: Callable[[Event | Closed], None] = lambda event: None,
        beside: LiveSession | None = None,
    ) -> LiveSession:
        """Open a session. on_event: called for what happens in it, on the pacing thread. beside: the session whose
        speech and clock it shares, and which it ends with; size and frame rate are then that one's.

        Raises Busy where there are enough or its frames would not be in time, and MarotteError where avatar, driver
        and settings do not fit together.
        """
        if beside:
            if beside.lead:
                raise MarotteError("a session cannot stand beside one that stands beside another: name the first")
            first = beside.settings
            settings = replace(settings, width=first.width, height=first.height, fps=first.fps)
        with self._opening:
            if len(self.sessions) >= self.limits.sessions:
                raise Busy(f"{len(self.sessions)} sessions are open, the limit `sessions`: close one, or raise it")
            cost = self.cost(settings)
            load, more = self.load, cost * float(settings.fps)
            if load + more > self.share:
                raise Busy(
                    f"a session of {float(settings.fps):g} frames a second would need {100 * more:.0f} % of the "
                    f"renderer, {100 * load:.0f} % are taken and {100 * self.share:.0f} % may be: ask for fewer frames "
                    "or smaller pictures, or wait until a session ends"
                )
            session = self._new(settings, self.metrics, on_event, beside)
            session.cost = cost
            with self._lock:
                self._sessions = (*self._sessions, session)
            self._wakes["pace"].set()
            self.metrics.count("sessions")
            if beside:
                try:
                    session.join()
                except Exception:
                    session.close("it could not join the other")
                    raise
            return session

    def could(self, settings: LiveSettings, beside: LiveSession | None = None) -> bool:
        """Return whether such a session could be opened if all others but the one beside it ended.

        Raises MarotteError where avatar, driver and settings do not fit together.
        """
        with self._opening:
            end(self._new(settings, None, lambda event: None, beside))
            load = beside.cost * float(beside.fps) if beside else 0.0
            return load + self.cost(settings) * float(settings.fps) <= self.share

    @property
    def load(self) -> float:
        """The share of the renderer's time that the open sessions need."""
        return sum(session.cost * float(session.fps) for session in self.sessions)

    def cost(self, settings: LiveSettings) -> float:
        """Return the seconds of the renderer for a frame of such a session: as seen, or measured now.

        Raises MarotteError where avatar, driver and settings do not fit together.
        """
        kind = kind_of(settings)
        alike = [s.cost for s in self.sessions if kind_of(s.settings) == kind and s.cost]
        if alike:
            return float(np.mean(alike))
        cost, at = self._costs.get(kind, (0.0, -np.inf))
        refused = self.load + cost * float(settings.fps) > self.share
        # What would refuse a session is not believed for long: something else may have used the machine.
        if not cost or (refused and self.clock.now() - at > _AGAIN_S):
            cost = measured(self._new(settings, None, lambda event: None))
            self._costs[kind] = cost, self.clock.now()
        return cost

    def gauges(self) -> dict[str, float]:
        """Return values of now for `Metrics.prometheus`."""
        sessions = self.sessions
        return {
            "sessions_open": len(sessions),
            "speaking": sum(not s.lead and s.speaker.state == "speaking" for s in sessions),
            "renderer_load": self.load,
            "process_cpu_seconds": time.process_time(),
            "python_blocks": sys.getallocatedblocks(),
        }

    def run_once(self) -> None:
        """Do all that there is to do now, in the caller's thread: without threads, for simulations."""
        self._pace()
        for thread in THREADS:
            while self._step(thread):
                pass

    # Work, each on its thread.

    def _pace(self) -> float:
        """Pace all sessions; return when the next frame is due."""
        soonest = self.clock.now() + _NAP_S
        for session in self.sessions:
            if session.lead:
                continue  # the one beside which it stands paces both
            if session.next_due() <= self.clock.now():
                faces = (session, *session.beside)
                for face in faces:
                    self._guard(face, face.fall_in)
                taken = self._guard(session, session.pace) or []
                for face in faces:
                    if not face.closed:
                        self._guard(face, partial(face.show, taken))
                self._wakes["render"].set()
            soonest = min(soonest, session.next_due())
        if self.clock.now() - self._swept > _SWEEP_S:
            self._swept = self.clock.now()
            if self._freed:
                self._freed = False
                give_back()
            for session in self.sessions:
                if reason := session.expired():
                    session.close(reason)
        return soonest

    def _drive(self) -> bool:
        leads = [session for session in self.sessions if not session.lead]
        work = {
            id(turn): (session, turn) for session in leads for turn in self._guard(session, session.speaker.work) or []
        }
        for turn, voice, error in drive_turns([turn for _, turn in work.values()]):
            lead, _ = work[id(turn)]
            for session in (lead, *lead.beside):
                if session.name == (voice.name or lead.name):
                    self._failed(session, error)
        return bool(work)

    def _render(self) -> bool:
        shots = [(session, shot) for session in self.sessions if (shot := session.shot())]
        groups: dict[int, list[tuple[LiveSession, Shot]]] = {}
        for session, shot in shots:
            groups.setdefault(id(session.renderer), []).append((session, shot))
        for group in groups.values():
            try:
                self._render_group(group)
            except Exception as error:
                if len(group) == 1:
                    self._failed(group[0][0], error)
                    continue
                # Each alone, which tells whose fault it is.
                for one in group:
                    self._guard(one[0], partial(self._render_group, [one]))
        return bool(shots)

    def _render_group(self, group: list[tuple[LiveSession, Shot]]) -> None:
        began = time.perf_counter()
        frames = group[0][0].renderer.submit([(session.stream, shot.drive) for session, shot in group]).result()
        seconds = (time.perf_counter() - began) / len(group)
        for (session, shot), drawn in zip(group, frames, strict=True):
            session.rendered(shot, drawn.pixels[0], seconds)

    def _encode(self) -> bool:
        done = False
        for session in self.sessions:
            done = bool(self._guard(session, session.encode)) or done
        return done

    def _step(self, thread: str) -> bool:
        """Do a thread's work once, and give back what closed sessions hold there; return whether there was work."""
        done = {"drive": self._drive, "render": self._render, "encode": self._encode}[thread]()
        for session in self._sessions:
            if session.closed and self._guard(session, partial(session.release, thread)):
                with self._lock:
                    self._sessions = tuple(each for each in self._sessions if each is not session)
                    self._freed = True
        return done

    def _worker(self, thread: str) -> Callable[[], None]:
        wake = self._wakes[thread]

        def work() -> None:
            while True:
                wake.wait()
                wake.clear()
                while self._step(thread):
                    pass
                if self._stopping.is_set():
                    return

        return work

    def _pace_forever(self) -> None:
        wake = self._wakes["pace"]
        while not self._stopping.is_set():
            wake.clear()
            wake.wait(max(self._pace() - self.clock.now(), 0.0005))

    def _guard(self, session: LiveSession, work: Callable[[], Any]) -> Any:
        """Do work for one session; what it raises ends that session only."""
        try:
            return work()
        except Exception as error:
            self._failed(session, error)
            return None

    def _failed(self, session: LiveSession, error: Exception) -> None:
        if not isinstance(error, MarotteError):
            _LOG.error("session %s failed", session.name, exc_info=error)
        self.metrics.count("failed")
        session.close(str(error) if isinstance(error, MarotteError) else f"{type(error).__name__}: {error}")

    # Opening.

    def _plugin(self, kind: str, name: str) -> Any:
        """Return what it makes once and warms up: its first work must not fall among the frames of others."""
        with self._making:
            if (kind, name) not in self._plugins:
                made = self._make(kind, name)
                made.warm_up()
                self._plugins[kind, name] = made
            return self._plugins[kind, name]

    def _new(
        self,
        settings: LiveSettings,
        metrics: Metrics | None,
        on_event: Callable[[Event | Closed], None],
        beside: LiveSession | None = None,
    ) -> LiveSession:
        driver: Driver = self._plugin("driver", settings.driver)
        renderer: Renderer = self._plugin("renderer", _renderer_of(settings))
        with self._lock:
            self._names += 1
            name = str(self._names)
        return LiveSession(
            name,
            settings,
            driver,
            renderer,
            self.clock,
            limits=self.limits,
            metrics=metrics,
            on_event=on_event,
            wake=lambda thread: self._wakes[thread].set(),
            lead=beside,
        )


def _renderer_of(settings: LiveSettings) -> str:
    from marotte.runtime.avatar import load_avatar

    return load_avatar(settings.avatar).renderer
