"""`marotte bench --live`: what is asked, computed and reported; the real thing for a few seconds."""

import argparse
import importlib.util
import json
import shutil
from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime import bench_live
from marotte.runtime.bench_live import Figure, LiveRequest, av_offsets, report, seen, simulated
from marotte.runtime.bench_live_client import read_metrics
from marotte.runtime.cli import bench as command
from marotte.runtime.cli import bench_live as live_command
from marotte.runtime.cli import run


def asked(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return live_command.requests(parser.parse_args(["--live", *words]))


def test_requests():
    few, many = asked()
    assert (few.gaussians, few.rate, few.size, few.sessions) == (20000, 60, 512, 23)
    assert (many.gaussians, many.rate) == (60000, 30)
    words = ["--gaussians", "20000", "--sizes", "256,384", "--fps", "25", "--seconds", "3", "--driver", "acoustic"]
    one, other = asked(*words, "--sessions", "0", "--hours", "2")
    assert one == LiveRequest(20000, 256, Fraction(25), "acoustic", 3.0, 10, 0, 2.0)
    assert other.size == 384 and other.hours == 0
    assert one.server_arguments() == "--size 256 --fps 25 --driver acoustic --variant live".split()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gaussians", "7"], "--gaussians 7: the demo avatar has 20000 and 60000"),
        (["--gaussians", "x"], "--gaussians 'x' is not a list"),
        (["--seconds", "0.5"], "--seconds 0.5 is not between 1 and 3600"),
        (["--turns", "0"], "--turns 0 is not between 1"),
        (["--sessions", "1"], "--sessions 1 leaves nothing to compare"),
        (["--fps", "fast"], "fast"),
    ],
)
def test_what_cannot_be_measured(words, message):
    with pytest.raises(MarotteError, match=message):
        asked(*words)


def test_arguments_of_live_servers_need_live(capsys):
    assert run(["bench", "--seconds", "3"]) == 2
    assert "--seconds is for live servers alone: add --live" in capsys.readouterr().err


def test_targets():
    assert Figure("x", 24, "ms", most=25).met and not Figure("x", 26, "ms", most=25).met
    assert not Figure("x", 56, "fps", least=57).met and Figure("x", 5, "ms").met is None
    offset = Figure("x", -61, "ms", least=-60, most=40)
    assert not offset.met and offset.target == "-60 to 40"
    assert Figure("x", 0, "of 3", most=0).met and Figure("x", 0, "of 3", most=0).target == "at most 0"


def test_what_pictures_and_bursts_say():
    at = 100 + np.arange(0, 2, 0.02)
    pictures = np.stack([at - 100, at + 0.05], axis=1)  # seen 50 ms after their time
    assert seen(pictures, 0.5) == pytest.approx(100.55) and seen(pictures, 3) == float("inf")
    begins = np.array([0.5, 1.5])
    assert av_offsets(pictures, 100.02 + begins, begins) == pytest.approx([0.03, 0.03])
    assert av_offsets(pictures, 100.07 + begins[:1], begins) == pytest.approx([-0.02])
    assert not len(av_offsets(pictures, np.zeros(0), begins))


def test_metrics_are_read():
    text = '# TYPE x\nmarotte_a_total 3\nmarotte_delay_seconds_sum{stage="x"} 5\nmarotte_b 1.5e-3\n'
    assert read_metrics(text) == {"a_total": 3, "b": 0.0015}


def test_simulated_figures():
    figures = list(simulated(10 / 3600))
    assert len(figures) == 7 and all(np.isfinite(figure.value) for figure in figures)
    assert all("simulated" in figure.name and not figure.wall for figure in figures)


def test_the_report_and_the_table(tmp_path, capsys, monkeypatch):
    def fake(request, tell):
        figures = [Figure("frames shown", 40, "a second", least=50), Figure("server", 20, "CPU-ms a frame", wall=False)]
        for figure in figures:
            tell(figure)
        return figures

    monkeypatch.setattr(bench_live, "measure_live", fake)
    path = tmp_path / "b.json"
    assert run(["bench", "--live", "--gaussians", "20000", "--json", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("live, 20000 Gaussians, 512x512, 60 a second")
    assert "frames shown" in lines[1] and lines[1].endswith("not met w") and not lines[2].endswith(" w")
    content = json.loads(path.read_text())
    assert (
        content["format"] == bench_live.FORMAT and content["hardware"]["threads"] >= 1 and content["commit"] is not None
    )
    (result,) = content["results"]
    assert result["settings"]["fps"] == 60 and result["figures"][0]["met"] is False
    assert report([])["results"] == []


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no Chromium")
@pytest.mark.skipif(not importlib.util.find_spec("playwright"), reason="playwright is not installed")
@pytest.mark.skipif(not importlib.util.find_spec("aiortc"), reason="the extra `live` is not installed")
def test_the_real_thing(monkeypatch):
    """Few small pictures, so that it runs on a machine that does something else; all figures are there."""
    for pause in ("_SETTLE_S", "_FREED_S"):
        monkeypatch.setattr(bench_live, pause, 0.2)
    monkeypatch.setattr(bench_live, "_SOON_S", 30.0)
    request = LiveRequest(20000, 216, Fraction(10), "acoustic", seconds=1.0, turns=1, sessions=2)
    told = []
    figures = bench_live.measure_live(request, told.append)
    assert told == figures and all(np.isfinite(figure.value) for figure in figures)
    names = " / ".join(figure.name for figure in figures)
    for part in (
        "first picture",
        "encoded and sent",
        "p99",
        "decoded",
        "shown",
        "the server alone",
        "audio in to picture",
        "sound before picture",
        "interrupt to closed",
        "own voice",
        "left by sessions",
    ):
        assert part in names
