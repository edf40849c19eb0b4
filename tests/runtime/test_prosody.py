"""Prosody: known sounds give known events, at the time they are known, whatever the packets."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.runtime.prosody import ACCENT, APART, PAUSE, STRESS, Prosody

RATE = 16000
TIME = np.arange(20 * RATE) / RATE
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.standard_normal(len(TIME))


def still(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), np.float32)


def heard(*parts: np.ndarray, kind: str | None = None):
    return [event for event in Prosody().feed(np.concatenate(parts)) if kind in (None, event.kind)]


def times(*parts: np.ndarray, kind: str) -> list[float]:
    return [event.seconds for event in heard(*parts, kind=kind)]


def test_a_pause_is_known_200_ms_after_speech(syllables):
    first = syllables(6)  # 1.2 s, of which the last 60 ms are silent
    at = times(still(0.3), first, still(0.8), syllables(10), still(2), kind=PAUSE)
    assert at == pytest.approx([0.3 + 1.14 + 0.2, 0.3 + 1.2 + 0.8 + 1.94 + 0.2], abs=0.045)


@pytest.mark.parametrize("gap", [0.05, 0.10])
def test_gaps_between_words_are_no_pauses(syllables, gap):
    assert len(times(syllables(6), still(gap), syllables(6), still(1), kind=PAUSE)) == 1


def test_a_short_word_brings_no_pause(syllables):
    assert not times(syllables(2), still(1), syllables(2), still(1), kind=PAUSE)


def test_longer_speech_makes_a_stronger_pause(syllables):
    short, long = (heard(syllables(count), still(1), kind=PAUSE)[0].strength for count in (4, 12))
    assert 0 < short < long < 1 == heard(syllables(30), still(1), kind=PAUSE)[0].strength


@pytest.mark.parametrize(("rise", "expected"), [(7, 1), (4, 1), (0.8, 0), (-5, 0)])
def test_a_pitch_step_is_an_accent(syllables, rise, expected):
    stepped = syllables(2, pitch=120 * 2 ** (rise / 12))
    at = times(syllables(10), stepped, syllables(6), kind=ACCENT)
    assert len(at) == expected
    assert all(2.0 < moment < 2.3 for moment in at)


def test_higher_accents_are_stronger(syllables):
    low, high = (
        heard(syllables(10), syllables(2, pitch=120 * 2 ** (rise / 12)), kind=ACCENT)[0].strength for rise in (2, 2.8)
    )
    assert 0 < low < high <= 1


@pytest.mark.parametrize("pitch", [80, 120, 200, 320])
def test_a_pitch_step_is_an_accent_in_any_voice(syllables, pitch):
    assert len(times(syllables(10, pitch=pitch), syllables(2, pitch=pitch * 1.35), kind=ACCENT)) == 1


def test_a_loud_syllable_is_a_stress(syllables):
    at = times(syllables(8), syllables(1, gain=0.3), syllables(6), kind=STRESS)
    assert len(at) == 1 and 1.65 < at[0] < 1.80  # its peak is at 1.67


def test_a_long_syllable_is_a_stress(syllables):
    at = times(syllables(8), syllables(1, seconds=0.3), syllables(6), kind=STRESS)
    assert len(at) == 1 and 1.75 < at[0] < 1.96


def test_equal_syllables_are_not_stressed(syllables):
    assert not heard(syllables(60), kind=STRESS) and not heard(syllables(60), kind=ACCENT)


def test_louder_stress_is_stronger(syllables):
    some, much = (
        heard(syllables(8), syllables(1, gain=gain), syllables(2), kind=STRESS)[0].strength for gain in (0.15, 0.22)
    )
    assert 0 < some < much < 1


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(len(TIME)),
        0.1 * NOISE,
        0.1 * sum(np.sin(2 * np.pi * 100 * k * TIME) / k for k in range(1, 8)),
        0.05 * np.convolve(NOISE, np.ones(8) / 8, "same") * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * TIME)),
        0.01 * NOISE * np.clip(np.sin(2 * np.pi * 0.25 * TIME), 0, 1),
        0.1 * np.sin(2 * np.pi * np.cumsum(300 + 100 * np.sin(2 * np.pi * 0.5 * TIME)) / RATE),
        0.3 * np.ones(len(TIME)),
    ],
    ids=["silence", "white noise", "hum", "fan", "breath", "siren", "offset"],
)
def test_what_does_not_speak_makes_next_to_no_events(sound):
    assert len(heard(sound.astype(np.float32))) <= 1


@pytest.mark.parametrize(("ratio", "late", "share"), [(30, 0.1, 0.9), (15, 0.3, 0.8), (5, 0.3, 0.6)])
def test_speech_is_heard_in_noise(talk, ratio, late, share):
    power = np.mean(np.square(talk)) / 10 ** (ratio / 10)
    noisy = talk + (np.sqrt(power) * np.random.default_rng(1).standard_normal(len(talk))).astype(np.float32)
    clean, found = (times(sound, kind=PAUSE) for sound in (talk, noisy))
    assert sum(any(-0.1 < b - a < late for b in found) for a in clean) >= share * len(clean)
    assert len(found) <= 1.3 * len(clean) and times(noisy, kind=STRESS)


def test_a_talk_has_events_at_a_human_rate(talk):
    counts = {kind: len(times(talk, kind=kind)) / 24 for kind in (PAUSE, STRESS, ACCENT)}
    assert 0.2 < counts[PAUSE] < 0.8 and 0.2 < counts[STRESS] < 1.0 and 0.05 < counts[ACCENT] < 0.6, counts


def test_the_gain_hardly_matters(talk):
    loud, quiet = heard(talk), heard(talk * np.float32(0.25))
    same = [any(a.kind == b.kind and abs(a.seconds - b.seconds) < 0.1 for b in quiet) for a in loud]
    assert np.mean(same) > 0.9 and abs(len(loud) - len(quiet)) <= 2


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=40))
@settings(max_examples=15, deadline=None)
def test_packets_do_not_change_the_events(talk, sizes):
    sound = talk[: 7 * RATE]
    prosody = Prosody()
    events, start = [], 0
    for size in [*sizes, len(sound)]:
        events += prosody.feed(sound[start : start + size])
        start += size
    assert events == heard(sound) and len(events) > 3
    whole = Prosody()
    whole.feed(sound)
    assert pickle.dumps(prosody) == pickle.dumps(whole)  # to the last bit of what it remembers


def test_no_event_depends_on_later_sound(talk):
    whole = heard(talk)
    assert whole == sorted(whole, key=lambda event: event.seconds)
    for cut in range(RATE, len(talk), 2 * RATE + 77):
        assert heard(talk[:cut]) == [event for event in whole if event.seconds <= cut / RATE]


def test_events_of_a_kind_keep_apart(talk):
    random = np.random.default_rng(2)
    wild = np.concatenate([talk, talk * np.repeat(random.uniform(0.1, 1, 2400), 160).astype(np.float32)])
    for kind, apart in APART.items():
        assert np.all(np.diff(times(wild, kind=kind)) >= apart - 1e-9)
    assert all(0 < event.strength <= 1 for event in heard(wild))


def test_reset_forgets_the_speaker(talk):
    prosody = Prosody()
    first = prosody.feed(talk)
    prosody.feed(talk[:7777])
    prosody.reset()
    assert prosody.feed(talk) == first and first


def test_it_remembers_no_more_after_long(talk):
    prosody = Prosody()
    sizes = []
    for sound in (talk, still(60), talk, 0.1 * np.sin(2 * np.pi * 150 * TIME), talk):
        prosody.feed(sound.astype(np.float32))
        sizes.append(len(pickle.dumps(prosody)))
    assert max(sizes) < 1.3 * sizes[0] < 40_000
