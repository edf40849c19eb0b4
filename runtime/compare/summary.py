"""A comparison in plain words: what was compared, what is sure, what could not be measured. No overall score."""

from collections.abc import Iterator, Mapping
from math import floor, isfinite, log10
from typing import Any

from marotte.runtime.compare.shares import listed

NO_SCORE = "No overall score is made of these figures: which of them matter depends on what the face is for."
_CAUTION = "Where several things differ, no figure can tell which of them made its difference."
# The most of an arm's differences that are put into words, and of a family's.
_TOLD, _OF_A_FAMILY = 4, 2
# More figures than these that lack are not named.
_NAMED = 6
# Why whole groups of figures are not there: what nobody asked for needs no list.
_UNASKED = {
    "no reference was given": "anything against a reference (none was given)",
    "not asked for": "LPIPS (not asked for)",
}
Figures = list[Mapping[str, Any]]


def summarise(results: Mapping[str, Any]) -> list[str]:
    """Return the sentences of a comparison's summary; results: as results.json has them."""
    same, differs = shared(results)
    return [
        headline(results),
        *failures(results),
        *([" ".join(same)] if same else []),
        *differs,
        *findings(results),
        *instruments(results),
        *unmeasured(results),
        NO_SCORE,
    ]


def headline(results: Mapping[str, Any]) -> str:
    """Return what was compared."""
    names, sound = [arm["name"] for arm in results["arms"]], results["audio"]
    said = f"{plain(sound['seconds'], 3)} s of {sound['file']}"
    also = f" and measured against {reference['file']}" if (reference := results.get("reference")) else ""
    if len(names) == 1:
        return f"One arm, {names[0]}, says {said} at {plain(results['fps'], 4)} frames a second{also}."
    return f"{len(names)} arms say the same {said}; all are compared with the first, {results['baseline']}{also}."


