"""The driver with a network that hears exactly what it is told: sound whose value names a phone."""

from fractions import Fraction

import numpy as np
import pytest

from marotte.drivers.viseme import Viseme
from marotte.errors import MarotteError
from marotte.models.viseme.articulation import LIPS, TARGETS
from marotte.models.viseme.network import DELAY, ROW, Rows
from marotte.models.viseme.phones import INDEX, OPENNESS, PHONES, VOWELS, mask
from marotte.runtime.arkit import JAW_OPEN, SLOT
from marotte.runtime.lipsync.lips import lip_track
from marotte.runtime.lipsync.measure import CLOSED
from marotte.runtime.motion import Motion, concatenate
from marotte.runtime.retime import retime
from marotte.runtime.testing import check_driver

AVATARS = ("demo", "demo-basil", "demo-imara")
SIDES = ("Left", "Right")
MOST = [{}, {"smile": 1}, {"happy": 1}, {"sad": 1.0}, {"happy": 1, "sad": 1, "smile": 1}, {"articulation": 2}]


class Told:
    """A network that is told each row's phone by its first sample, and hears 60 ms ahead as the true one does."""

    def open(self):
        return ToldStream()


class ToldStream:
    def __init__(self):
        self.reset()

    def reset(self):
        self._held, self._given = np.zeros(0, np.float32), 0

    def feed(self, samples):
        self._held = np.concatenate([self._held, samples])
        return self._until(len(self._held) // ROW - DELAY)

    def finish(self):
        return self._until(-(-len(self._held) // ROW))

    def _until(self, stop):
        first = self._held[self._given * ROW : max(stop * ROW, 0) : ROW]
        self._given += len(first)
        chances = np.full((len(first), len(PHONES)), 1e-4)
        chances[np.arange(len(first)), np.abs(np.rint(first * 1000)).astype(int) % len(PHONES)] = 1
        return Rows(
            np.log(chances).astype(np.float32),
            np.ones(len(first), np.float32),
            np.full(len(first), 0.92, np.float32),
            np.zeros(len(first), np.float32),
        )


def sound(text: str) -> np.ndarray:
    """Sound of phones, each a row of 20 ms or as many as it says: `SIL*10 AA*5`."""
    words = [word.partition("*") for word in text.split()]
    return np.concatenate([np.full(ROW * int(count or 1), INDEX[name] / 1000, np.float32) for name, _, count in words])


def said(text: str, **options) -> Motion:
    stream = Viseme(Told()).open(options)
    return concatenate([stream.feed(sound(text)), stream.finish()])


def held(phone: str, **options) -> dict[str, float]:
    """The face in the middle of a long phone, and its lips' `gap`, `width` and `rounding`."""
    motion = said(f"{phone}*40", **options)
    lips = lip_track(motion)
    face = {name: float(motion.codes[25, slot]) for name, slot in SLOT.items()}
    shape = {name: float(getattr(lips, name)[25]) for name in ("gap", "width", "rounding")}
    return face | shape | {"jaw": float(motion.jaw[25, 0] / JAW_OPEN[0])}


@pytest.mark.parametrize("options", [{}, {"articulation": 1.7, "happy": 0.4}])
def test_the_contract(options):
    check_driver(Viseme(Told()), options=options)


def test_a_frame_leaves_when_100_ms_after_it_have_been_heard():
    driver = Viseme(Told())
    assert driver.lookahead == pytest.approx(0.1)
    stream, frames = driver.open(), 0
    for block in range(20):
        frames += len(stream.feed(sound("AA")))
        assert frames == max(0, block + 1 - 4)
    assert frames + len(stream.finish()) == 20


def test_motion_is_symmetric_and_stays_in_range():
    codes = said(" ".join(f"{phone}*4" for phone in PHONES), articulation=2, smile=1, sad=1, happy=1).codes
    assert codes[:, :52].min() >= 0 and codes[:, :52].max() <= 1
    for name, slot in SLOT.items():
        if name.endswith("Left") and name not in ("jawLeft", "mouthLeft"):
            assert np.array_equal(codes[:, slot], codes[:, SLOT[name.removesuffix("Left") + "Right"]]), name
    assert not codes[:, [SLOT[name] for name in ("jawOpen", "jawLeft", "jawRight")]].any()
    assert not codes[:, 52:103].any() and not codes[:, 104:].any() and codes[:, 103].max() <= JAW_OPEN[0]


@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_a_bilabial_is_seen_closed_at_any_rate(fps, rows):
    for start in range(20, 26):
        motion = retime(said(f"AA*{start} PB*{rows} AA*20"), Fraction(fps))
        closed = np.flatnonzero(lip_track(motion).gap < CLOSED) / fps
        assert len(closed) and abs(closed - (start + rows / 2) / 50).max() < 0.06


@pytest.mark.parametrize("avatar", AVATARS)
@pytest.mark.parametrize("options", MOST, ids=str)
def test_closures_and_rest_are_closed_and_nothing_else_is(avatar, options):
    text = " ".join(f"{phone}*12 M*4" for phone in PHONES if phone != "M")
    motion = said(f"{text} SIL*20", **options)
    gap = lip_track(motion, avatar).gap
    for index, phone in enumerate(phone for phone in PHONES if phone != "M"):
        first = 16 * index
        if phone in ("SIL", "PB"):
            continue
        assert gap[first + 6] > 1.4 * CLOSED, phone
        assert gap[first + 12 : first + 16].max() < CLOSED, f"m after {phone}"
    assert gap[-8:].max() < CLOSED, "rest"


@pytest.mark.parametrize("options", MOST, ids=str)
def test_lips_touch_and_do_not_cross(options):
    """By less than a millimetre, which pressed lips give; the mouth's middle is where they would cross first."""
    upper_minus_lower = []
    for text in ("AA*20 M*20", "M*40", "UW*20 M*20", "SIL*40"):
        face = said(text, **options).codes[30]
        gap = _asked_gap({name: face[slot] for name, slot in SLOT.items()}, face[103] / JAW_OPEN[0])
        upper_minus_lower.append(gap)
    assert min(upper_minus_lower) > -0.03


def _asked_gap(face: dict[str, float], jaw: float) -> float:
    """The gap of the lips before it is cut off at 0, from how much less a jaw opens that is 0.3 wider."""
    codes = np.zeros((3, 106), np.float32)
    for name, weight in face.items():
        codes[0, SLOT[name]] = weight
    codes[:, 103] = np.array([jaw + 0.3, 0.3, 0]) * JAW_OPEN[0]
    opened, wider, rest = lip_track(Motion(codes, Fraction(50), "arkit52")).gap
    return float(opened - (wider - rest))


def test_every_posture_has_the_gap_that_it_asks_for():
    """Within 3 % of full opening: the gap is set at the middle of the lips, and taken where it is widest."""
    for phone in PHONES:
        if phone not in ("SIL", "PB", "M", "SH", "CH"):  # whose flare keeps lips further apart
            assert held(phone)["gap"] == pytest.approx(TARGETS[INDEX[phone], LIPS], abs=0.03), phone


def test_labiodentals_tuck_the_lower_lip():
    face = held("FV")
    assert face["mouthRollLower"] > 0.6 and face["mouthUpperUpLeft"] > 0.15
    assert CLOSED < face["gap"] < 0.15 and face["jaw"] < 0.1


def test_sibilants_close_the_teeth_and_show_them():
    for phone in ("SZ", "SH", "CH"):
        face = held(phone)
        assert face["jaw"] < 0.06 and 0.12 < face["gap"] < 0.25, phone
    assert held("SZ")["mouthUpperUpLeft"] > 0.3 and held("SZ")["width"] > 1.03
    assert held("SH")["mouthFunnel"] > 0.3 and held("SH")["rounding"] > 0.1


def test_vowels_open_as_they_should():
    vowels = [held(phone) for phone in VOWELS]
    assert np.corrcoef([face["gap"] for face in vowels], OPENNESS[mask(VOWELS)])[0, 1] > 0.97
    assert 0.4 < held("AA")["jaw"] < 0.6
    rounding = {phone: face["rounding"] for phone, face in zip(VOWELS, vowels, strict=True)}
    spread = [value for phone, value in rounding.items() if phone not in ("AO", "OW", "UW", "YY", "ER")]
    assert min(rounding[phone] for phone in ("AO", "OW", "UW", "YY")) > max(spread) + 0.1


def test_lips_do_not_jump():
    rng = np.random.default_rng(3)
    text = " ".join(f"{PHONES[phone]}*{rows}" for phone, rows in rng.integers((0, 2), (len(PHONES), 7), (200, 2)))
    motion = said(text)
    assert np.abs(np.diff(lip_track(motion).gap)).max() < 0.33
    assert np.abs(np.diff(motion.jaw[:, 0])).max() < 0.2 * JAW_OPEN[0]


def test_silence_rests_and_speech_begins_just_before_it_is_heard():
    gap = lip_track(said("SIL*30 AA*20 SIL*30")).gap
    assert gap[:28].max() < CLOSED < gap[30] and gap[57:].max() < CLOSED
    assert not said("SIL*30").codes[10:].any()


def test_articulation_scales_and_emotions_show():
    little, usual, much = (held("AA", articulation=amount)["gap"] for amount in (0.4, 1, 2))
    assert little < 0.6 * usual < 0.4 * much * 1.2
    assert held("SIL", smile=0.5)["mouthSmileLeft"] == pytest.approx(held("SIL", smile=1)["mouthSmileLeft"] / 2)
    assert held("SIL", happy=1)["cheekSquintLeft"] > 0.2 > held("SIL")["cheekSquintLeft"]
    assert held("SIL", sad=1)["browInnerUp"] > 0.5 > held("SIL")["browInnerUp"]
    assert held("AA", sad=1)["jaw"] < held("AA")["jaw"] < held("AA", happy=1)["jaw"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"articulaton": 1}, ("articulaton", "did you mean 'articulation'", "happy, sad, smile, weights")),
        ({"articulation": 2.5}, ("articulation 2.5", "0 and 2")),
        ({"smile": -0.1}, ("smile -0.1", "0 and 1")),
        ({"happy": "very"}, ("happy 'very'", "0 and 1")),
        ({"sad": float("nan")}, ("sad nan", "0 and 1")),
        ({"smile": True}, ("smile True",)),
        ({"weights": 3}, ("weights 3", ".safetensors")),
        ({"weights": "nowhere/x.safetensors"}, ("nowhere/x.safetensors", "does not exist")),
    ],
)
def test_options_that_it_does_not_take(options, words):
    with pytest.raises(MarotteError) as error:
        Viseme(Told()).open(options)
    for word in words:
        assert word in str(error.value)
