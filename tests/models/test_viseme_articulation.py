import numpy as np
import pytest

from marotte.models.viseme.articulation import (
    ARTICULATORS,
    JAW,
    LIPS,
    PUCKER,
    STRENGTHS,
    TARGETS,
    TEETH,
    TUCK,
    dominance,
    posteriors,
)
from marotte.models.viseme.coarticulation import AHEAD, BEHIND, LEAST_GAP, Coarticulation, Postures
from marotte.models.viseme.face import Style, actions
from marotte.models.viseme.network import Rows
from marotte.models.viseme.phones import BILABIALS, INDEX, OPENNESS, PHONES, SIBILANTS, VOWELS, mask

PERIOD = 0.02


def rows(text: str, *, chance: float = 1.0, effort: float = 0.92, level: float = 0.0) -> Rows:
    """Rows of phones as `SIL*10 AA*5`; what is not their chance is that of N."""
    words = [word.partition("*") for word in text.split()]
    names = [name for name, _, count in words for _ in range(int(count or 1))]
    chances = np.full((len(names), len(PHONES)), 1e-6)
    chances[:, INDEX["N"]] = max(1 - chance, 1e-6)
    chances[np.arange(len(names)), [INDEX[name] for name in names]] = chance
    chances[[name == "SIL" for name in names]] = np.where(np.arange(len(PHONES)) == INDEX["SIL"], 1, 1e-6)
    count = len(names)
    return Rows(
        np.log(chances).astype(np.float32),
        np.ones(count, np.float32),
        np.full(count, effort, np.float32),
        np.full(count, level, np.float32),
    )


def joined(parts: list) -> object:
    return type(parts[0])(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in parts[0].__dataclass_fields__)
    )


def spoken(heard: Rows) -> Postures:
    mouth = Coarticulation()
    return joined([mouth.feed(heard), mouth.finish()])


def babble(count: int, seed: int = 0) -> Rows:
    rng = np.random.default_rng(seed)
    return Rows(
        (3 * rng.standard_normal((count, len(PHONES)))).astype(np.float32),
        rng.random(count, np.float32),
        rng.random(count, np.float32),
        rng.uniform(-50, 5, count).astype(np.float32),
    )


def test_the_table_is_whole():
    assert TARGETS.shape == STRENGTHS.shape == (len(PHONES), len(ARTICULATORS))
    assert TARGETS.min() == 0 and TARGETS.max() <= 1 and STRENGTHS.min() > 0


def test_targets_are_those_of_phonetics():
    jaw, lips = dict(zip(PHONES, TARGETS[:, JAW], strict=True)), dict(zip(PHONES, TARGETS[:, LIPS], strict=True))
    # The widest vowel opens the jaw to about half; sibilants shut the teeth; lips of consonants stay apart.
    assert 0.4 < jaw["AA"] == max(jaw.values()) < 0.6
    assert max(jaw[phone] for phone in SIBILANTS) <= min(value for name, value in jaw.items() if name in VOWELS) / 2
    assert all(lips[phone] == 0 for phone in (*BILABIALS, "SIL"))
    assert all(lips[phone] > LEAST_GAP for phone in PHONES if phone not in (*BILABIALS, "SIL"))
    # Lips of vowels open as OPENNESS says.
    vowels = mask(VOWELS)
    assert np.corrcoef(TARGETS[vowels, LIPS], OPENNESS[vowels])[0, 1] > 0.98
    rounded = mask(("W", "UW", "OW", "AO", "YY", "SH", "CH", "R", "ER"))
    assert TARGETS[rounded, PUCKER].min() > 0 == TARGETS[~rounded, PUCKER].max()
    assert TARGETS[INDEX["FV"], TUCK] == 1 and TARGETS[:, TUCK].sum() == 1
    assert TARGETS[INDEX["SZ"], TEETH] == TARGETS[:, TEETH].max()


def test_dominance_is_highest_at_its_row_and_falls():
    weights = dominance(AHEAD, BEHIND, PERIOD)
    assert weights.shape == (BEHIND + 1 + AHEAD, len(PHONES), len(ARTICULATORS))
    assert np.array_equal(weights[BEHIND], STRENGTHS)
    assert (np.diff(weights[: BEHIND + 1], axis=0) > 0).all() and (np.diff(weights[BEHIND:], axis=0) < 0).all()
    # The jaw is slower than the lips, protrusion spreads furthest.
    share = weights[BEHIND - 2, 0] / STRENGTHS[0]
    assert share[LIPS] < share[JAW] < share[PUCKER]


