"""`marotte bench` measures what it says; nothing here asserts a time."""

import json
import time

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime import bench
from marotte.runtime.bench import Case, Request, all_cases, measure, report, speedups
from marotte.runtime.bench_plot import plot
from marotte.runtime.cli import run


def busy(milliseconds: float):
    def prepare():
        def frame(lap):
            end = time.process_time() + milliseconds / 1e3
            while time.process_time() < end:
                pass
            lap("first")
            time.sleep(milliseconds / 1e3)
            lap("second")
            return {"pairs": 7}

        return frame

    return prepare


def test_stages_add_up_and_waiting_is_not_cpu_time():
    result = measure(Case("x", {"size": 3}, busy(4), frames=5), Request())
    assert result.stages.keys() == {"first", "second"} and result.facts == {"pairs": 7}
    assert result.stages["first"].cpu_ms > result.stages["second"].cpu_ms  # sleeping costs no CPU time
    assert result.stages["second"].wall_ms >= 4  # a sleep is never shorter than asked
    assert result.total.wall_ms >= result.stages["second"].wall_ms
    assert result.total.cpu_p99_ms >= result.total.cpu_p95_ms >= result.total.cpu_ms
    assert len(result.samples["cpu"]) == len(result.samples["wall"]) == 5
    assert result.per_second and result.yardstick_ms


def test_a_film_counts_its_frames():
    one = measure(Case("x", {}, busy(4), frames=3), Request())
    four = measure(Case("x", {}, busy(4), frames=3, frames_a_call=4), Request())
    assert four.total.wall_ms < one.total.wall_ms
    assert four.per_second > one.per_second
    assert np.median(four.samples["wall"]) == pytest.approx(four.total.wall_ms, abs=1e-3)


def test_the_slow_twin_is_compared_in_the_same_run():
    fast = measure(Case("fast", {"n": 1}, busy(1), frames=3), Request())
    slow = measure(Case("slow", {"n": 1}, busy(8), frames=3, twin_of="fast"), Request())
    other = measure(Case("slow", {"n": 2}, busy(8), frames=3, twin_of="fast"), Request())
    ratios = speedups([fast, slow, other])
    assert list(ratios) == [fast.key] and ratios[fast.key] > 1


def test_a_report_says_what_was_around_it():
    content = report([measure(Case("x", {"size": 3}, busy(0.1), frames=2), Request())])
    assert content["hardware"]["threads"] >= 1 and content["versions"]["numba"] and "warm-up" in content["protocol"]
    assert {"load", "commit"} <= content.keys()
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_of_long_runs_quantiles_are_kept():
    result = measure(Case("x", {}, lambda: lambda lap: None, frames=3000), Request())
    assert len(result.samples["cpu"]) == 1000 and result.samples["wall"] == sorted(result.samples["wall"])


def test_the_command(tmp_path, capsys, monkeypatch):
    kept = tmp_path / "b.json"
    monkeypatch.setattr(bench, "found", lambda kind: {"line": None})
    command = ["bench", "--only", "line", "--sizes", "64", "--frames", "2"]
    assert run([*command, "--json", str(kept)]) == 0
    first = capsys.readouterr().out
    assert "line/mesh avatar demo, size 64" in first and "  paint" in first
    assert run([*command, "--against", str(kept)]) == 0
    second = capsys.readouterr().out
    assert f"old: {kept}; new: this run" in second and "line/mesh avatar demo, size 64, CPU-ms" not in first
    assert "CPU-ms" in second and "too few frames" in second
    assert run(["bench", "--against", str(kept), str(kept)]) == 0
    assert "line/mesh" in capsys.readouterr().out
    assert json.loads(kept.read_text())["results"][0]["stages"].keys() >= {"drive", "bridge", "head", "paint", "render"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "nonsense"], "no benchmark is called 'nonsense'"),
        (["--sizes", "wide"], "--sizes 'wide'"),
        (["--gaussians", "0"], "--gaussians '0'"),
        (["--frames", "0"], "0 frames"),
        (["--against", "nowhere.json"], "nowhere.json is not there"),
        (["--against", "a.json", "b.json", "c.json"], "two runs are compared, not 3"),
        (["--json", "nowhere/b.json"], "there is no folder nowhere"),
    ],
)
def test_bad_arguments(arguments, words, capsys):
    assert run(["bench", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_the_plot(tmp_path):
    results = [
        measure(Case("x", {"gaussians": count, "size": size}, busy(0.1), frames=2), Request())
        for count in (10, 20)
        for size in (32, 64)
    ]
    plot(results, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").stat().st_size > 1000
    with pytest.raises(MarotteError, match="nothing to plot"):
        plot(results[:1], tmp_path / "none.png")
    with pytest.raises(MarotteError, match="cannot write"):
        plot(results, tmp_path / "nowhere" / "cost.png")


def test_built_in_cases_are_found():
    names = {case.name for case in all_cases(Request(sizes=(64,), gaussians=(100,)))}
    assert {"line/mesh", "encode/mp4", "rasterizer/cpu", "rasterizer/reference", "update/cpu"} <= names
