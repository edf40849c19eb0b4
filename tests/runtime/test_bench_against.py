"""Two runs of a benchmark against each other: what is said of recorded files, good and bad."""

import json

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.bench_against import against, make_run, ratio, read_run
from marotte.runtime.cli import run

HERE = {"hardware": {"cpu": "A", "threads": 2}, "versions": {"numpy": "2.0"}, "commit": "abc", "load": 0.5}


def frames(level: float, seed: int, count: int = 60) -> list[float]:
    """Milliseconds about a level, as one frame after the other gives them."""
    return list(level * (1 + 0.05 * np.random.default_rng(seed).standard_normal(count)))


def times(level: float, seed: int, yardstick: float = 1.0, name: str = "line/mesh", **around) -> dict:
    """A report of one case."""
    samples = {"cpu": frames(level, seed), "wall": frames(level / 2, seed + 100)}
    total = {"cpu_ms": float(np.median(samples["cpu"])), "wall_ms": float(np.median(samples["wall"]))}
    entry = {"name": name, "settings": {"size": 512}, "total": total, "samples": samples, "yardstick_ms": yardstick}
    return {"format": "marotte-bench-2", **HERE, **around, "results": [entry]}


def told(old: dict, new: dict) -> str:
    return "\n".join(against(make_run("old.json", old), make_run("new.json", new)))


def line(text: str, start: str) -> str:
    return next(each for each in text.splitlines() if each.startswith(start))


def test_the_interval_of_a_ratio_holds_it():
    inside = 0
    for seed in range(40):
        found = ratio(frames(10, seed), frames(11, seed + 1000), seed)
        assert found.low <= found.value <= found.high
        inside += found.low <= 1.1 <= found.high
    assert inside >= 34  # of 40, at 95 %


def test_few_frames_have_no_interval():
    assert ratio([1, 2, 3], [2, 4, 6]).low is None and ratio([1, 2, 3], [2, 4, 6]).value == 2


def test_slower_faster_and_noise():
    assert line(told(times(10, 0), times(12, 1)), "line/mesh size 512, CPU-ms").endswith("slower")
    assert line(told(times(12, 0), times(10, 1)), "line/mesh size 512, wall-ms").endswith("faster")
    assert "within noise" in line(told(times(10, 0), times(10, 0)), "line/mesh size 512, CPU-ms")


def test_what_the_machine_itself_did_is_noise():
    moved = told(times(10, 0), times(11, 1, yardstick=1.2))
    assert "within noise: the machine itself took 1.20 times as long" in line(moved, "line/mesh size 512, CPU-ms")
    # On another machine that is what is asked for.
    other = told(times(10, 0), times(11, 1, yardstick=1.2, hardware={"cpu": "B"}))
    assert line(other, "line/mesh size 512, CPU-ms").endswith("slower")
    assert "cpu: A -> B" in other and "threads: 2 -> not said" in other


def test_what_differs_around_is_said():
    text = told(times(10, 0), times(10, 1, commit="def", versions={"numpy": "2.1"}, load=3.5))
    assert "commit: abc -> def" in text and "version of numpy: 2.0 -> 2.1" in text and "load: 0.5 -> 3.5" in text
    assert "threads" not in text


def test_cases_of_one_side_are_named():
    text = told(times(10, 0), times(10, 1, name="encode/mp4"))
    assert "only in old.json: line/mesh size 512" in text and "only in new.json: encode/mp4 size 512" in text
    assert "no case in common" in text


def test_older_files_are_read(tmp_path):
    total = {"cpu_ms": 5.0, "cpu_p95_ms": 6.0, "wall_ms": 4.0, "wall_p95_ms": 5.0}
    entry = {"name": "line/mesh", "settings": {"size": 512}, "frames": 30, "total": total, "stages": {}, "facts": {}}
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"format": "marotte-bench-1", **HERE, "results": [entry]}))
    text = "\n".join(against(read_run(path), make_run("new", times(10, 0))))
    assert "no interval: no samples were kept" in line(text, "line/mesh size 512, CPU-ms")


def live(value: float) -> dict:
    figure = {"name": "frames shown", "value": value, "unit": "a second"}
    return {"format": "marotte-bench-live-1", **HERE, "results": [{"settings": {"size": 512}, "figures": [figure]}]}


def lipsync(value: float) -> dict:
    figure = {"value": value, "low": value - 0.1, "high": value + 0.1, "count": 9}
    rows = [{"name": "kal", "group": "", "utterances": 3, "seconds": 9.0, "recall": figure, "lag": {"value": None}}]
    about = {"generator": "marotte 0", "driver": "viseme", "avatar": "demo"}
    return {**about, "definitions": {}, "rows": rows, "without_speech": [], "left_out": []}


def compared(level: float) -> dict:
    turns = np.reshape(frames(level, 0), (12, 5)).tolist()
    arms = {"mesh": {"frame": {"cpu_ms": level, "wall_ms": level}}, "gone": {"failed": "it did not open"}}
    return {"format": "marotte-compare-1", "cost": {**HERE, "arms": arms, "samples": {"mesh": turns}}}


def test_other_kinds_of_runs():
    assert "+10.00" in told(live(40.0), live(50.0)) and "one value a run" in told(live(40.0), live(50.0))
    assert "the intervals are apart" in told(lipsync(0.5), lipsync(0.9))
    assert "within noise" in line(told(lipsync(0.5), lipsync(0.6)), "kal, recall")
    assert line(told(compared(10.0), compared(12.0)), "arm mesh, CPU-ms").endswith("slower")
    with pytest.raises(MarotteError, match="compare two of a kind"):
        told(live(40.0), times(10, 0))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON"),
        ("[]", "not an object"),
        ("{}", "no benchmark's"),
        ('{"format": "marotte-bench-9"}', "of format 'marotte-bench-9'"),
        ('{"format": "marotte-bench-2"}', "damaged"),
        ('{"format": "marotte-bench-2", "results": [{"name": 3, "settings": 4}]}', "damaged"),
        ('{"format": "marotte-bench-2", "hardware": 4, "results": []}', "damaged"),
        ('{"format": "marotte-compare-1", "cost": null}', "without its cost"),
        ('{"format": "marotte-compare-1", "cost": [1]}', "damaged"),
    ],
)
def test_other_files_are_refused_before_anything_is_measured(tmp_path, capsys, text, words):
    path = tmp_path / "b.json"
    path.write_text(text)
    assert run(["bench", "--against", str(path)]) == 2
    said = capsys.readouterr()
    assert words in said.err and "b.json" in said.err and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize("more", [["--live"], ["--lipsync"]])
def test_what_needs_two_files_says_so(tmp_path, capsys, more):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(live(40.0)))
    assert run(["bench", *more, "--against", str(path)]) == 2
    assert f"marotte bench --against {path} NEW.json" in capsys.readouterr().err
