"""What is said when: from a text, or from a network whose logits are known here."""

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.viseme.network import Rows
from marotte.models.viseme.phones import INDEX, OPENNESS, PHONES
from marotte.runtime.compare import spoken
from marotte.runtime.compare.blocks import Blocks
from marotte.runtime.compare.figures import figures
from marotte.runtime.compare.lip_figures import full_opening, lag
from marotte.runtime.compare.model import Take
from marotte.runtime.compare.spoken import hear
from marotte.runtime.lipsync.labelled import LabelledSpeech, Span


class Hears:
    """In place of the network: rows of these phones, each as sure as it says."""

    def __init__(self, *phones: tuple[str, float]) -> None:
        self.logits = np.zeros((len(phones), len(PHONES)), np.float32)
        for row, (phone, chance) in zip(self.logits, phones, strict=True):
            row[INDEX[phone]] = np.log(chance * (len(PHONES) - 1) / (1 - chance))

    def load(self):
        return self

    open = load

    def feed(self, samples):
        none = np.zeros(len(self.logits), np.float32)
        return Rows(self.logits, none, none, none)

    def finish(self):
        none = np.zeros(0, np.float32)
        return Rows(self.logits[:0], none, none, none)


def heard(monkeypatch, *phones: tuple[str, float]):
    monkeypatch.setattr(spoken, "VisemeNetwork", Hears(*phones))
    return hear(np.zeros(320 * len(phones), np.float32))


def test_a_row_stands_for_what_is_around_its_time(monkeypatch):
    found = heard(monkeypatch, *[("SIL", 0.9)] * 5, *[("AA", 0.9)] * 5, *[("M", 0.9)] * 4, *[("SIL", 0.9)] * 6)
    spans = [(span.phone, span.start, span.end) for span in found.labelled.spans]
    assert [name for name, _, _ in spans] == ["SIL", "AA", "M", "SIL"]
    assert np.allclose([span[1:] for span in spans], [(0, 0.09), (0.09, 0.19), (0.19, 0.27), (0.27, 0.39)])
    assert np.allclose(found.bilabials, [(0.19, 0.27)]) and np.allclose(found.talk, [(0.09, 0.27)])
    assert found.by == "network" and "viseme" in found.words


def test_a_row_alone_gives_way_and_an_unsure_bilabial_does_not_count(monkeypatch):
    found = heard(monkeypatch, *[("AA", 0.9)] * 5, ("PB", 0.9), *[("AA", 0.9)] * 5, *[("PB", 0.4)] * 3, ("AA", 0.9))
    assert [span.phone for span in found.labelled.spans] == ["AA", "PB", "AA"]
    assert not len(found.bilabials)


def test_p_and_m_in_a_row_are_one(monkeypatch):
    found = heard(monkeypatch, *[("AA", 0.9)] * 3, *[("M", 0.9)] * 3, *[("PB", 0.9)] * 3, *[("AA", 0.9)] * 3)
    assert np.allclose(found.bilabials, [(0.05, 0.17)])


def test_openness_is_the_mean_over_what_a_mouth_takes(monkeypatch):
    found = heard(monkeypatch, *[("SIL", 0.9)] * 20, *[("AA", 0.9)] * 20)
    edge = 0.39
    times = np.array([-1, 0.2, edge - 0.03, edge, edge + 0.015, edge + 0.03, 0.6, 5])
    assert np.allclose(found.openness(times), OPENNESS[INDEX["AA"]] * np.array([0, 0, 0, 0.5, 0.75, 1, 1, 0]))
    assert found.spoken(np.array([edge - 0.3, edge - 0.2, 0.6, 0.79 + 0.2, 0.79 + 0.3])).tolist() == [0, 1, 1, 1, 0]


@pytest.mark.parametrize("samples", [0, 1, 100, 320, 7000])
def test_short_sounds_and_none(samples):
    found = hear(np.zeros(samples, np.float32))
    assert not len(found.talk) and not len(found.bilabials)
    assert not found.openness(np.arange(5.0)).any() and not found.spoken(np.arange(5.0)).any()


def test_a_text_tells_what_is_said(monkeypatch, talking):
    def align(samples, text):
        if len(samples) != len(talking.sound):
            raise MarotteError("the sound does not fit its text")
        spans = tuple(Span(i / 5, (i + 1) / 5, "M" if i % 3 else "AA") for i in range(50))
        return LabelledSpeech(samples, spans, text, "en", "", "recording")

    monkeypatch.setattr(spoken, "align", align)
    speech = hear(talking.sound, "mama")
    assert speech.by == "text" and len(speech.bilabials) == 17
    with pytest.raises(MarotteError, match="does not fit"):
        hear(talking.sound[:-1], "mama")
    other = named(talking, "other", sound=talking.sound[:-1])
    found = figures([talking, other], speech, text="mama", resamples=50)
    assert any("other" in note and "heard, not aligned" in note for note in found.notes)
    assert "different ways" in found.differences["other"]["closure"].note
    assert found.values["first"]["closure"].count == 17


def named(take: Take, name: str, **other) -> Take:
    from dataclasses import replace

    return replace(take, name=name, **other)


def test_lips_that_do_not_follow_have_no_lag(talking):
    speech, blocks = hear(talking.sound), Blocks(len(talking), talking.fps, resamples=50)
    wild = named(talking, "wild", opening=np.random.default_rng(0).random(len(talking)))
    assert blocks.value(lag(talking, speech, blocks)).value == pytest.approx(0, abs=15)
    for take in (wild, named(talking, "still", opening=talking.opening * 0 + 3)):
        found = blocks.value(lag(take, speech, blocks))
        assert found.value is None and "no lag" in found.note


def test_full_opening_is_that_of_the_jaw():
    assert 25 < full_opening() < 45
