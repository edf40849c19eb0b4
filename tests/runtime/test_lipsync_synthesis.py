"""Labelled speech of espeak-ng and flite, and the corrections of their times."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.viseme.phones import VOWELS
from marotte.runtime.lipsync import espeak, flite
from marotte.runtime.lipsync.corrections import (
    Phone,
    burst_time,
    closure_start,
    espeak_spans,
    flite_spans,
    give_length,
    join_gaps,
    levels,
)

STOPS = ("PB", "TD", "KG")


def voice(seconds, loudness=0.3):
    time = np.arange(round(seconds * 16000)) / 16000
    return (loudness * np.sin(2 * np.pi * 150 * time)).astype(np.float32)


def noise(seconds, loudness=0.1):
    return np.random.default_rng(0).normal(0, loudness, round(seconds * 16000)).astype(np.float32)


def silence(seconds):
    return np.zeros(round(seconds * 16000), np.float32)


def phone(start, end, symbol, name=None):
    return Phone(start, end, symbol, ((name or {"": "SIL", "a": "AA", "p": "PB", "t": "TD"}[symbol], 1.0),))


def listed(spans):
    return [(span.phone, round(span.start, 3), round(span.end, 3)) for span in spans]


def test_a_phone_of_no_length_gets_the_last_part_of_the_one_before():
    phones = [phone(0, 0.1, "a"), phone(0.1, 0.1, "l", "L"), phone(0.1, 0.2, "s", "SZ")]
    assert [(p.symbol, p.start, p.end) for p in give_length(phones)] == [
        ("a", 0, pytest.approx(0.06)),
        ("l", pytest.approx(0.06), 0.1),
        ("s", 0.1, 0.2),
    ]


def test_a_phone_of_no_length_after_a_pause_takes_from_the_one_after():
    phones = [phone(0, 0.1, ""), phone(0.1, 0.1, "l", "L"), phone(0.1, 0.2, "a")]
    assert [(p.symbol, p.end) for p in give_length(phones)] == [("", 0.1), ("l", pytest.approx(0.14)), ("a", 0.2)]


def test_a_pause_of_no_length_is_none():
    assert [p.symbol for p in give_length([phone(0, 0.1, "a"), phone(0.1, 0.1, ""), phone(0.1, 0.2, "a")])] == ["a"] * 2


@pytest.mark.parametrize("closed", [0.03, 0.05, 0.08, 0.15])
def test_the_closure_is_the_silence_before_the_burst(closed):
    sound = np.concatenate([voice(0.3), silence(closed), noise(0.1)])
    assert closure_start(levels(sound), 0.3 + closed, since=0.1) == pytest.approx(0.3, abs=0.006)


def test_the_closure_may_be_a_fall_of_the_level():
    sound = np.concatenate([voice(0.3), voice(0.06, 0.03), noise(0.1)])
    assert closure_start(levels(sound), 0.36, since=0.1) == pytest.approx(0.3, abs=0.006)


def test_a_closure_that_cannot_be_heard_has_a_usual_length():
    level = levels(voice(0.5))
    assert closure_start(level, 0.3, since=0.1) == pytest.approx(0.255)
    assert closure_start(level, 0.3, since=None) == pytest.approx(0.24)
    assert closure_start(level, 0.02, since=0) == 0


def test_a_closure_leaves_something_of_the_phone_before():
    sound = np.concatenate([voice(0.3), silence(0.2), noise(0.1)])
    assert closure_start(levels(sound), 0.5, since=0.29) == pytest.approx(0.32, abs=0.006)


def test_an_unvoiced_stop_is_shut_before_its_burst_and_gives_its_breath_to_the_next_phone():
    sound = np.concatenate([voice(0.2), silence(0.05), noise(0.05), voice(0.2)])
    phones = [phone(0, 0.25, "a"), phone(0.25, 0.3, "p"), phone(0.3, 0.5, "a")]
    assert listed(espeak_spans(sound, phones)) == [("AA", 0, 0.2), ("PB", 0.2, 0.265), ("AA", 0.265, 0.5)]


def test_breath_before_a_pause_or_another_stop_is_breath():
    sound = np.concatenate([voice(0.2), silence(0.05), noise(0.05), silence(0.05), noise(0.05), silence(0.2)])
    phones = [phone(0, 0.25, "a"), phone(0.25, 0.35, "p"), phone(0.35, 0.4, "t"), phone(0.4, 0.6, "")]
    assert listed(espeak_spans(sound, phones)) == [
        ("AA", 0, 0.2), ("PB", 0.2, 0.265), ("H", 0.265, 0.3), ("TD", 0.3, 0.365), ("H", 0.365, 0.4), ("SIL", 0.4, 0.6),
    ]  # fmt: skip


def test_a_voiced_stop_after_silence_is_shut_in_the_silence():
    sound = np.concatenate([voice(0.2), silence(0.04), voice(0.06), voice(0.2)])
    phones = [phone(0, 0.24, "a"), phone(0.24, 0.3, "b", "PB"), phone(0.3, 0.5, "a")]
    assert listed(espeak_spans(sound, phones)) == [("AA", 0, 0.2), ("PB", 0.2, 0.255), ("AA", 0.255, 0.5)]


def test_a_voiced_stop_without_silence_is_where_it_is_reported():
    sound = np.concatenate([voice(0.2), voice(0.06, 0.05), voice(0.2)])
    phones = [phone(0, 0.2, "a"), phone(0.2, 0.26, "b", "PB"), phone(0.26, 0.46, "a")]
    assert listed(espeak_spans(sound, phones)) == [("AA", 0, 0.2), ("PB", 0.2, 0.26), ("AA", 0.26, 0.46)]


def test_a_short_voiced_stop_after_a_pause_is_shut_before_it_is_heard():
    sound = np.concatenate([voice(0.2), silence(0.2), voice(0.2)])
    phones = [phone(0, 0.2, "a"), phone(0.2, 0.4, ""), phone(0.4, 0.42, "b", "PB"), phone(0.42, 0.6, "a")]
    assert listed(espeak_spans(sound, phones))[2] == ("PB", 0.34, 0.415)


def test_an_affricate_of_two_classes_is_shut_until_its_burst():
    sound = np.concatenate([voice(0.2), silence(0.05), noise(0.1), voice(0.2)])
    hiss = Phone(0.25, 0.35, "ts", (("TD", 0.3), ("SZ", 0.7)))
    spans = espeak_spans(sound, [phone(0, 0.25, "a"), hiss, phone(0.35, 0.55, "a")])
    assert listed(spans)[1:3] == [("TD", 0.2, 0.255), ("SZ", 0.255, 0.35)]


def test_pauses_inside_of_speech():
    """A short one before a stop is its closure; before another phone it is joined, unless silent for long."""
    sound = np.concatenate([voice(0.2), silence(0.06), noise(0.04), voice(0.2), silence(0.2), voice(0.1)])
    phones = [phone(0, 0.2, "a"), phone(0.2, 0.26, ""), phone(0.26, 0.3, "p"), phone(0.3, 0.35, "a")]
    phones += [phone(0.35, 0.38, ""), phone(0.38, 0.5, "r", "R"), phone(0.5, 0.6, ""), phone(0.6, 0.7, "")]
    phones += [phone(0.7, 0.8, "a")]
    joined = join_gaps(phones, levels(sound))
    assert [(p.symbol, p.start, p.end) for p in joined] == [
        ("a", 0, 0.26), ("p", 0.26, 0.3), ("a", 0.3, 0.35), ("r", 0.35, 0.5), ("", 0.5, 0.7), ("a", 0.7, 0.8),
    ]  # fmt: skip


def test_silence_in_a_phone_is_silence_if_it_is_long():
    sound = np.concatenate([voice(0.2), silence(0.05), voice(0.2), silence(0.15)])
    assert listed(espeak_spans(sound, [phone(0, 0.6, "a")])) == [("AA", 0, 0.45), ("SIL", 0.45, 0.6)]


def test_silence_beside_a_pause_is_of_the_pause():
    sound = np.concatenate([voice(0.2), silence(0.1), voice(0.2)])
    phones = [phone(0, 0.23, "a"), phone(0.23, 0.28, ""), phone(0.28, 0.5, "a")]
    assert listed(espeak_spans(sound, phones)) == [("AA", 0, 0.2), ("SIL", 0.2, 0.3), ("AA", 0.3, 0.5)]


def test_spans_end_with_the_sound():
    assert listed(espeak_spans(voice(0.2), [phone(0, 0.3, "a")])) == [("AA", 0, 0.2)]
    assert listed(espeak_spans(np.concatenate([voice(0.2), silence(0.1)]), [phone(0, 0.2, "a")])) == [
        ("AA", 0, 0.2),
        ("SIL", 0.2, 0.3),
    ]


def test_no_phones_in_no_sound():
    assert espeak_spans(np.zeros(0, np.float32), []) == ()


def test_flites_stop_ends_with_its_burst():
    sound = np.concatenate([voice(0.2), silence(0.06), noise(0.06), voice(0.2)])
    phones = [phone(0, 0.2, "aa", "AA"), phone(0.2, 0.32, "t"), phone(0.32, 0.52, "aa", "AA")]
    (_, stop, vowel) = flite_spans(sound, phones)
    assert (stop.phone, vowel.phone) == ("TD", "AA")
    assert stop.end == pytest.approx(0.275, abs=0.011)


def test_without_a_burst_a_stop_is_whole():
    assert burst_time(levels(voice(0.5)), 0.1, 0.3) is None
    assert burst_time(levels(voice(0.5)), 0.1, 0.11) is None


def names(speech):
    return [span.phone for span in speech.spans]


@pytest.fixture(scope="module")
def papa():
    return spoken(espeak, "Papa met Bob, and a big map fell on the mat.", "en-us")


def spoken(synthesiser, text, voice, **options):
    try:
        return synthesiser.speak(text, voice, **options)
    except MarotteError as error:
        pytest.skip(str(error))


def check(speech):
    """The spans cover the sound without gap or overlap, and stops are quieter than vowels."""
    assert speech.samples.dtype == np.float32
    assert np.abs(speech.samples).max() <= 1
    assert speech.spans[0].start == 0
    assert speech.spans[-1].end == pytest.approx(len(speech.samples) / 16000)
    assert speech.spans[-1].phone == "SIL"
    for before, after in zip(speech.spans, speech.spans[1:], strict=False):
        assert before.end == after.start
        assert before.phone != after.phone
    level = levels(speech.samples)
    inside = {
        name: [
            float(level[round((0.65 * s.start + 0.35 * s.end) * 200) : round((s.start + s.end) * 100) + 1].mean())
            for s in speech.spans
            if s.phone in of and s.end - s.start > 0.03
        ]
        for name, of in {"stop": STOPS, "vowel": VOWELS, "silence": ("SIL",)}.items()
    }
    assert np.median(inside["vowel"]) > np.median(inside["stop"]) + 10
    assert np.quantile(inside["vowel"], 0.1) > -20
    assert max(inside["silence"]) < -18


def test_espeak_says_what_it_says(papa):
    check(papa)
    assert (papa.language, papa.voice, papa.synthesiser) == ("en", "en-us", "espeak")
    assert names(papa).count("PB") == 6
    assert names(papa).count("M") == 3
    pause = next(span for span in papa.spans[1:] if span.phone == "SIL")
    assert pause.end - pause.start > 0.1
    assert papa.spans[-1].end - papa.spans[-1].start < 0.1


@pytest.mark.parametrize(
    ("voice", "text", "language"),
    [
        ("de+f5", "Der Bäcker backt am Morgen gutes Brot, und die Kinder spielen im Park.", "de"),
        ("fr-fr", "Mon petit frère a peur du bateau, mais il parle beaucoup.", "fr"),
        ("it", "La mamma prepara la pasta, poi tutti mangiano insieme.", "it"),
        ("ru+m3", "Мой брат купил большой дом, потом поехал на работу.", "ru"),
        ("fi", "Isä ostaa uuden kirjan, mutta äiti leipoo pullaa. Pappa potkii palloa.", "fi"),
        ("ja", "ちちはまいにちパンをたべます、けっこんしました。", "ja"),
        ("cmn-latn-pinyin", "ba4 ba5 mei3 tian1 kan4 bao4 zhi3, peng2 you5 pao3 bu4.", "cmn"),
    ],
)
def test_espeak_in_other_languages(voice, text, language):
    for rate in (130, 220):
        speech = spoken(espeak, text, voice, rate=rate)
        check(speech)
        assert speech.language == language


def test_rate_and_pitch_change_the_sound(papa):
    assert len(spoken(espeak, papa.text, "en-us", rate=300).samples) < 0.8 * len(papa.samples)
    high = spoken(espeak, papa.text, "en-us", pitch=90).samples
    assert np.abs(high[:8000] - papa.samples[:8000]).max() > 0.1


def test_what_was_said_before_does_not_matter(papa):
    """But for the flutter of the voice, whose state the library keeps, and which changes the length a little."""
    spoken(espeak, "Etwas anderes.", "de+klatt2", rate=90, pitch=99, pitch_range=0)
    again = spoken(espeak, papa.text, "en-us")
    assert names(again) == names(papa)
    assert len(again.samples) == pytest.approx(len(papa.samples), rel=0.06)


def test_the_same_calls_in_a_new_process_give_the_same_speech(papa):
    script = """