def test_posteriors_are_chances():
    chances = posteriors(np.array([[0, 1, 2], [1000, 0, -1000]], np.float32))
    assert chances.sum(axis=1) == pytest.approx(1) and np.isfinite(chances).all()
    assert chances[0, 2] / chances[0, 1] == pytest.approx(np.e) and chances[1].tolist() == [1, 0, 0]


def test_means_are_those_of_the_definition():
    """Against sums written out, phone by phone; float32 sums of 400 products keep six digits."""
    heard = babble(40)
    chances = posteriors(heard.logits.astype(np.float64))
    scale = np.clip(1 + 0.6 * (heard.effort - 0.92), 0.75, 1.1)
    got = spoken(heard).values
    weights = dominance(AHEAD, BEHIND, PERIOD).astype(np.float64)
    for row in range(BEHIND, 40 - AHEAD, 5):
        around = range(row - BEHIND, row + AHEAD + 1)
        for articulator in range(len(ARTICULATORS)):
            weight = np.array([chances[j] * weights[k, :, articulator] for k, j in enumerate(around)])
            opens = articulator in (JAW, LIPS)
            targets = [
                TARGETS[:, articulator] * np.where(opens & mask(VOWELS), scale[j], 1).astype(float) for j in around
            ]
            mean = (weight * targets).sum() / weight.sum()
            want = max(mean, LEAST_GAP) if articulator == LIPS else mean
            assert got[row, articulator] == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("packets", [(1,), (2, 1, 7), (3, 50), (0, 5, 13)])
def test_packets_and_resets_change_no_bit(packets):
    heard = babble(200)
    whole, mouth = spoken(heard), Coarticulation()
    for _ in range(2):
        parts, at = [], 0
        while at < len(heard):
            size = packets[len(parts) % len(packets)]
            parts.append(mouth.feed(heard[at : at + size]))
            at += size
            assert sum(map(len, parts)) == max(0, min(at, len(heard)) - AHEAD)
        got = joined([*parts, mouth.finish()])
        for name in Postures.__dataclass_fields__:
            assert np.array_equal(getattr(got, name), getattr(whole, name)), name
        mouth.reset()


@pytest.mark.parametrize("phone", [phone for phone in PHONES if phone != "SIL"])
def test_a_held_phone_reaches_its_targets(phone):
    posture = spoken(rows(f"{phone}*40"))
    want = TARGETS[INDEX[phone]].copy()
    want[LIPS] = max(want[LIPS], LEAST_GAP)
    assert posture.values[30] == pytest.approx(want, abs=1e-4) and posture.rest[30] == 0
    assert (posture.ceiling[30] == 0) == (phone in BILABIALS)


def test_the_jaw_is_slower_than_the_lips():
    values = spoken(rows("IY*20 AA*20")).values
    lips, jaw = ((values[:, i] - values[15, i]) / (values[35, i] - values[15, i]) for i in (LIPS, JAW))
    assert jaw[18] > lips[18] and jaw[21] < lips[21] and lips[20] > 0.5


def test_rounding_spreads_over_weak_consonants_and_stops_at_strong_ones():
    def pucker_of(phone: str) -> float:
        return spoken(rows(f"AA*20 UW*6 {phone}*3 UW*6")).values[27, PUCKER]

    assert pucker_of("TD") > 0.75 * TARGETS[INDEX["UW"], PUCKER] > 1.2 * pucker_of("IY")
    before = spoken(rows("AA*20 TD*3 UW*10")).values[:, PUCKER]
    assert before[22] > 0.5 * TARGETS[INDEX["UW"], PUCKER] and before[17] < 0.05


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("chance", [0.5, 0.9])
def test_a_bilabial_shuts_the_lips_for_three_rows_or_as_long_as_it_lasts(count, chance):
    ceiling = spoken(joined([rows("AA*20"), rows(f"M*{count}", chance=chance), rows("AA*20")])).ceiling
    shut = np.flatnonzero(ceiling < 0.01)
    assert shut[0] == 20 and len(shut) == max(count, 3) and np.ptp(shut) == len(shut) - 1
    assert ceiling[17] > 0.5 and ceiling[shut[-1] + 4] > 0.5
    # Lips travel, they do not jump: neither before nor after.
    assert np.abs(np.diff(np.minimum(ceiling, 0.5))).max() < 0.3


