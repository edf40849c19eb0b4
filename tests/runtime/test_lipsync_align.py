"""Forced alignment, against speech whose phones are known."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.lipsync import align as alignment
from marotte.runtime.lipsync import espeak, flite
from marotte.runtime.lipsync.align import align, spoken_words

TEXT = "My brother's dog, Max, jumped up and stole a big piece of the apple-pie!"


@pytest.fixture(scope="module")
def spoken():
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    if not flite.available():
        pytest.skip("flite is not installed")
    return flite.speak(TEXT, "slt")


def boundaries(speech) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = {}
    for one, next_ in pairwise(speech.spans):
        found.setdefault((one.phone, next_.phone), []).append(one.end)
    return found


def test_phones_are_found_where_they_are(spoken):
    aligned = align(spoken.samples, TEXT, "slt")
    assert (aligned.text, aligned.language, aligned.voice, aligned.synthesiser) == (TEXT, "en", "slt", "recording")
    assert aligned.samples is spoken.samples
    seconds = np.arange(0, len(spoken.samples) / 16000, 0.005)
    assert np.mean(aligned.phones_at(seconds) == spoken.phones_at(seconds)) > 0.8
    known = boundaries(spoken)
    errors = [
        min((time - other for other in known[pair]), key=abs)
        for pair, times in boundaries(aligned).items()
        for time in times
        if pair in known
    ]
    errors = [error for error in errors if abs(error) < 0.1]
    assert len(errors) > 30
    assert abs(np.mean(errors)) < 0.008 and np.median(np.abs(errors)) < 0.015


def test_spans_cover_the_sound_in_order(spoken):
    spans = align(spoken.samples, TEXT).spans
    assert spans[0].start == 0 and spans[-1].end == pytest.approx(len(spoken.samples) / 16000)
    assert all(one.end == next_.start < next_.end for one, next_ in pairwise(spans))


def test_pauses_are_heard(spoken):
    gap = 8000
    text = "The boat left the pier."
    part = flite.speak(text, "slt").samples
    sound = np.concatenate([np.zeros(gap, np.float32), part, np.zeros(gap, np.float32), part])
    aligned = align(sound, f"{text} {text}")
    middle = np.array([0.3, (gap + len(part) + gap / 2) / 16000])
    assert aligned.phones_at(middle).tolist() == [0, 0]


def test_a_robot_is_understood():
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    try:
        speech = espeak.speak("Nobody knew the number.", "en-us+m7")
    except MarotteError as error:
        pytest.skip(str(error))
    aligned = align(speech.samples, speech.text)
    assert [span.phone for span in aligned.spans if span.phone in ("PB", "M")] == ["PB", "M", "PB"]


def test_what_came_before_does_not_count(spoken):
    first = align(spoken.samples, TEXT).spans
    align(spoken.samples[::-1].copy() * 0.1, "go home")
    assert align(spoken.samples, TEXT).spans == first


def test_texts_become_words():
    assert spoken_words("Don’t! 'Stop' the well-known boys' café… now?") == [
        *("don't", "stop", "the", "well", "known", "boys", "café", "now")
    ]


@pytest.mark.parametrize(("text", "match"), [("take 5", r"'5'.*spell"), ("the 2nd.", "2nd"), ("...", "no words")])
def test_texts_without_words_are_refused(text, match):
    with pytest.raises(MarotteError, match=match):
        spoken_words(text)


def test_unknown_words_are_named(spoken):
    with pytest.raises(MarotteError, match="'blorptastic', 'zzyx'"):
        align(spoken.samples, "a zzyx and a blorptastic dog")


@pytest.mark.parametrize("count", [0, 300, 3000])
def test_sound_that_is_too_short_is_refused(spoken, count):
    with pytest.raises(MarotteError, match="does not fit its text"):
        align(spoken.samples[:count], TEXT)


def test_without_pocketsphinx_the_fix_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    alignment._decoder.cache_clear()
    with pytest.raises(MarotteError, match=r"marotte\[lipsync\]"):
        align(np.zeros(16000, np.float32), "hello")
    alignment._decoder.cache_clear()
