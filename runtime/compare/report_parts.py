"""The parts of a report that are text and tables: they are whole without any script."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from marotte.runtime.compare import summary
from marotte.runtime.compare.markup import Html, element, items, joined
from marotte.runtime.compare.summary import plain, spread, with_unit

Results = Mapping[str, Any]

_BETTER = {"more": "more is better", "less": "less is better"}
# What more and less of a figure is called where that is not plain.
_SIGNS = {"lag": ("surely later", "surely earlier")}
_FACTS = {
    "avatar": "Avatar",
    "subject": "Person",
    "driver": "Driver",
    "basis": "Basis",
    "renderer": "Renderer",
    "rasterizer": "Rasterizer",
    "gaussians": "Gaussians",
    "licence": "Licence",
    "consent": "Consent",
}
_HOW = {"opening_by": "Opening of the lips", "blink_by": "Blinks", "head_by": "Head"}


def link(path: str, words: str | None = None) -> Html:
    """Return a link to a file beside the report. path: relative; nothing in it can make it lead elsewhere."""
    return element("a", words or path, href="./" + quote(path.replace("\\", "/").lstrip("/")))


def colour(index: int) -> str:
    """Return the class that gives the arm of an index its colour."""
    return f"arm-{index}"


def swatch(index: int) -> Html:
    """Return a short line in an arm's colour and dashes, for beside its name."""
    line = element("line", x1=1, y1=5, x2=27, y2=5)
    return element("svg", line, class_=f"swatch {colour(index)}", viewBox="0 0 28 10", aria_hidden="true")


def opening(results: Results) -> Html:
    """Return the summary in plain words, and what the arms share and do not."""
    found = [
        *summary.findings(results),
        *summary.instruments(results),
        *summary.unmeasured(results),
        summary.NO_SCORE,
    ]
    same, differs = summary.shared(results)
    columns = [
        element("div", element("h3", title), items(lines))
        for title, lines in (("What the arms share", same), ("What they do not share", differs))
        if lines
    ]
    return joined(
        [
            element("p", summary.headline(results), class_="lead"),
            *(element("p", line, class_="failed") for line in summary.failures(results)),
            element("div", *columns, class_="columns") if columns else None,
            element("h2", "What was found"),
            items(found, class_="findings"),
        ]
    )


def arm_cards(results: Results) -> Html:
    """Return what each arm is, a card each."""
    return joined(_card(index, arm, results) for index, arm in enumerate(results["arms"]))


def _card(index: int, arm: Mapping[str, Any], results: Results) -> Html:
    failed = arm.get("failed")
    first = arm["name"] == results["baseline"] and len(results["arms"]) > 1
    facts = [(title, arm.get(key)) for key, title in _FACTS.items()]
    facts += [("Options", _options(arm.get("options") or {}))]
    facts += [("Camera", (arm.get("camera") or {}).get("words"))]
    facts += [("Alignment", (arm.get("alignment") or {}).get("words"))]
    measured = [(title, arm.get(key)) for key, title in _HOW.items()]
    notes = [*(arm.get("approximations") or ()), *(arm.get("notes") or ())]
    return element(
        "article",
        element("h3", swatch(index), arm["name"], element("small", "the first") if first else None),
        element("p", arm.get("words") or "", class_="soft"),
        element("p", f"Failed at {plain(failed['at'])} s: {failed['why']}", class_="failed") if failed else None,
        facts_list(facts),
        element("details", element("summary", "How it was measured"), facts_list(measured))
        if facts_list(measured)
        else None,
        element("details", element("summary", f"Notes ({len(notes)})"), items(notes)) if notes else None,
        element("p", link(arm["video"], "Its own film"), class_="more") if arm.get("video") else None,
        class_="card",
    )


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {words_of(value)}" for key, value in options.items())


def facts_list(facts: list[tuple[str, Any]]) -> Html | None:
    """Return names and values, those that are empty left out; None where all are."""
    known = [(title, value) for title, value in facts if value not in (None, "")]
    if not known:
        return None
    return element("dl", *(piece for title, value in known for piece in _fact(title, value)), class_="facts")


def _fact(title: str, value: Any) -> tuple[Html, Html]:
    return element("dt", title), element("dd", value if isinstance(value, Html) else words_of(value))


def player_figures(results: Results) -> Html:
    """Return a place for each arm's picture, with what it is below."""
    shown = {cell["arm"] for cell in results["grid"]["cells"]}
    return joined(
        element(
            "figure",
            element("canvas", role="img", aria_label=f"{arm['name']}, now", data_arm=index),
            element("figcaption", swatch(index), element("b", arm["name"]), " ", element("span", arm.get("words"))),
        )
        for index, arm in enumerate(results["arms"])
        if arm["name"] in shown
    )


def heat_maps(results: Results, pictures: Mapping[str, str]) -> Html:
    """Return the mean differences. pictures: data URLs by file."""
    return joined(
        element(
            "figure",
            element("img", src=pictures[each["file"]], alt=f"Where {each['arm']} and {each['against']} differ"),
            element("figcaption", element("b", f"{each['arm']} and {each['against']}"), " ", each["words"]),
        )
        for each in results.get("heatmaps") or ()
    )


def moments(results: Results, pictures: Mapping[str, str]) -> Html:
    """Return the worst moments as stills, each with a link to it in the players. pictures: data URLs by file."""
    return joined(_moment(each, pictures) for each in results.get("moments") or ())


