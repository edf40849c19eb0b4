"""The stage: all arms play in step, and every frame goes into their films, the grid and the meters at once.

What is measured are the exact pixels. Memory does not grow with the length: a frame is gone when it is written.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.clock import frame_tick
from marotte.runtime.compare.grid import Grid
from marotte.runtime.compare.mouth import MouthWatch
from marotte.runtime.compare.pairs import PairMeter
from marotte.runtime.compare.play import FilmPlayer, Player, packets
from marotte.runtime.frames import Frames
from marotte.runtime.offline import Progress
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import Sink, open_sink


@dataclass(frozen=True)
class Sound:
    """What all arms say: samples [n] float32 at 16 kHz of a file's piece, and its exact seconds."""

    path: Path
    samples: np.ndarray
    duration: Fraction
    start: float = 0.0
    piece: float | None = None


@dataclass(frozen=True, eq=False)
class Reference:
    """What all are measured by: pictures of its own rate and size brought to the comparison's. words: what was done.
    landmarks: [T, 68, 2] of its face in the common picture, None where nobody gave them."""

    path: Path
    pictures: Iterator[np.ndarray]
    words: str
    landmarks: np.ndarray | None = None


@dataclass(eq=False)
class Rolled:
    """What came of it, by the arms' names. films: their files, None where nothing was drawn; pairs: against the first
    arm; references: against the reference; watches: of those whose renderers know no landmarks."""

    films: dict[str, Path | None] = field(default_factory=dict)
    pairs: dict[str, PairMeter] = field(default_factory=dict)
    references: dict[str, PairMeter] = field(default_factory=dict)
    watches: dict[str, MouthWatch] = field(default_factory=dict)


class Stage:
    """Plays arms and keeps what they show. folder: gets `arms/` and `grid.mp4`; size: of the common picture.

    watched: names of the arms whose mouths are measured in the picture. provenance: of each arm's film, and of the grid
    under the empty name. Raises MarotteError where a film cannot be written, and when every arm has failed.
    """

    def __init__(
        self,
        players: Sequence[Player],
        grid: Grid,
        size: tuple[int, int],
        sound: Sound,
        fps: Fraction,
        folder: Path,
        provenance: Mapping[str, Provenance],
        *,
        watched: Sequence[str] = (),
        reference: Reference | None = None,
        lpips: bool = False,
    ) -> None:
        self._players, self._grid, self._size, self._sound, self._fps = players, grid, size, sound, fps
        self._folder, self._provenance, self._reference = folder, provenance, reference
        self._told: set[str] = set()
        self.found = Rolled(
            pairs={player.name: PairMeter(fps, lpips=lpips) for player in players[1:]},
            references={player.name: PairMeter(fps, lpips=lpips) for player in players if reference},
            watches={name: MouthWatch() for name in watched},
        )

    def roll(self, frames: int, progress: Progress | None = None) -> Rolled:
        """Play so many frames, all of the sound."""
        (self._folder / "arms").mkdir()
        with ExitStack() as stack:
            drawn = [player for player in self._players if not isinstance(player, FilmPlayer)]
            sinks = {player.name: stack.enter_context(_Film(self._open(player))) for player in drawn}
            grid = stack.enter_context(self._open_grid())
            done = 0
            for due, piece in packets(self._sound.samples, frames, self._fps):
                end = self._sound.duration if due == frames else None
                # In turns, so that none always draws while the encoder is busy with the frame before.
                first = due % len(self._players)
                for player in [*self._players[first:], *self._players[:first]]:
                    player.play(due, piece, end)
                while done < frames and (row := self._row(done, sinks)) is not None:
                    grid.write(self._frames(done, row))
                    done += 1
                    if progress:
                        progress(done, frames)
        self.found.films = {name: film.path if film.written else None for name, film in sinks.items()}
        for player in self._players:
            if isinstance(player, FilmPlayer):
                self.found.films[player.name] = self._copied(player)
        return self.found

    def _row(self, frame: int, sinks: Mapping[str, "_Film"]) -> np.ndarray | None:
        """Return the grid's next picture, None as long as an arm that goes on has none; arms' pictures are kept."""
        going = [player for player in self._players if player.pictures or not player.failed]
        if not all(player.pictures for player in going):
            return None
        if not going:
            first = self._players[0]
            raise MarotteError(f"every arm failed; {first.name} after {first.seconds:.2f} s: {first.failed}")
        laid: list[np.ndarray | None] = []
        for player in self._players:
            if not player.pictures:
                if player.name not in self._told:
                    self._told.add(player.name)
                    self._grid.end(player.name, f"{player.name} ended after {player.seconds:.2f} s: {player.failed}")
                laid.append(None)
                continue
            own, common = player.take(self._size)
            if player.name in sinks:
                sinks[player.name].write(self._frames(frame, own))
            laid.append(common)
            if player.name in self.found.watches:
                self.found.watches[player.name].add(common)
        self._measure(laid)
        return self._grid.picture(laid)

    def _measure(self, laid: Sequence[np.ndarray | None]) -> None:
        for player, picture in zip(self._players[1:], laid[1:], strict=True):
            self.found.pairs[player.name].add(picture, laid[0])
        if self._reference:
            truth = next(self._reference.pictures, None)
            for player, picture in zip(self._players, laid, strict=True):
                self.found.references[player.name].add(picture, truth)

    def _frames(self, frame: int, picture: np.ndarray) -> Frames:
        return Frames(np.array([frame_tick(frame, self._fps)], np.int64), np.ascontiguousarray(picture)[None])

    def _open(self, player: Player) -> Sink:
        width, height = (side + side % 2 for side in player.size)
        return open_sink(
            self._folder / "arms" / f"{player.name}.mp4",
            width=width,
            height=height,
            fps=self._fps,
            provenance=self._provenance[player.name],
            audio=self._sound.path,
            audio_start=self._sound.start,
            audio_duration=self._sound.piece,
        )

    def _copied(self, player: FilmPlayer) -> Path:
        """Return a copy of the film as it was given: it may be a real one, which is not ours to mark as synthetic."""
        target = self._folder / "arms" / f"{player.name}{player.film.path.suffix.lower()}"
        try:
            shutil.copyfile(player.film.path, target)
        except OSError as error:
            raise MarotteError(f"cannot copy {player.film.path} to {target}: {error.strerror or error}") from error
        return target

    def _open_grid(self) -> Sink:
        return open_sink(
            self._folder / "grid.mp4",
            width=self._grid.width,
            height=self._grid.height,
            fps=self._fps,
            provenance=self._provenance[""],
            audio=self._sound.path,
            audio_start=self._sound.start,
            audio_duration=self._sound.piece,
        )


class _Film:
    """An arm's film: of odd pictures with a row or column more, and none at all where no frame came."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.path, self.written = sink.path, 0

    def write(self, frames: Frames) -> None:
        wide, high = self._sink.width - frames.width, self._sink.height - frames.height
        if wide or high:
            pixels = np.pad(frames.pixels, ((0, 0), (0, high), (0, wide), (0, 0)), mode="edge")
            frames = Frames(frames.ticks, pixels)
        self._sink.write(frames)
        self.written += 1

    def __enter__(self) -> "_Film":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None and self.written:
            self._sink.close()
        else:
            with suppress(OSError):
                self._sink.abort()
