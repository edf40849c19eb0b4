"""Two runs of a benchmark against each other: what differs around them, and for each case old, new and their ratio.

Intervals are made by drawing blocks of frames that follow each other again and again, from each run apart (Künsch's
and Carlstein's block bootstrap, percentiles 2.5 and 97.5). They know how frames differ within a run; what differs
between two runs on one machine, a yardstick beside each case shows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import read_json

_BLOCK, _RESAMPLES = 5, 1000
_WIDTH = 62
_FORMS = {
    "marotte-bench-1": "times",
    "marotte-bench-2": "times",
    "marotte-bench-live-1": "live",
    "marotte-compare-1": "compare",
}
# What a run is called that is of no `_FORMS`, and has these.
_LIPSYNC = ("rows", "definitions", "without_speech")
_TAKES = "`marotte bench --json` (with --live or --lipsync too), or the results.json of `marotte compare`"


@dataclass(frozen=True)
class Figure:
    """One figure of a case. samples: of single frames, in turns; low, high: its own interval, where the run gave one.

    time: whether it is a duration, of which a ratio is taken; else the difference.
    """

    value: float
    samples: tuple[float, ...] = ()
    low: float | None = None
    high: float | None = None
    time: bool = True
    unit: str = ""


@dataclass(frozen=True)
class Run:
    """One run: its file or `this run`, what kind it is of, what was around it, and its figures by case and name.

    yardsticks: ms of a fixed piece of work beside each case, where it was measured.
    """

    title: str
    kind: str
    facts: Mapping[str, str]
    cases: Mapping[str, Mapping[str, Figure]]
    yardsticks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ratio:
    """New over old, of medians, with its 95 % interval, None where there are no samples."""

    value: float
    low: float | None = None
    high: float | None = None


def read_run(path: str | Path) -> Run:
    """Return a run that was written as JSON. Raises MarotteError where the file is none."""
    return make_run(str(path), read_json(path))


def make_run(title: str, content: Mapping[str, Any]) -> Run:
    """Return the run that a report holds; title: what to call it. Raises MarotteError."""
    kind = _FORMS.get(str(content.get("format")))
    if kind is None and all(key in content for key in _LIPSYNC):
        kind = "lipsync"
    if kind is None:
        form = f"of format {content['format']!r}" if "format" in content else "no benchmark's"
        raise MarotteError(f"{title} is {form}: give what was written by {_TAKES}")
    if kind == "compare" and not content.get("cost"):
        raise MarotteError(f"{title} is a comparison without its cost: make it again without --no-cost")
    try:
        if kind == "times":
            return _times(title, content)
        if kind == "live":
            return _live(title, content)
        if kind == "lipsync":
            return _lipsync(title, content)
        return _compared(title, content["cost"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MarotteError(f"{title} is damaged ({type(error).__name__}: {error}): write it again") from error


def against(old: Run, new: Run) -> Iterator[str]:
    """Yield lines: what differs around the runs, each case that both have, and those that only one has.

    Raises MarotteError where they cannot be compared.
    """
    if old.kind != new.kind:
        raise MarotteError(
            f"{old.title} measured {_WORDS[old.kind]}, {new.title} {_WORDS[new.kind]}: compare two of a kind"
        )
    yield f"old: {old.title}; new: {new.title}"
    for name in dict.fromkeys([*old.facts, *new.facts]):
        before, after = (run.facts.get(name, "not said") for run in (old, new))
        if before != after:
            yield f"  {name}: {before} -> {after}"
    same = "cpu" in old.facts and old.facts["cpu"] == new.facts.get("cpu")
    if same:
        yield f"  on the same kind of processor: {new.facts['cpu']}"
    both = [name for name in new.cases if name in old.cases]
    moved = {
        name: new.yardsticks[name] / old.yardsticks[name]
        for name in both
        if name in new.yardsticks and name in old.yardsticks
    }
    if moved:
        low, middle, high = np.percentile(list(moved.values()), (0, 50, 100))
        yield f"  a fixed piece of work took {middle:.2f} times as long ({low:.2f} to {high:.2f}): the machine itself"
    if both:
        word = "ratio" if new.kind in ("times", "compare") else "more"
        yield f"{'':<{_WIDTH}}{'old':>10}{'new':>10}{word:>8}  95 % interval"
    for name in both:
        for label, figure in new.cases[name].items():
            if (earlier := old.cases[name].get(label)) is not None:
                yield _line(f"{name}, {label}", earlier, figure, moved.get(name, 1.0) if same else 1.0)
    for run, other in ((old, new), (new, old)):
        if alone := [name for name in run.cases if name not in other.cases]:
            yield f"only in {run.title}: {'; '.join(alone)}"
    if not both:
        yield "they have no case in common"


def ratio(old: Sequence[float], new: Sequence[float], seed: int = 0) -> Ratio:
    """Return the ratio of the medians of samples in their order, with its interval where there are four blocks."""
    rng = np.random.default_rng(seed)
    value = float(np.median(new) / max(float(np.median(old)), 1e-9))
    if min(len(old), len(new)) < 4 * _BLOCK:
        return Ratio(value)
    drawn = _medians(np.asarray(new), rng) / np.maximum(_medians(np.asarray(old), rng), 1e-9)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Ratio(value, float(min(low, value)), float(max(high, value)))


def _medians(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the medians [resamples] of so many samples, drawn in blocks that go round the end."""
    count = -(-len(samples) // _BLOCK)
    starts = rng.integers(len(samples), size=(_RESAMPLES, count))
    drawn = samples[(starts[:, :, None] + np.arange(_BLOCK)) % len(samples)].reshape(_RESAMPLES, -1)
    return np.asarray(np.median(drawn[:, : len(samples)], axis=1))


_WORDS = {"times": "times", "live": "a live server", "lipsync": "lip sync", "compare": "arms of a comparison"}


def _line(title: str, old: Figure, new: Figure, machine: float) -> str:
    """machine: how many times as long it takes for a fixed piece of work."""
    line = f"{title:<{_WIDTH}}{old.value:10.2f}{new.value:10.2f}"
    if not new.time:
        line += f"{new.value - old.value:+8.2f}  {new.unit + ', ' if new.unit else ''}"
        if None in (old.low, old.high, new.low, new.high):
            return line + "no interval: one value a run"
        apart = _above(new.low, old.high) or _above(old.low, new.high)
        return f"{line}{'differs: the intervals are apart' if apart else 'within noise: the intervals overlap'}"
    found = ratio(old.samples, new.samples) if old.samples and new.samples else Ratio(new.value / max(old.value, 1e-9))
    line += f"{found.value:8.2f}"
    if found.low is None or found.high is None:
        return f"{line}  no interval: {'too few frames' if old.samples and new.samples else 'no samples were kept'}"
    line += f"  {found.low:.2f} to {found.high:.2f}  "
    if found.low <= 1 <= found.high:
        return line + "within noise"
    if min(1.0, machine) <= found.value <= max(1.0, machine):
        return line + f"within noise: the machine itself took {machine:.2f} times as long"
    return line + ("slower" if found.value > 1 else "faster")


def _above(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and one > other


def _facts(content: Mapping[str, Any]) -> dict[str, str]:
    facts = {str(name): str(value) for name, value in content.get("hardware", {}).items()}
    facts |= {f"version of {name}": str(value) for name, value in content.get("versions", {}).items()}
    facts |= {name: str(content[name]) for name in ("commit", "load") if content.get(name) not in (None, "")}
    return facts


def _times(title: str, content: Mapping[str, Any]) -> Run:
    cases: dict[str, dict[str, Figure]] = {}
    yardsticks = {}
    for entry in content["results"]:
        name = f"{entry['name']} {_settings(entry['settings'])}".strip()
        kept = entry.get("samples") or {}
        cases[name] = {
            label: Figure(float(entry["total"][f"{key}_ms"]), tuple(map(float, kept.get(key, ()))))
            for key, label in (("cpu", "CPU-ms"), ("wall", "wall-ms"))
        }
        if (stick := float(entry.get("yardstick_ms") or 0)) > 0:
            yardsticks[name] = stick
    return Run(title, "times", _facts(content), cases, yardsticks)


def _compared(title: str, cost: Mapping[str, Any]) -> Run:
    cases: dict[str, dict[str, Figure]] = {}
    for name, arm in cost["arms"].items():
        if "frame" not in arm:
            continue
        samples = [float(value) for turn in cost.get("samples", {}).get(name, ()) for value in turn]
        cases[f"arm {name}"] = {
            "CPU-ms": Figure(float(arm["frame"]["cpu_ms"]), tuple(samples)),
            "wall-ms": Figure(float(arm["frame"]["wall_ms"])),
        }
    return Run(title, "compare", _facts(cost), cases)


def _live(title: str, content: Mapping[str, Any]) -> Run:
    cases = {
        f"live {_settings(entry['settings'])}": {
            figure["name"]: Figure(float(figure["value"]), time=False, unit=figure["unit"])
            for figure in entry["figures"]
        }
        for entry in content["results"]
    }
    return Run(title, "live", _facts(content), cases)


def _lipsync(title: str, content: Mapping[str, Any]) -> Run:
    facts = {name: str(content[name]) for name in ("generator", "driver", "avatar")}
    cases = {
        row["name"]: {
            name: Figure(float(value["value"]), low=value["low"], high=value["high"], time=False)
            for name, value in row.items()
            if isinstance(value, dict) and value.get("value") is not None
        }
        for row in content["rows"]
    }
    return Run(title, "lipsync", facts, cases)


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in sorted(settings.items())
    )
