"""A driver's lip sync as a table and as JSON: drives the speech, measures the lips, writes the figures down."""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import marotte
from marotte.runtime.contracts import Driver
from marotte.runtime.lipsync.labelled import LabelledSpeech
from marotte.runtime.lipsync.lips import LipTrack, lip_track
from marotte.runtime.lipsync.measure import DEFINITIONS, Figure, Figures, Stillness, measure
from marotte.runtime.motion import Motion, concatenate

Pairs = list[tuple[LipTrack, LabelledSpeech]]

# The figures that have a column, with its title.
_COLUMNS = {
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "openness": "openness",
    "openness_all": "all",
    "lag": "lag ms",
    "rounding": "rounding",
    "silence": "silence",
}
_NAME_WIDTH, _WIDTH = 36, 12


@dataclass(frozen=True)
class Result:
    """The figures of one row. group: rows of one group are pooled as well."""

    name: str
    figures: Figures
    group: str = ""


def motion_of(driver: Driver, samples: np.ndarray, options: Mapping[str, Any] | None = None) -> Motion:
    """Return the motion that a driver, with its options, makes of sound [n] float32 at 16 kHz."""
    stream = driver.open(options)
    try:
        return concatenate([stream.feed(samples), stream.finish()])
    finally:
        stream.close()


def follow(
    driver: Driver,
    speech: Iterable[LabelledSpeech],
    avatar: str | Path = "demo",
    options: Mapping[str, Any] | None = None,
) -> Pairs:
    """Return the lips of an avatar for each piece of speech, beside it. options: the driver's."""
    return [(lip_track(motion_of(driver, one.samples, options), avatar), one) for one in speech]


def pooled(rows: Sequence[tuple[str, str, Pairs]]) -> Iterator[Result]:
    """Yield one result for each group of rows (name, group, pairs) that has more than one."""
    groups: dict[str, list[Pairs]] = {}
    for _, group, pairs in rows:
        groups.setdefault(group, []).append(pairs)
    for group, parts in groups.items():
        if group and len(parts) > 1:
            yield Result(group, measure([pair for part in parts for pair in part]))


def header() -> str:
    """Return the table's first line."""
    return f"{'':<{_NAME_WIDTH}}" + "".join(f"{title:>{_WIDTH}}" for title in _COLUMNS.values())


def lines(result: Result) -> list[str]:
    """Return a row's two lines: its figures, and their 95 % intervals."""
    figures = [getattr(result.figures, name) for name in _COLUMNS]
    forms = ["{:.1f}" if name == "lag" else "{:.2f}" for name in _COLUMNS]
    about = f"  {result.figures.utterances} clips, {result.figures.seconds:.0f} s"
    return [
        f"{result.name:<{_NAME_WIDTH}}"
        + "".join(f"{_text(form, f.value):>{_WIDTH}}" for form, f in zip(forms, figures, strict=True)),
        f"{about:<{_NAME_WIDTH}}"
        + "".join(f"{_interval(form, f):>{_WIDTH}}" for form, f in zip(forms, figures, strict=True)),
    ]


def still_line(name: str, still: Stillness) -> str:
    """Return the line of sound without speech."""
    return f"{name:<{_NAME_WIDTH}}{still.largest_gap:{_WIDTH}.2f}{still.high_gap:{_WIDTH}.2f}"


def still_header() -> str:
    """Return the line above those of sound without speech."""
    return f"{'gap on sound without speech':<{_NAME_WIDTH}}{'largest':>{_WIDTH}}{'99 %':>{_WIDTH}}"


def definitions() -> list[str]:
    """Return what each figure is, in lines of up to 110 characters."""
    return [
        line
        for name, text in DEFINITIONS.items()
        for line in textwrap.wrap(f"{name}: {text}.", 110, subsequent_indent="    ")
    ]


def content(
    driver: str, avatar: str, results: Iterable[Result], still: Iterable[tuple[str, Stillness]], left_out: Iterable[str]
) -> dict[str, Any]:
    """Return all of it for a JSON file; null stands for a figure that nothing decides."""
    return {
        "generator": f"marotte {marotte.__version__}",
        "driver": driver,
        "avatar": avatar,
        "definitions": DEFINITIONS,
        "rows": [
            {
                "name": result.name,
                "group": result.group,
                "utterances": result.figures.utterances,
                "seconds": result.figures.seconds,
                **{f.name: _plain(getattr(result.figures, f.name)) for f in fields(Figures) if f.name in DEFINITIONS},
            }
            for result in results
        ],
        "without_speech": [{"name": name, **asdict(one)} for name, one in still],
        "left_out": list(left_out),
    }


def _plain(figure: Figure) -> dict[str, float | int | None]:
    return {name: None if math.isnan(value) else value for name, value in asdict(figure).items()}


def _text(form: str, value: float) -> str:
    return "-" if math.isnan(value) else form.format(value)


def _interval(form: str, figure: Figure) -> str:
    return "" if math.isnan(figure.low) else f"{form.format(figure.low)}..{form.format(figure.high)}"
