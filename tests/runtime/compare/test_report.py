"""What goes into the report's file; what it does is tests/page/test_report.py."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from marotte.errors import MarotteError
from marotte.runtime.compare.markup import Html, element, joined
from marotte.runtime.compare.report import as_json, decimate, page_data, write_report
from marotte.runtime.compare.report_cost import cost_table
from marotte.runtime.compare.report_parts import figure_tables, moments

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028\"'&amp;"


@pytest.fixture
def results() -> dict:
    value = {"value": 1.5, "low": None, "high": None, "count": 1, "note": HOSTILE}
    return {
        "title": HOSTILE,
        "audio": {"file": HOSTILE, "seconds": 1.0},
        "fps": 25.0,
        "frames": 3,
        "size": [8, 8],
        "baseline": "first",
        "reference": None,
        "arms": [
            {"name": "first", "words": HOSTILE, "video": "javascript:alert(1)", "options": {HOSTILE: [HOSTILE, True]}},
            {"name": HOSTILE, "words": "", "video": None, "failed": {"at": 0.1, "why": HOSTILE}},
        ],
        "shares": {"same": [HOSTILE], "differs": []},
        "figures": [
            {"key": "gain", "title": HOSTILE, "family": "speech", "unit": "mm", "better": "less"}
            | {"definition": HOSTILE, "instrument": HOSTILE, "source": HOSTILE}
        ],
        "families": {"speech": "Lips and sound", "life": "Blinks"},
        "values": {"first": {"gain": value}, HOSTILE: {"gain": value}},
        "differences": {HOSTILE: {"gain": {**value, "differs": None}}},
        "tracks": {
            "seconds": [0.0, 0.04, 0.08],
            "units": {"opening": HOSTILE},
            "titles": {"opening": HOSTILE},
            "arms": {"first": {"opening": [1.0, None, 2.0]}},
            "bilabials": [],
        },
        "moments": [],
        "heatmaps": [],
        "grid": {
            "file": "grid.mp4",
            "width": 8,
            "height": 8,
            "cells": [{"arm": HOSTILE, "x": 0, "y": 0} | {"width": 8, "height": 8}],
        },
        "cost": {"protocol": [HOSTILE], "hardware": {HOSTILE: None}, "arms": {"first": {HOSTILE: 1}}},
        "notes": [HOSTILE],
    }


class Seen(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: dict[str, str] = {}
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._in = dict(attrs).get("id") or dict(attrs).get("type") or tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in:
            self.texts[self._in] = self.texts.get(self._in, "") + data


@pytest.fixture
def written(tmp_path, results):
    (tmp_path / "grid.mp4").write_bytes(b"film")
    return write_report(tmp_path, results).read_text(encoding="utf-8")


def test_nothing_that_names_say_becomes_markup(written):
    seen = Seen(written)
    assert not [each for each in seen.elements if each[0] == "img" or "onerror" in each[1]]
    assert [tag for tag, _ in seen.elements].count("script") == 3
    assert json.loads(seen.texts["data"])["arms"][1]["name"] == HOSTILE
    assert base64.b64decode(seen.texts["film"]) == b"film"
    # Files beside it are all that it leads to.
    for _, attributes in seen.elements:
        assert (attributes.get("href") or "./").startswith(("./", "#", "data:"))
        assert "style" not in attributes and not any(name.startswith("on") for name in attributes)


def test_its_policy_knows_its_own_script_and_style_and_no_network(written):
    seen = Seen(written)
    (policy,) = (each["content"] for _, each in seen.elements if "http-equiv" in each)
    for kind, name in (("script", "module"), ("style", "style")):
        mark = base64.b64encode(hashlib.sha256(seen.texts[name].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{mark}'" in policy
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe" not in policy
    assert not re.search(r"^(import|export) ", seen.texts["module"], re.MULTILINE)
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", written)
    assert not re.search(r"(https?:)?//[a-z0-9]+\.[a-z]", outside.replace(seen.texts["film"], ""))


def test_a_film_that_is_too_large_is_linked(tmp_path, results, monkeypatch):
    monkeypatch.setattr("marotte.runtime.compare.report.MOST_FILM", 3)
    (tmp_path / "grid.mp4").write_bytes(b"film")
    seen = Seen(write_report(tmp_path, results).read_text(encoding="utf-8"))
    assert json.loads(seen.texts["data"])["film"] == "grid.mp4"
    assert seen.texts.get("film", "") == ""


def test_a_film_or_still_that_is_not_there_is_an_error_in_a_line(tmp_path, results):
    with pytest.raises(MarotteError, match=r"grid\.mp4 is not there"):
        write_report(tmp_path, results)
    (tmp_path / "grid.mp4").write_bytes(b"film")
    results["moments"] = [{"arm": "first", "against": "", "seconds": 0, "title": "", "still": "moments/1.jpg"}]
    with pytest.raises(MarotteError, match=r"1\.jpg is not there"):
        write_report(tmp_path, results)
    assert not (tmp_path / "report.html").exists()


def test_short_tracks_keep_all_and_long_ones_their_extremes():
    assert decimate([0.0, 0.04], [[1.23456, None]]) == ([0.0, 0.04], [[1.235, None]])
    count = 100_003
    track: list = [math.sin(i / 50) for i in range(count)]
    track[40_001], track[70_000], track[1_000:3_000] = 9.0, -9.0, [None] * 2_000
    seconds, (kept,) = decimate([i / 25 for i in range(count)], [track])
    assert len(seconds) == len(kept) <= 4000
    assert all(a <= b for a, b in pairwise(seconds))
    assert kept.count(9.0) == 1 and kept.count(-9.0) == 1 and None in kept
    # Where they were, within an interval.
    assert abs(seconds[kept.index(9.0)] - 40_001 / 25) < 2 * count / 4000 / 25


def test_arms_are_places_in_the_data(results):
    data = page_data(results, True)
    assert data["cells"][0]["arm"] == 1 and data["baseline"] == 0 and data["film"] is None
    assert data["arms"][0]["tracks"] == {"opening": [1.0, None, 2.0]} and data["arms"][1]["tracks"] == {}


def test_json_cannot_end_its_element():
    text = as_json({"a": HOSTILE})
    assert not set("<>&\u2028") & set(text) and json.loads(text) == {"a": HOSTILE}


def test_markup_escapes_all_that_is_not_markup():
    assert element("p", "<b>", Html("<i>"), None, title='"<', hidden=True, id=None) == (
        '<p title="&quot;&lt;" hidden>&lt;b&gt;<i></p>'
    )
    assert element("img", alt="", class_="x", data_at=1) == '<img alt="" class="x" data-at="1">'
    assert joined(["a&b", None]) == "a&amp;b"


def test_a_difference_that_is_sure_and_too_small_is_shown_and_said(results):
    figure = {**results["figures"][0], "title": "Mouth opening", "key": "opening", "small": 0.2, "small_share": 0.0}
    value = {"value": 6.47, "low": 5.3, "high": 7.8, "count": 9, "note": ""}
    apart = {"value": -0.008, "low": -0.01, "high": -0.006, "count": 9, "note": "", "differs": True}
    results |= {"figures": [figure], "differences": {HOSTILE: {"opening": apart}}}
    results["values"] = {"first": {"opening": value}, HOSTILE: {"opening": value}}
    table = figure_tables(results)
    assert "sure, too small to matter" in table and "−0.008" in table and "surely less" not in table
    assert "a difference up to 0.2 mm" in table
    apart |= {"value": -0.8, "low": -1.0, "high": -0.6}
    assert "surely less" in figure_tables(results)
    figure["key"] = "lag"
    results["values"] = {"first": {"lag": value}, HOSTILE: {"lag": value}}
    results["differences"] = {HOSTILE: {"lag": apart}}
    assert "surely earlier" in figure_tables(results)


def test_cost_has_a_row_for_each_stage_and_none_that_the_figures_have(results):
    times = {
        "cpu_ms": 1.5,
        "cpu_p95_ms": 2.0,
        "cpu_p99_ms": 3.0,
        "wall_ms": 4.0,
        "wall_p95_ms": 5.0,
        "wall_p99_ms": 6.0,
    }
    results["cost"]["arms"] = {"first": {"frame": times, "stages": {"draw": times}, "memory_mib": 7.0, "batch": 8}}
    table = cost_table(results)
    assert table.count("<tr>") == 3 and "Frames in a batch" in table and "memory" not in table
    row = re.sub(r"(<[^>]*>|\s)+", " ", table[table.index("draw") :])
    assert row.startswith("draw 1.5 (2, 3) wall 4 (5, 6) —")


def test_a_moment_has_a_title_that_reads_on(results):
    moment = {"arm": "first", "against": "second", "seconds": 1.0, "title": "Pictures differ most", "words": ""}
    assert "<b>first: pictures differ most</b>" in moments({**results, "moments": [moment]}, {})
