"""The parts of a report that say what arms cost, and how all of it was made."""

from collections.abc import Iterator, Mapping
from typing import Any

from marotte.runtime.compare.markup import Html, element, items, joined
from marotte.runtime.compare.report_parts import Results, facts_list, swatch, words_of
from marotte.runtime.compare.summary import plain

# What the figures' tables tell already, with intervals.
_TOLD = ("frame", "stages", "single_per_second", "batched_per_second", "memory_mib", "gaussians")
_NAMES = {
    "frames": "Frames that were timed",
    "batch": "Frames in a batch",
    "in_flight": "Batches in flight",
    "device_memory_mib": "Peak memory of the device, MiB",
    "failed": "Failed",
}


def cost_table(results: Results) -> Html:
    """Return what the stages of a frame cost, and what else the one protocol measured."""
    cost = results.get("cost") or {}
    arms = cost.get("arms") or {}
    if not arms:
        return element("p", "What the arms cost was not measured.", class_="soft")
    names = [arm["name"] for arm in results["arms"]]
    measured = {name: arms.get(name) or {} for name in names}
    stages = {name: each.get("stages") or {} for name, each in measured.items()}
    rows = [
        _row(stage, [_stage(stages[name].get(stage)) for name in names])
        for stage in dict.fromkeys(stage for each in stages.values() for stage in each)
    ]
    others = {name: dict(_flat({k: v for k, v in each.items() if k not in _TOLD})) for name, each in measured.items()}
    rows += [
        _row(
            _NAMES.get(key, key.replace("start up s ", "start-up, s: ")),
            [each.get(key, "—") for each in others.values()],
        )
        for key in dict.fromkeys(key for each in others.values() for key in each)
    ]
    heading = (element("th", swatch(index), name, scope="col") for index, name in enumerate(names))
    head = element("tr", element("th", "Stage", scope="col"), *heading)
    table = element("table", element("thead", head), element("tbody", *rows), class_=f"plain of-{len(names)}")
    note = (
        "Median ms of a frame, in brackets its 95th and 99th percentile: CPU time, and below it wall time, in which "
        "what else the machine does counts too. What a whole frame costs, with intervals, is among the figures."
    )
    return joined(
        [
            element("p", note, class_="soft prose"),
            element("div", table, class_="wide", role="region", tabindex=0, aria_labelledby="cost-title"),
        ]
    )


def _row(title: str, cells: list[str]) -> Html:
    return element("tr", element("th", title, scope="row"), *(element("td", cell) for cell in cells))


def _stage(times: Any) -> str:
    """Return the times of a stage: CPU, and wall below it."""
    if not isinstance(times, Mapping):
        return "—"
    lines = []
    for clock in ("cpu", "wall"):
        middle, *high = (times.get(f"{clock}_{part}ms") for part in ("", "p95_", "p99_"))
        if middle is None:
            continue
        words = element("small", f"({plain(high[0])}, {plain(high[1])})")
        lines.append(element("span", element("b", plain(middle)) if clock == "cpu" else plain(middle), words))
    if not lines:
        return ", ".join(f"{key} {text}" for key, text in _flat(times)) or "—"
    return joined([lines[0], *(element("small", "wall ", line, class_="note") for line in lines[1:])])


def protocol(results: Results) -> Html:
    """Return how all this was made: protocol, hardware, versions, commit, notes."""
    cost = results.get("cost") or {}
    width, height = results["size"]
    reference = results.get("reference")
    facts: list[tuple[str, Any]] = [
        ("Sound", f"{results['audio']['file']}, {plain(results['audio']['seconds'], 4)} s"),
        ("Reference", f"{reference['file']}, {reference['words']}" if reference else None),
        ("Phones", results.get("phones")),
        ("Pictures", f"{results['frames']} of {width} x {height} at {plain(results['fps'], 4)} a second"),
        ("Made by", results.get("generator")),
    ]
    for key, title in (
        ("protocol", "Protocol"),
        ("hardware", "Hardware"),
        ("versions", "Versions"),
        ("commit", "Commit"),
    ):
        if cost.get(key):
            facts.append((title, _told(cost[key])))
    notes = items(results.get("notes") or ())
    return joined([facts_list(facts), element("h3", "Notes") if notes else None, notes])


def _told(value: Any) -> Html:
    """Return a value of any shape as lines."""
    if isinstance(value, Mapping):
        return joined(element("div", f"{key}: {text}") for key, text in _flat(value))
    if isinstance(value, list | tuple):
        return joined(element("div", words_of(each)) for each in value)
    return joined([words_of(value)])


def _flat(values: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Yield the names and words of nested values."""
    if not isinstance(values, Mapping):
        yield before, words_of(values)
        return
    for key, value in values.items():
        name = f"{before} {key}" if before else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name.replace("_", " "))
        else:
            yield name.replace("_", " "), words_of(value)