def test_a_doubtful_bilabial_comes_nearer_the_surer_it_is():
    chances = (0.15, 0.28, 0.32, 0.36, 0.5)
    nearest = [
        spoken(joined([rows("AA*20", level=-26), rows("PB*3", chance=c), rows("AA*20")])).ceiling[20:23].min()
        for c in chances
    ]
    assert nearest == sorted(nearest, reverse=True)
    assert nearest[0] > 1 > 0.7 > nearest[2] > nearest[3] > 0.05 > nearest[4]


def test_in_noise_less_chance_will_do():
    def nearest(level: float) -> float:
        parts = [rows("AA*100", level=level), rows("PB*3", chance=0.35, level=level), rows("AA*20", level=level)]
        return spoken(joined(parts)).ceiling[100:103].min()

    assert nearest(-26) > 3 * nearest(-8)


def test_a_sure_bilabial_does_not_spread_into_the_rows_beside_it():
    heard = joined([rows("AA*20"), rows("M", chance=0.4), rows("M*4"), rows("M", chance=0.4), rows("AA*20")])
    ceiling = spoken(heard).ceiling
    assert ceiling[20] > 0.2 < ceiling[25] and (ceiling[21:25] == 0).all()


def test_silence_rests():
    rest = spoken(rows("SIL*20 AA*20 SIL*20")).rest
    assert (rest[:18] == 1).all() and 0 < rest[18] < 1 and (rest[20:40] == 0).all()
    # Within 150 ms.
    assert (rest[48:] == 1).all() and (np.diff(rest[39:48]) >= 0).all() and np.abs(np.diff(rest)).max() < 0.5


def test_a_gap_between_words_does_not_rest():
    rest = spoken(rows("AA*20 SIL*3 AA*20")).rest
    assert rest[3:41].max() < 0.3


def test_what_is_far_below_the_speaker_rests():
    assert (spoken(rows("AA*30", level=-45)).rest == 1).all()
    assert (spoken(rows("FV*30", level=-30)).rest[:30] == 0).all()


def test_effort_opens_vowels_and_no_closures():
    soft, usual, loud = (spoken(rows("AA*20 M*4 AA*20", effort=effort)) for effort in (0.6, 0.92, 1.0))
    for articulator in (JAW, LIPS):
        assert soft.values[15, articulator] < 0.85 * usual.values[15, articulator] < loud.values[15, articulator]
    assert soft.ceiling[21] == usual.ceiling[21] == loud.ceiling[21] == 0
    assert np.array_equal(soft.values[:, PUCKER], loud.values[:, PUCKER])


def test_actions_are_weights_alike_on_both_sides():
    posture = spoken(babble(300))
    for style in (Style(), Style(2, 1, 1, 1), Style(articulation=0)):
        face = actions(posture, style)
        for name, weight in face.items():
            assert weight.shape == (300,) and weight.dtype == np.float32, name
            assert weight.min() >= 0 and weight.max() <= 1, name
            if name.endswith("Left"):
                assert np.array_equal(weight, face[name.removesuffix("Left") + "Right"]), name


def test_a_mouth_at_rest_shows_nothing():
    face = actions(spoken(rows("SIL*20")))
    assert all(weight.max() < 1e-6 for weight in face.values())


def test_articulation_scales_opening_and_rounding():
    posture = spoken(rows("AA*30 OW*30"))
    little, usual, much = (actions(posture, Style(articulation=amount)) for amount in (0.5, 1, 1.6))
    assert little["jawOpen"][20] < 0.6 * usual["jawOpen"][20] < 0.6 * much["jawOpen"][20]
    assert little["mouthPucker"][50] < 0.6 * usual["mouthPucker"][50] < 0.6 * much["mouthPucker"][50]


def test_a_smile_gives_way_to_rounding_and_emotions_blend():
    posture = spoken(rows("IY*30 UW*30"))
    smile = actions(posture, Style(smile=1))["mouthSmileLeft"]
    assert smile[20] > 0.55 > 0.35 > smile[50] > 0.1
    both = actions(posture, Style(happy=0.5, sad=0.5))
    for name in ("mouthFrownLeft", "browInnerUp", "cheekSquintRight"):
        assert 0 < both[name][20] < max(actions(posture, Style(happy=1, sad=1))[name][20], 1e-9), name
