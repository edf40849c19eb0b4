"""What is measured of an arm is what it was asked for."""

import json
from pathlib import Path

import pytest

from marotte.runtime.compare.arms import read_arm
from marotte.runtime.compare.play import DrawnPlayer
from marotte.runtime.compare.run import compare

SPEECH = Path(__file__).resolve().parents[3] / "demos" / "speech.wav"


def test_lips_of_a_network_that_hears_for_itself_are_not_held_to_the_motion(tmp_path, monkeypatch):
    monkeypatch.setattr(DrawnPlayer, "hears", property(lambda self: "phones" if self.name == "talker" else ""))
    arms = [read_arm(f"{name}=demo,renderer=mesh") for name in ("mesh", "talker")]
    compare(SPEECH, tmp_path / "out", arms, size=64, duration=1.5, cost=False)
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results["values"]["mesh"]["opening_gain"]["value"] == pytest.approx(1, abs=0.05)
    for key in ("opening_gain", "opening_follow", "closure_asked", "lve", "mod"):
        of = results["values"]["talker"][key]
        assert of["value"] is None and of["note"] == "no motion moves its lips", key
    assert results["values"]["talker"]["opening"]["value"] is not None
    assert "asked" not in results["tracks"]["arms"]["talker"] and "asked_blink" in results["tracks"]["arms"]["talker"]
    (sentence,) = results["shares"]["differs"]
    assert "animation model (a network that hears for itself by phones instead of a head model" in sentence