import zlib
from marotte.runtime.lipsync import espeak
for voice in ("en-us", "de+klatt2", "it+f5", "en-us"):
    speech = espeak.speak("Papa ama le mappe.", voice)
    print(zlib.crc32(speech.samples.tobytes()), speech.spans)
"""
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1] != b""


def test_espeak_from_several_threads(papa):
    voices = ["en-us", "de", "en-us", "it+f5"] * 4
    alone = {voice: names(spoken(espeak, papa.text, voice)) for voice in voices}
    with ThreadPoolExecutor(4) as pool:
        speeches = list(pool.map(lambda voice: espeak.speak(papa.text, voice), voices))
    assert [names(speech) for speech in speeches] == [alone[voice] for voice in voices]


def test_espeak_lists_its_voices(papa):
    assert {"en-us", "en-gb", "de", "fr", "cmn-latn-pinyin", "ja"} <= set(espeak.voices())
    assert {"f5", "m3", "klatt2"} <= set(espeak.variants())


@pytest.mark.parametrize("voice", ["", "xx", "f5", "en-us+nobody", "en-us+", "en-us+f5+m3", "variant"])
def test_espeak_does_not_fall_back_on_another_voice(papa, voice):
    with pytest.raises(MarotteError, match="is unknown: use one of"):
        espeak.speak("a", voice)


def test_espeak_of_nothing(papa):
    assert {span.phone for span in espeak.speak("", "en-us").spans} <= {"SIL"}


def test_without_espeak(monkeypatch):
    monkeypatch.setattr(espeak, "_LIBRARY", "libnothing.so.0")
    espeak._load.cache_clear()
    with pytest.raises(MarotteError, match="Debian package espeak-ng"):
        espeak.voices()


@pytest.mark.parametrize("voice", flite.VOICES)
def test_flite_says_what_it_says(voice):
    speech = spoken(flite, "Papa met Bob. And a cat kept a big map for Peter.", voice)
    check(speech)
    assert (speech.language, speech.voice, speech.synthesiser) == ("en", voice, "flite")
    assert names(speech).count("PB") == 8
    assert names(speech).count("M") == 2


def test_flite_slower_and_higher():
    plain = spoken(flite, "Papa met Bob.", "slt")
    assert len(spoken(flite, "Papa met Bob.", "slt", stretch=1.5).samples) > 1.3 * len(plain.samples)
    low = spoken(flite, "Papa met Bob.", "slt", pitch=90, pitch_spread=5)
    assert len(low.samples) == len(plain.samples)
    assert not np.array_equal(low.samples, plain.samples)


def test_flite_reads_text_as_text():
    """A text that looks like an option or a file is spoken."""
    if not shutil.which("flite"):
        pytest.skip("flite is not installed")
    assert len(flite.speak("--version", "kal").samples) > 4000


def test_an_unknown_flite_voice():
    if not shutil.which("flite"):
        pytest.skip("flite is not installed")
    with pytest.raises(MarotteError, match="'bob' is unknown: use one of awb, kal"):
        flite.speak("a", "bob")


def test_without_flite(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MarotteError, match="Debian package flite"):
        flite.speak("a")
