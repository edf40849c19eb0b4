"""The worst moments of a comparison as stills, and maps of where pictures differ."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import write_whole
from marotte.runtime.compare.grid import Grid
from marotte.runtime.compare.model import Take
from marotte.runtime.compare.pairs import PairMeter
from marotte.runtime.compare.spoken import Speech
from marotte.runtime.compare.stage import Rolled
from marotte.runtime.video.ffmpeg import file_url, run_ffmpeg

# So many of a kind and arm, and of all; how far apart in seconds those of a kind are.
_OF_A_KIND, _MOST, _APART = 2, 12, 1.0
# Lips that come no nearer than this at a bilabial (mm) are worth a look, and openings so far from what was asked.
_OPEN_MM, _OFF_MM = 1.0, 2.0
# How long around a bilabial lips may meet, in seconds; as for closure recall.
_NEAR = 0.060


@dataclass(frozen=True)
class _Moment:
    arm: str
    against: str
    frame: int
    title: str
    words: str
    value: float
    unit: str


def moments(
    takes: Sequence[Take], rolled: Rolled, grid: Grid, speech: Speech | None, folder: Path
) -> list[dict[str, Any]]:
    """Return the moments at which arms do worst or differ most, with stills of the grid in `folder`/moments.

    Of each arm: where it differs most from the first and from the reference, where its lips are farthest from what was
    asked, and the bilabials at which they stay widest apart. Raises MarotteError where the grid cannot be decoded.
    """
    found: list[_Moment] = []
    for take in takes:
        found += _pictured(take.name, takes[0].name, rolled.pairs.get(take.name), "from the first arm")
        found += _pictured(take.name, "", rolled.references.get(take.name), "from the reference")
        found += _off(take)
        found += _missed(take, speech)
    chosen = _spread(found)
    if chosen:
        (folder / "moments").mkdir()
    out = []
    for index, moment in enumerate(chosen):
        still = f"moments/{index + 1}.jpg"
        seconds = float(moment.frame / takes[0].fps)
        # A little before, since what is seeked is the first frame from there on.
        before = max(float((moment.frame - Fraction(1, 4)) / takes[0].fps), 0.0)
        _write_still(folder / "grid.mp4", before, grid, moment, folder / still)
        out.append(
            {
                "arm": moment.arm,
                "against": moment.against or None,
                "seconds": round(seconds, 6),
                "title": moment.title,
                "words": moment.words,
                "value": round(moment.value, 4),
                "unit": moment.unit,
                "still": still,
            }
        )
    return out


def heatmaps(rolled: Rolled, first: str, folder: Path) -> list[dict[str, Any]]:
    """Return the maps of where each arm's picture differs from the first arm's and the reference's, as PNG in
    `folder`/heat."""
    from PIL import Image

    out: list[dict[str, Any]] = []
    for against, meters in ((first, rolled.pairs), ("the reference", rolled.references)):
        for name, meter in meters.items():
            if not np.isfinite(meter.tracks["difference"]).any():
                continue
            (folder / "heat").mkdir(exist_ok=True)
            file = f"heat/{name}-{'reference' if meters is rolled.references else first}.png"
            with io.BytesIO() as stream:
                Image.fromarray(meter.heatmap()).save(stream, "PNG")
                write_whole(folder / file, stream.getvalue())
            out.append({"arm": name, "against": against, "file": file, "words": meter.heat_words()})
    return out


def _pictured(name: str, against: str, meter: PairMeter | None, of_what: str) -> Iterator[_Moment]:
    for worst in meter.worst(_OF_A_KIND, _APART) if meter else ():
        yield _Moment(
            name, against, worst.frame, f"Pictures differ most {of_what}", "", worst.difference, "of 255, mean"
        )


def _off(take: Take) -> Iterator[_Moment]:
    if take.asked is None or take.opening_unit != "mm":
        return
    off = np.abs(take.opening - take.asked)
    for frame in _peaks(off, take, _OFF_MM):
        words = f"{take.opening[frame]:.1f} mm open where the driver asks for {take.asked[frame]:.1f} mm."
        yield _Moment(take.name, "", frame, "Lips farthest from what was asked", words, float(off[frame]), "mm")


def _missed(take: Take, speech: Speech | None) -> Iterator[_Moment]:
    """Yield the bilabials of the comparison's sound at which the lips stay widest apart."""
    if speech is None or take.opening_unit != "mm":
        return
    least = np.full(len(take), np.nan)
    for start, end in speech.bilabials:
        first, last = (
            int(np.clip(round(at * float(take.fps)), 0, len(take) - 1)) for at in (start - _NEAR, end + _NEAR)
        )
        near = take.opening[first : last + 1]
        if np.isfinite(near).any():
            least[first + int(np.nanargmin(near))] = np.nanmin(near)
    for frame in _peaks(least, take, _OPEN_MM):
        words = f"The lips come no nearer than {least[frame]:.1f} mm at a p, b or m."
        yield _Moment(take.name, "", frame, "Lips open at a bilabial", words, float(least[frame]), "mm")


def _peaks(values: np.ndarray, take: Take, most: float) -> Iterator[int]:
    """Yield the frames of the largest values above `most`, each apart from the others."""
    left, reach = np.nan_to_num(values, nan=0.0), max(1, round(_APART * float(take.fps)))
    for _ in range(_OF_A_KIND):
        if not len(left) or left.max() <= most:
            return
        frame = int(left.argmax())
        yield frame
        left[max(0, frame - reach + 1) : frame + reach] = 0


def _spread(found: Sequence[_Moment]) -> list[_Moment]:
    """Return so many that a report can show, one of each kind and arm before the second ones."""
    seen: dict[tuple[str, str, str], int] = {}
    ranked = []
    for moment in found:
        kind = moment.arm, moment.against, moment.title
        seen[kind] = seen.get(kind, 0) + 1
        ranked.append((seen[kind], moment))
    return [moment for _, moment in sorted(ranked, key=lambda pair: pair[0])][:_MOST]


def _write_still(film: Path, seconds: float, grid: Grid, moment: _Moment, target: Path) -> None:
    """Write the cells of the arms that a moment is of, out of the grid at a time."""
    from PIL import Image

    done = run_ffmpeg(
        [
            *["-loglevel", "error", "-ss", f"{seconds:.6f}", "-i", file_url(film), "-frames:v", "1"],
            *["-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        ]
    )
    size = grid.height * grid.width * 3
    if done.status or len(done.stdout) < size:
        raise MarotteError(f"a still of {film} at {seconds:.2f} s cannot be decoded: {done.complaint}")
    whole = np.frombuffer(done.stdout, np.uint8, size).reshape(grid.height, grid.width, 3)
    names = [name for name in (moment.against, moment.arm) if name]
    cells = [next(cell for cell in grid.cells if cell.arm == name) for name in names]
    parts = [whole[cell.y : cell.y + cell.height, cell.x : cell.x + cell.width] for cell in cells]
    with io.BytesIO() as stream:
        Image.fromarray(np.concatenate(parts, axis=1)).save(stream, "JPEG", quality=88)
        write_whole(target, stream.getvalue())
