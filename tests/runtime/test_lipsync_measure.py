"""The figures of lip sync, on lips whose figures are known by construction."""

from fractions import Fraction

import numpy as np
import pytest

from marotte.models.viseme.phones import BACK_ROUNDED, BILABIALS, OPENNESS, PHONES, mask
from marotte.runtime.lipsync.labelled import LabelledSpeech, Span
from marotte.runtime.lipsync.lips import LipTrack
from marotte.runtime.lipsync.measure import (
    DEFINITIONS,
    Figures,
    bilabial_spans,
    measure,
    stillness,
)

FPS = Fraction(50)
OTHERS = [phone for phone in PHONES if phone not in ("SIL", *BILABIALS)]


def labelled(*phones: tuple[str, float]) -> LabelledSpeech:
    """Speech of phones that last so long: noise, and nothing in silence."""
    ends = np.cumsum([length for _, length in phones])
    spans = tuple(Span(end - length, end, phone) for (phone, length), end in zip(phones, ends, strict=True))
    speech = LabelledSpeech(np.zeros(round(ends[-1] * 16000), np.float32), spans, "", "en", "", "espeak")
    loud = speech.phones_at(np.arange(len(speech.samples)) / 16000) > 0
    noise = np.random.default_rng(0).normal(0, 0.1, len(loud)).astype(np.float32)
    return LabelledSpeech(np.where(loud, noise, np.float32(0)), spans, "", "en", "", "espeak")


def babble(seed: int, phones: int = 40) -> LabelledSpeech:
    """Half a second of silence, phones in any order with bilabials far apart, and silence again."""
    rng = np.random.default_rng(seed)
    names = [rng.choice(BILABIALS) if i % 5 == 2 else rng.choice(OTHERS) for i in range(phones)]
    return labelled(("SIL", 0.5), *((str(name), rng.uniform(0.08, 0.2)) for name in names), ("SIL", 0.5))


def lips(speech: LabelledSpeech, late: float = 0.0, fps: Fraction = FPS) -> LipTrack:
    """Lips that part as their phones do, and are round at back rounded vowels."""
    count = int(len(speech.samples) / 16000 * fps)
    phones = speech.phones_at(np.arange(count) / float(fps) - late)
    return LipTrack(OPENNESS[phones], np.ones(count), mask(BACK_ROUNDED)[phones] * 0.1, fps)


def constant(speech: LabelledSpeech, gap: float) -> LipTrack:
    count = int(len(speech.samples) / 16000 * FPS)
    return LipTrack(np.full(count, gap), np.ones(count), np.zeros(count), FPS)


def values(figures: Figures) -> dict[str, float]:
    return {name: getattr(figures, name).value for name in DEFINITIONS if hasattr(figures, name)}


@pytest.fixture(scope="module")
def speech():
    return [babble(seed) for seed in range(8)]


def test_perfect_lips_get_perfect_figures(speech):
    figures = measure([(lips(one), one) for one in speech])
    assert abs(figures.lag.value) < 2
    assert {name: value for name, value in values(figures).items() if name != "lag"} == pytest.approx(
        dict.fromkeys(["recall", "precision", "f1", "openness", "openness_all", "rounding", "silence"], 1.0)
    )
    assert figures.recall.count == 8 * 8 and figures.utterances == 8
    assert figures.recall.low == figures.recall.high == 1
    assert figures.seconds == pytest.approx(sum(len(one.samples) for one in speech) / 16000)


@pytest.mark.parametrize("late", [-0.07, 0.04, 0.095])
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(50)])
def test_lag_is_how_late_the_lips_are(speech, late, fps):
    figures = measure([(lips(one, late, fps), one) for one in speech], resamples=50)
    assert figures.lag.value == pytest.approx(1000 * late, abs=3)
    assert figures.lag.low <= figures.lag.value <= figures.lag.high


def test_lips_that_never_open_are_not_precise(speech):
    figures = measure([(constant(one, 0.0), one) for one in speech])
    assert figures.recall.value == 1 and figures.silence.value == 1
    assert figures.precision.value < 0.25
    assert figures.rounding.value == 0.5
    assert np.isnan(figures.openness.value) and np.isnan(figures.lag.value)


def test_lips_that_never_close_meet_nothing(speech):
    figures = measure([(constant(one, 0.5), one) for one in speech])
    assert (figures.recall.value, figures.f1.value, figures.silence.value) == (0, 0, 0)
    assert np.isnan(figures.precision.value)


def test_no_speech_at_all_is_no_figure():
    for pairs in ([], [(constant(labelled(("SIL", 1.0)), 0.0), labelled(("SIL", 1.0)))]):
        assert all(np.isnan(value) for value in values(measure(pairs)).values())


def test_one_utterance_has_no_interval(speech):
    figure = measure([(lips(speech[0]), speech[0])]).recall
    assert figure.value == 1 and np.isnan([figure.low, figure.high]).all()