def _moment(moment: Mapping[str, Any], pictures: Mapping[str, str]) -> Html:
    still = pictures.get(moment.get("still") or "")
    title = f"{moment['arm']}: {moment['title'][:1].lower()}{moment['title'][1:]}"
    value = "" if moment.get("value") is None else with_unit(plain(moment["value"]), moment.get("unit") or "")
    return element(
        "figure",
        element("img", src=still, alt=f"{title}, at {plain(moment['seconds'])} s", decoding="async") if still else None,
        element(
            "figcaption",
            element("b", title),
            element("span", value, class_="number") if value else None,
            element("span", moment["words"]) if moment.get("words") else None,
            element("a", f"Show {plain(moment['seconds'], 4)} s", href="#watch", data_seconds=moment["seconds"]),
        ),
    )


def figure_tables(results: Results) -> Html:
    """Return a table for each family of figures: values with intervals, and differences from the first arm."""
    return joined(
        _family(key, title, [figure for figure in results["figures"] if figure["family"] == key], results)
        for key, title in results["families"].items()
    )


def _family(key: str, title: str, figures: list[Mapping[str, Any]], results: Results) -> Html | None:
    if not figures:
        return None
    names = [arm["name"] for arm in results["arms"]]
    heading = element("h3", title, id=f"family-{key}")
    if not any(
        (results["values"].get(name, {}).get(each["key"]) or {}).get("value") is not None
        for name in names
        for each in figures
    ):
        return element("section", heading, items(summary.unmeasured({**results, "figures": figures}), class_="soft"))
    head = element(
        "tr",
        element("th", "Figure", scope="col"),
        *(
            element(
                "th",
                swatch(index),
                name,
                element("small", f"against {results['baseline']}" if name != results["baseline"] else "the first"),
                scope="col",
            )
            for index, name in enumerate(names)
        ),
    )
    rows = (
        element("tr", _definition(figure), *(_cell(figure, name, results) for name in names), class_="figure")
        for figure in figures
    )
    table = element("table", element("thead", head), element("tbody", *rows), class_=f"of-{len(names)}")
    return element(
        "section",
        heading,
        element("div", table, class_="wide", role="region", tabindex=0, aria_labelledby=f"family-{key}"),
    )


def _definition(figure: Mapping[str, Any]) -> Html:
    unit = ", ".join(word for word in (figure["unit"], _BETTER.get(figure["better"], "")) if word)
    facts = [
        ("Definition", figure["definition"]),
        ("Unit", figure["unit"] or "none"),
        ("Instrument", figure["instrument"]),
        ("Too small to matter", summary.small_words(figure)),
        ("Source", figure["source"]),
    ]
    return element(
        "th",
        element(
            "details",
            element("summary", element("span", figure["title"], element("small", unit) if unit else None)),
            facts_list(facts),
        ),
        scope="row",
    )


def _cell(figure: Mapping[str, Any], name: str, results: Results) -> Html:
    value = results["values"].get(name, {}).get(figure["key"]) or {}
    if value.get("value") is None:
        is_first = figure["family"] == "pair" and name == results["baseline"]
        words = "the first itself" if is_first else "not measured"
        note = "" if is_first else value.get("note") or ""
        return element(
            "td", element("span", words, class_="soft"), element("small", note, class_="note") if note else None
        )
    shown, low, high = spread(value["value"], value.get("low"), value.get("high"))
    difference = (results.get("differences") or {}).get(name, {}).get(figure["key"])
    return element(
        "td",
        element("b", shown, class_="number"),
        element("small", f"({low} to {high})") if value.get("low") is not None else None,
        element("small", value["note"], class_="note") if value.get("note") else None,
        _difference(difference, figure, name, results) if difference and name != results["baseline"] else None,
    )


def _difference(difference: Mapping[str, Any], figure: Mapping[str, Any], name: str, results: Results) -> Html:
    """Return a difference, with its sign, its interval, and in words whether it is sure and large enough to matter."""
    value = difference.get("value")
    if value is None:
        note = element("small", difference["note"], class_="note") if difference.get("note") else None
        return element("span", "no difference known", note, class_="difference unknown")
    shown, low, high = spread(value, difference.get("low"), difference.get("high"))
    exactly = value == 0 and difference.get("low") == 0 and difference.get("high") == 0
    if exactly:
        kind, words = "unsure", "equal"
    elif difference.get("differs") is None:
        kind, words = "unknown", "no interval"
    elif difference["differs"] and summary.negligible(figure, name, results):
        kind, words = "unsure", "sure, too small to matter"
    elif difference["differs"]:
        kind, words = "sure", _SIGNS.get(figure["key"], ("surely more", "surely less"))[value < 0]
    else:
        kind, words = "unsure", "not sure"
    return element(
        "span",
        element("span", f"+{shown}" if value > 0 and shown.strip("0.") else shown, class_="number"),
        element("small", f"({low} to {high})") if difference.get("low") is not None and not exactly else None,
        element("i", words),
        class_=f"difference {kind}",
    )


def words_of(value: Any) -> str:
    """Return a value of any shape in a line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", " ")
    if isinstance(value, float):
        return plain(value, 4)
    if isinstance(value, list | tuple):
        return ", ".join(words_of(each) for each in value)
    if isinstance(value, Mapping):
        return _options(value)
    return "—" if value is None else str(value)
