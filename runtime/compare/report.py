"""The report of a comparison: one HTML file that holds all it needs, opens from disk and asks no network."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from marotte.models.plain_files import read_bytes, write_whole
from marotte.runtime.compare import report_cost
from marotte.runtime.compare import report_parts as parts
from marotte.runtime.compare.markup import Html, element, joined

REPORT = "report.html"
# The largest film that goes into the report; a larger one is played from beside it.
MOST_FILM = 48 << 20
# The most points of a track; longer ones keep each interval's lowest and highest.
MOST_POINTS = 4000

_STYLES = ("report.css", "figures.css")
# In the order in which they need each other.
_SCRIPTS = ("film.js", "players.js", "pair.js", "lanes.js", "plots.js", "main.js")
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export ", re.MULTILINE)
_KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


def write_report(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write report.html beside a comparison's results.json, films and pictures; return where it is.

    results: what results.json holds. The film of all arms goes in up to `MOST_FILM`. Raises MarotteError where a file
    that the results name is not there, or the report cannot be written.
    """
    report = folder / REPORT
    write_whole(report, _page(folder, results).encode())
    return report


def _page(folder: Path, results: Mapping[str, Any]) -> str:
    source = files("marotte.runtime.compare") / "page"
    style = "".join(_read(source, name) for name in _STYLES)
    script = script_of(source / "js")
    grid = folder / results["grid"]["file"]
    inside = not grid.is_file() or grid.stat().st_size <= MOST_FILM
    film = base64.b64encode(read_bytes(grid)).decode() if inside else ""
    pictures = {
        name: _data_url(folder, name)
        for each in (*(results.get("moments") or ()), *(results.get("heatmaps") or ()))
        if (name := each.get("still") or each.get("file"))
    }
    title = results.get("title") or "A comparison"
    return Template(_read(source, "report.html")).substitute(
        policy=policy(style, script, inside),
        title=joined([title]),
        style=style,
        opening=parts.opening(results),
        arms=parts.arm_cards(results),
        film_words=_film_words(results, inside),
        players=parts.player_figures(results),
        heat_maps=_section("heat", "Where they differ in the mean", parts.heat_maps(results, pictures)),
        moments=_section("moments", "Worst moments", parts.moments(results, pictures)),
        tables=parts.figure_tables(results),
        cost=report_cost.cost_table(results),
        protocol=report_cost.protocol(results),
        data=as_json(page_data(results, inside)),
        film=film,
        script=script,
    )


def _section(name: str, title: str, content: Html) -> Html:
    """Return a section of pictures with its title; empty where it would hold nothing."""
    if not content:
        return Html()
    heading = element("h2", title, id=f"{name}-title")
    return element(
        "section", heading, element("div", content, class_="pictures"), id=name, aria_labelledby=f"{name}-title"
    )


def _film_words(results: Mapping[str, Any], inside: bool) -> Html:
    grid = parts.link(results["grid"]["file"])
    if inside:
        return joined(["One film with all arms, so that they are in step: ", grid, " is the same with the names."])
    return joined(
        [
            f"The film of all arms is larger than the {MOST_FILM >> 20} MiB that a report holds: it is played from ",
            grid,
            ", which has to stay beside this file.",
        ]
    )


def policy(style: str, script: str, film_inside: bool) -> Html:
    """Return the page's Content-Security-Policy: its own script and style by their hashes, nothing from elsewhere."""
    marks = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    style_mark, script_mark = marks
    media = "blob:" if film_inside else "blob: 'self' file:"
    rules = (
        f"default-src 'none'; script-src 'sha256-{script_mark}'; style-src 'sha256-{style_mark}'; img-src data: blob:; "
        f"media-src {media}; base-uri 'none'; form-action 'none'"
    )
    return joined([rules])


def script_of(folder: Traversable) -> str:
    """Return the page's modules as one: they share a scope, so their names are all different."""
    return "".join(_EXPORT.sub("", _IMPORT.sub("", _read(folder, name))) for name in _SCRIPTS)


def _read(folder: Traversable, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8")


def _data_url(folder: Path, name: str) -> str:
    data = read_bytes(folder / name)
    return f"data:{_KINDS.get(Path(name).suffix.lower(), 'image/png')};base64,{base64.b64encode(data).decode()}"


def page_data(results: Mapping[str, Any], film_inside: bool) -> dict[str, Any]:
    """Return what the page's script works with; arms by their place, as names can be anything."""
    tracks = results.get("tracks") or {"seconds": [], "arms": {}}
    names = [arm["name"] for arm in results["arms"]]
    seconds, rows = decimate(
        tracks["seconds"],
        [values for name in names for values in tracks["arms"].get(name, {}).values()],
    )
    row = iter(rows)
    cells = [{**cell, "arm": names.index(cell["arm"])} for cell in results["grid"]["cells"] if cell["arm"] in names]
    return {
        "fps": results["fps"],
        "frames": results["frames"],
        "film": None if film_inside else results["grid"]["file"],
        "baseline": names.index(results["baseline"]) if results["baseline"] in names else 0,
        "arms": [
            {
                "name": arm["name"],
                "unit": arm.get("opening_unit"),
                "failed": (arm.get("failed") or {}).get("at"),
                "tracks": {key: next(row) for key in tracks["arms"].get(arm["name"], {})},
            }
            for arm in results["arms"]
        ],
        "cells": cells,
        "seconds": seconds,
        "titles": tracks.get("titles") or {},
        "units": tracks.get("units") or {},
        "bilabials": tracks.get("bilabials") or [],
    }


def decimate(
    seconds: list[float], tracks: list[list[float | None]], most: int = MOST_POINTS
) -> tuple[list[float], list[list[float | None]]]:
    """Return tracks of at most `most` points on one clock, each interval's lowest and highest kept, in their order.

    seconds: [T]; tracks: [T] each, None where nothing is known. Short tracks keep all their points.
    """
    count = len(seconds)
    if count <= most:
        return [round(at, 4) for at in seconds], [[_short(value) for value in track] for track in tracks]
    step = -(-count // (most // 2))
    starts = range(0, count, step)
    clock = [seconds[place] for start in starts for place in (start, min(start + step // 2, count - 1))]
    out = []
    for track in tracks:
        values = np.array([math.nan if value is None else value for value in track], np.float64)
        kept: list[float | None] = []
        for start in starts:
            part = values[start : start + step]
            known = np.flatnonzero(np.isfinite(part))
            if not len(known):
                kept += [None, None]
                continue
            ends = sorted((known[part[known].argmin()], known[part[known].argmax()]))
            kept += [_short(float(part[end])) for end in ends]
        out.append(kept)
    return [round(at, 4) for at in clock], out


def _short(value: float | None) -> float | None:
    """Return a number to the digits that a plot can show."""
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None


def as_json(data: Any) -> Html:
    """Return JSON that can stand in a page: nothing in it can end its element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(text)
