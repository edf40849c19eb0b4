"""Playing arms in step: the same sound goes to all, a frame of it at a time, and each gives its pictures and tracks."""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.clock import TICK_RATE, frame_tick
from marotte.runtime.compare.cast import Member
from marotte.runtime.compare.faces import FaceTracks, face_tracks
from marotte.runtime.compare.film import Film
from marotte.runtime.compare.views import Similarity, View, align, pictured
from marotte.runtime.contracts import SAMPLE_RATE, Drive, FacePoints, RenderStream
from marotte.runtime.frames import Frames

# Sound that a renderer gets at once where it works ahead of whoever waits for it.
_AHEAD_S = 0.5


class Player(ABC):
    """One arm at play. pictures: [h, w, 3] uint8 that wait to be taken, in order; taken: how many were; failed: why it
    ended early, empty as long as it did not."""

    def __init__(self, name: str, size: tuple[int, int], fps: Fraction) -> None:
        self.name, self.size, self.fps = name, size, fps
        self.pictures: deque[np.ndarray] = deque()
        self.taken = 0
        self.failed = ""
        self.frame_ms: list[float] = []
        self.similarity = Similarity()
        self.colour: tuple[float, float, float] | None = None

    @property
    def seconds(self) -> float:
        """How far it came."""
        return float(self.taken / self.fps)

    def play(self, frames: int, sound: np.ndarray, end: Fraction | None) -> None:
        """Take the next sound [n] at 16 kHz; at its end with the whole sound's duration; `frames` pictures are due by
        then. What goes wrong ends this arm, and says why."""
        if self.failed:
            return
        try:
            self._play(frames, sound, end)
        except MarotteError as error:
            self.fail(str(error))
        except Exception as error:
            self.fail(f"{type(error).__name__}: {error}")

    def fail(self, why: str) -> None:
        """End it."""
        self.failed = " ".join(why.split()) or "it gave no reason"
        self.close()

    def take(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return its next picture as it is, and laid on the common one of a size."""
        picture = self.pictures.popleft()
        laid = align(picture, self.similarity, size, self.colour)
        self.taken += 1
        return picture, laid

    @abstractmethod
    def _play(self, frames: int, sound: np.ndarray, end: Fraction | None) -> None:
        """See `play`."""

    def close(self) -> None:
        """Give back what it holds."""


class DrawnPlayer(Player):
    """An arm that is drawn now: a session, and the landmarks of what it draws."""

    def __init__(self, member: Member, view: View, fps: Fraction) -> None:
        """Raises MarotteError that names the arm, where it cannot be drawn."""
        try:
            self._session = member.session(view.camera, fps, watch=self._watch)
        except MarotteError as error:
            raise MarotteError(f"the arm {member.name}: {error}") from error
        super().__init__(member.name, self._session.size, fps)
        self.member, self.view = member, view
        self.colour = member.options.background.colour
        self._straight = self._session.bridge.camera
        self._aside = 0.0  # seconds of measuring in the drawing that is timed
        self._kept = [np.zeros(0, np.float32)]
        self._tracks: list[FaceTracks] = []
        self._marks: list[np.ndarray] = []
        self.marked_by = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of its pictures."""
        return self._session.notes

    @property
    def approximations(self) -> tuple[str, ...]:
        """What is approximated in them."""
        return self._session.bridge.approximations(self.member.driver.basis)

    @property
    def knows_landmarks(self) -> bool:
        """Whether its renderer knows where the landmarks are."""
        return self.view.seen.points is not None

    @property
    def hears(self) -> str:
        """What audio features its network hears by itself, empty where the motion moves its lips."""
        need = self.member.stream.features or self.member.renderer.needs.features
        return "" if need is None else need.space or need.kind

    @property
    def tracks(self) -> FaceTracks | None:
        """What its face did, frame by frame; None where its renderer knows no landmarks."""
        return FaceTracks.joined(self._tracks) if self._tracks else None

    @property
    def landmarks(self) -> np.ndarray | None:
        """The landmarks [T, 68, 2] in the common picture, None where they are not known."""
        return np.concatenate(self._marks) if self._marks else None

    def close(self) -> None:
        """Close the session."""
        with suppress(MarotteError):
            self._session.close()

    def _play(self, frames: int, sound: np.ndarray, end: Fraction | None) -> None:
        self._kept.append(sound)
        if end is None and self._session.works_ahead and sum(map(len, self._kept)) < _AHEAD_S * SAMPLE_RATE:
            return
        heard, self._kept = np.concatenate(self._kept), [np.zeros(0, np.float32)]
        self._keep(self._session.feed(heard))
        if end is not None:
            self._keep(self._session.finish(end))

    def _keep(self, batches: Iterable[Frames]) -> None:
        iterator = iter(batches)
        while True:
            self._aside, began = 0.0, time.perf_counter()
            frames = next(iterator, None)
            if frames is None:
                return
            spent = time.perf_counter() - began - self._aside
            self.frame_ms += [1000 * spent / len(frames.pixels)] * len(frames.pixels)
            self.pictures.extend(frames.pixels)

    def _watch(self, stream: RenderStream, drive: Drive) -> None:
        began = time.perf_counter()
        points = stream.face_points(drive)
        if points is not None:
            self._mark(points, drive)
        self._aside += time.perf_counter() - began

    def _mark(self, points: FacePoints, drive: Drive) -> None:
        self.marked_by = points.by
        self._tracks.append(face_tracks(points, drive.cameras, self._straight))
        marks = pictured(points.points, drive.cameras, *self.size)
        self._marks.append(self.similarity.affine.apply(marks.reshape(-1, 2)).reshape(marks.shape))


class FilmPlayer(Player):
    """An arm that is a film already."""

    def __init__(self, name: str, film: Film, fps: Fraction, start: float, frames: int) -> None:
        super().__init__(name, film.size, fps)
        self.film = film
        self.start = start
        self._frames: Iterator[np.ndarray] = film.frames(fps, start, frames)
        self._given = 0

    def _play(self, frames: int, sound: np.ndarray, end: Fraction | None) -> None:
        while self._given < frames:
            picture = next(self._frames, None)
            if picture is None:
                self.fail("the film ends here")
                return
            self.pictures.append(picture)
            self.frame_ms.append(float("nan"))
            self._given += 1


def packets(sound: np.ndarray, frames: int, fps: Fraction) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the sound [n] at 16 kHz of each frame, with how many frames are due by then; the last takes the rest."""
    step = TICK_RATE // SAMPLE_RATE
    for index in range(frames):
        first = frame_tick(index, fps) // step
        last = frame_tick(index + 1, fps) // step if index + 1 < frames else len(sound)
        yield index + 1, sound[first:last]