def test_bilabials_that_touch_are_one_and_lone_ones_are_none():
    speech = labelled(("AA", 0.2), ("M", 0.1), ("PB", 0.1), ("AA", 0.2), ("SIL", 0.3), ("M", 0.1), ("SIL", 0.3))
    assert bilabial_spans(speech).tolist() == [[pytest.approx(0.2), pytest.approx(0.4)]]


def shut(speech: LabelledSpeech, *spans: tuple[float, float]) -> Figures:
    """The figures of lips that are shut in some spans only."""
    track = constant(speech, 0.5)
    for start, end in spans:
        track.gap[(track.seconds >= start - 1e-6) & (track.seconds < end - 1e-6)] = 0
    return measure([(track, speech)])


@pytest.mark.parametrize(
    ("span", "recall", "precision"),
    [
        ((0.90, 0.92), 0, 0),  # 80 ms early
        ((0.94, 0.96), 1, 1),
        ((1.14, 1.16), 1, 1),
        ((1.18, 1.20), 0, 0),
        ((0.90, 1.10), 1, 1),  # held a little longer than it takes
        ((0.70, 1.10), 1, 0.5),  # held too long: one right, one wrong
        ((0.00, 0.34), 0, np.nan),  # the pause before, and 40 ms of speech
        ((0.00, 0.42), 0, 0),
    ],
)
def test_closures_count_within_60_ms(span, recall, precision):
    speech = labelled(("SIL", 0.3), ("AA", 0.7), ("PB", 0.1), ("EH", 0.7), ("SIL", 0.3))
    figures = shut(speech, span)
    assert figures.recall.value == recall
    assert figures.precision.value == pytest.approx(precision, nan_ok=True)


def test_silence_is_far_from_speech_and_quiet():
    speech = labelled(("SIL", 0.5), ("AA", 0.5), ("SIL", 0.5))
    figures = shut(speech, (0, 0.35), (1.15, 1.25))
    assert figures.silence.count == pytest.approx(2 * 0.35 * 50, abs=2)
    assert figures.silence.value == pytest.approx((17 + 5) / 35, abs=0.06)
    loud = LabelledSpeech(speech.samples + np.float32(0.1), speech.spans, "", "en", "", "espeak")
    assert np.isnan(shut(loud, (0, 2)).silence.value)


def test_openness_does_not_ask_for_a_scale_but_for_order(speech):
    rng = np.random.default_rng(0)
    tracks = [lips(one) for one in speech]
    halved = [LipTrack(t.gap * 0.5, t.width, t.rounding, FPS) for t in tracks]
    mixed = [LipTrack(rng.permutation(t.gap), t.width, rng.permutation(t.rounding), FPS) for t in tracks]
    assert measure(list(zip(halved, speech, strict=True))).openness.value == pytest.approx(1)
    figures = measure(list(zip(mixed, speech, strict=True)))
    assert abs(figures.openness.value) < 0.15
    assert figures.rounding.value == pytest.approx(0.5, abs=0.1)


def test_rounding_is_the_area_under_the_curve(speech):
    track = lips(speech[0])
    rng = np.random.default_rng(3)
    track = LipTrack(track.gap, track.width, np.round(track.rounding + rng.normal(0, 0.1, len(track)), 2), FPS)
    phones = speech[0].phones_at(track.seconds)
    vowels = ("IY", "IH", "EY", "EH", "AE", "AA", "AH")
    rounded, other = track.rounding[mask(BACK_ROUNDED)[phones]], track.rounding[mask(vowels)[phones]]
    wins = np.mean((rounded[:, None] > other) + 0.5 * (rounded[:, None] == other))
    assert measure([(track, speech[0])]).rounding.value == pytest.approx(wins)


def test_intervals_cover_the_truth_and_follow_their_seed():
    rng = np.random.default_rng(5)
    sentences = [babble(seed, 12) for seed in range(12)]
    covered = []
    for _ in range(40):
        pairs = []
        for speech in sentences:
            track = lips(speech)
            for start, end in bilabial_spans(speech):
                if rng.random() > 0.7:
                    track.gap[(track.seconds > start - 0.1) & (track.seconds < end + 0.1)] = 0.5
            pairs.append((track, speech))
        figure = measure(pairs, resamples=200).recall
        covered.append(figure.low <= 0.7 <= figure.high)
    assert np.mean(covered) >= 0.8
    assert measure(pairs, resamples=200) == measure(pairs, resamples=200)
    assert measure(pairs, resamples=200, seed=1).recall.value == figure.value


def test_pooling_weighs_bilabials_not_utterances():
    one, two = labelled(("AA", 0.3), ("M", 0.1), ("AA", 0.3)), labelled(*[("AA", 0.3), ("M", 0.1), ("AA", 0.3)] * 3)
    figures = measure([(constant(one, 0.5), one), (lips(two), two)])
    assert figures.recall.value == 0.75
    assert (figures.recall.low, figures.recall.high) == (0, 1)


def test_stillness_is_the_largest_gap():
    gap = np.zeros(1000)
    gap[:5] = 0.4
    still = stillness([LipTrack(gap, gap, gap, FPS)])
    assert (still.largest_gap, still.high_gap, still.clips, still.seconds) == (0.4, 0, 1, 20)