def failures(results: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each arm that failed midway."""
    return [
        f"{arm['name']} failed at {plain(arm['failed']['at'], 3)} s ({_ended(arm['failed']['why'])}); its figures are "
        "of what came before."
        for arm in results["arms"]
        if arm.get("failed")
    ]


def shared(results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return sentences on what the arms share and on what they do not."""
    told = results.get("shares") or {}
    same, differs = list(told.get("same") or ()), list(told.get("differs") or ())
    # One thing alone that differs made all differences: then there is nothing to warn of.
    several = any(sentence.count(" instead of ") > 1 for sentence in differs)
    return same, [*differs[:-1], f"{differs[-1]} {_CAUTION}"] if several else differs


def findings(results: Mapping[str, Any]) -> list[str]:
    """Return, for each arm but the first, the largest differences that are sure, and how many others there are."""
    told = []
    for arm in results["arms"]:
        name = arm["name"]
        known = {
            key: value
            for key, value in (results.get("differences") or {}).get(name, {}).items()
            if value and value.get("value") is not None
        }
        if name == results["baseline"] or not known:
            continue
        figures = [figure for figure in results["figures"] if figure["key"] in known]
        sure = [figure for figure in figures if known[figure["key"]].get("differs")]
        large = [figure for figure in sure if not negligible(figure, name, results)]
        told.append(f"{_found(name, figures, sure, large, results)}{_likeness(name, results)}")
    return told


def _found(name: str, figures: Figures, sure: Figures, large: Figures, results: Mapping[str, Any]) -> str:
    first = results["baseline"]
    differences = results["differences"][name]
    if all(differences[figure["key"]]["value"] == 0 for figure in figures):
        return f"{name} equals {first} in every figure."
    shown = _telling(large, name, results)
    counts = [
        (len(large) - len(shown), "more", "surely"),
        (len(sure) - len(large), "", "surely but too little to matter"),
        (len(figures) - len(sure), "not", "surely"),
    ]
    rest = listed([_count(*each) for each in counts if each[0]])
    if not sure:
        return f"{name} differs surely from {first} in no figure of {len(figures)}."
    if not shown:
        return f"{name} differs from {first} in no figure by as much as matters: of {len(figures)}, {rest}."
    ending = f" Of the other figures {rest}." if rest else ""
    return f"{name} against {first}: {'; '.join(_difference(each, name, results) for each in shown)}.{ending}"


def _count(number: int, kind: str, how: str) -> str:
    if kind == "not":
        return f"{number} {'does' if number == 1 else 'do'} not differ {how}"
    return f"{number}{' more' if kind else ''} {'differs' if number == 1 else 'differ'} {how}"


def negligible(figure: Mapping[str, Any], name: str, results: Mapping[str, Any]) -> bool:
    """Return whether an arm's difference is too small to matter, however sure it is."""
    apart = abs(results["differences"][name][figure["key"]]["value"])
    return bool(apart <= _small(figure, results))


def small_words(figure: Mapping[str, Any]) -> str:
    """Return up to where a figure's difference is too small to matter; empty where none is."""
    absolute, share = figure.get("small") or 0, figure.get("small_share") or 0
    if share:
        return f"a difference up to {plain(100 * share)} % of the first arm's"
    return f"a difference up to {with_unit(plain(absolute), figure['unit'])}" if absolute else ""


def _small(figure: Mapping[str, Any], results: Mapping[str, Any]) -> float:
    first = (results["values"].get(results["baseline"], {}).get(figure["key"]) or {}).get("value") or 0.0
    return max(figure.get("small") or 0.0, (figure.get("small_share") or 0.0) * abs(first))


def instruments(results: Mapping[str, Any]) -> list[str]:
    """Return, where arms' lips are measured by different instruments, by which."""
    by: dict[str, list[str]] = {}
    for arm in results["arms"]:
        if arm.get("opening_by"):
            unit = arm.get("opening_unit") or "as a share of its widest"
            by.setdefault(f"by {arm['opening_by']} ({unit})", []).append(arm["name"])
    if len(by) < 2:
        return []
    parts = [f"{words} for {listed(names)}" for words, names in by.items()]
    mixed = len({arm.get("opening_unit") for arm in results["arms"]}) > 1
    return [f"Mouth opening is measured {'; '.join(parts)}{': mm are not compared with shares' if mixed else ''}."]


def unmeasured(results: Mapping[str, Any]) -> list[str]:
    """Return what could not be measured, with the reason: a sentence for each group of arms, and one for what nobody
    asked for."""
    names = [arm["name"] for arm in results["arms"]]
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    unasked: dict[str, str] = {}
    for figure in results["figures"]:
        lacking: dict[str, list[str]] = {}
        counted = [name for name in names if figure["family"] != "pair" or name != results["baseline"]]
        for name in counted:
            value = results["values"].get(name, {}).get(figure["key"]) or {}
            if value.get("value") is None:
                lacking.setdefault(_ended(value.get("note") or ""), []).append(name)
        for note, arms in lacking.items():
            if note in _UNASKED:
                unasked[note] = _UNASKED[note]
                continue
            group = () if arms == counted else tuple(arms)
            groups.setdefault(group, {}).setdefault(note, []).append(named(figure, results))
    told = []
    for group, reasons in groups.items():
        parts = [f"{listed(titles)}{f' ({note})' if note else ''}" for note, titles in reasons.items()]
        count = sum(map(len, reasons.values()))
        if count > _NAMED:
            parts = [f"{count} figures ({'; '.join(filter(None, reasons))})", "the tables say which"]
        told.append(f"Not measured{f' for {listed(group)}' if group else ''}: {'; '.join(parts)}.")
    return [*told, *([f"Not measured: {listed(unasked.values())}."] if unasked else [])]


def _telling(large: Figures, name: str, results: Mapping[str, Any]) -> Figures:
    """Return those that are largest beside what matters, of each family in turn, in the report's order."""

    def size(figure: Mapping[str, Any]) -> float:
        return abs(results["differences"][name][figure["key"]]["value"]) / (_small(figure, results) or 1e-12)

    families: dict[str, Figures] = {}
    # A mean and its median tell one thing.
    stems = {str(figure["title"]).partition(",")[0]: figure for figure in reversed(large)}
    for figure in sorted(stems.values(), key=size, reverse=True):
        families.setdefault(figure["family"], []).append(figure)
    turns = [
        families[family][turn]
        for turn in range(_OF_A_FAMILY)
        for family in dict.fromkeys(figure["family"] for figure in large)
        if turn < len(families[family])
    ]
    return [figure for figure in large if figure in turns[:_TOLD]]


def _likeness(name: str, results: Mapping[str, Any]) -> str:
    """Return how alike an arm's pictures are to the first arm's; empty where that was not measured."""
    of = results["values"].get(name, {})
    if (of.get("difference_pair") or {}).get("value") == 0:
        return " Their pictures are equal."
    value = (of.get("psnr_pair") or {}).get("value")
    return "" if value is None else f" PSNR between their pictures: {plain(value)} dB."


def named(figure: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """Return a figure's title within a sentence, with its family's where others are called the same."""
    title = str(figure["title"])
    title = title if title[1:2].isupper() else title[:1].lower() + title[1:]
    if sum(other["title"] == figure["title"] for other in results["figures"]) == 1:
        return title
    family = results["families"][figure["family"]]
    return f"{title} {family[:1].lower()}{family[1:]}"


def _difference(figure: Mapping[str, Any], name: str, results: Mapping[str, Any]) -> str:
    """Return a difference in words, to as many digits as tell it from none and its interval's ends apart."""
    key, unit = figure["key"], figure["unit"]
    values, difference = results["values"], results["differences"][name][key]
    apart, low, high = (difference[part] for part in ("value", "low", "high"))
    own, first = ((values.get(arm, {}).get(key) or {}).get("value") for arm in (name, results["baseline"]))
    places = least = max(0, 1 - floor(log10(abs(apart))))
    while places < least + 2 and (
        rounded(low, places) == rounded(high, places) or not round(low, places) or not round(high, places)
    ):
        places += 1
    interval = f"95 % interval {signed_to(low, places)} to {signed_to(high, places)}"
    title = named(figure, results)
    # Where one arm has other frames too, their values do not tell the difference over those that both have.
    if own is None or first is None or abs(own - first - apart) > 0.05 * abs(apart):
        return f"{title} {with_unit(signed_to(apart, places), unit)} ({interval})"
    return (
        f"{title} {rounded(own, places)} instead of {with_unit(rounded(first, places), unit)} "
        f"({signed_to(apart, places)}, {interval})"
    )


def decimals(value: float) -> int:
    """Return after how many decimal places a value is told from 0, to two digits where the first is a 1."""
    return max(0, -floor(log10(abs(value) / 2))) if value and isfinite(value) else 0


def rounded(value: float, places: int) -> str:
    """Return a number to so many decimal places, without a sign before 0."""
    text = f"{value:.{places}f}"
    return (text.lstrip("-") if float(text) == 0 else text).replace("-", "−")


def signed_to(value: float, places: int) -> str:
    """Return a difference to so many decimal places, with its sign."""
    text = rounded(value, places)
    return f"+{text}" if float(text.replace("−", "-")) > 0 else text


def plain(value: float | None, digits: int = 3) -> str:
    """Return a number to so many significant digits, whole numbers whole, a usual size without an exponent."""
    if value is None or not isfinite(value):
        return "—"
    if value == 0:
        return "0"
    text = f"{value:.0f}" if 10**digits - 0.5 <= abs(value) < 1e15 else f"{value:.{digits}g}"
    if "e-" in text and abs(value) >= 1e-6:
        text = f"{float(text):f}".rstrip("0")
    return text.replace("-", "−")


def with_unit(text: str, unit: str) -> str:
    """Return a number with its unit."""
    return f"{text} {unit}" if unit else text


def spread(*values: float | None) -> Iterator[str]:
    """Yield a figure and the ends of its interval to as many digits as the interval's width deserves."""
    value, low, high = values
    if value is None or low is None or high is None or low == high:
        yield from (plain(each) for each in values)
        return
    largest = max(abs(value), abs(low), abs(high))
    size = floor(log10(largest))
    places = min(max(decimals((high - low) / 2), 1 - size, 0), max(0, 3 - size))
    yield from (rounded(each, places) for each in (value, low, high))


def _ended(text: str) -> str:
    """Return a text as a part of a sentence."""
    return text.strip().rstrip(".")
