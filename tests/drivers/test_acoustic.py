"""The acoustic driver on sounds whose mouth is known: silence, vowels, hums, hisses, and broken ones."""

import numpy as np
import pytest

from marotte.drivers.acoustic import Acoustic
from marotte.runtime.arkit import ACTIONS, JAW_OPEN, SLOT
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.motion import concatenate
from marotte.runtime.testing import check_driver, speech_like

FPS = 50
# Mean first and second formants of men's vowels (Peterson and Barney, 1952).
FORMANTS = {"a": (730, 1090), "i": (270, 2290), "u": (300, 870), "e": (530, 1840)}


def vowel(name: str, seconds: float = 1.0, pitch: float = 120.0, peak: float = 0.2) -> np.ndarray:
    """Return a steady vowel: harmonics that fall as a voice's, through the resonances of its formants."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros(len(time))
    for frequency in np.arange(pitch, 7500, pitch):
        gain = pitch / frequency
        for formant, width in zip((*FORMANTS[name], 2900, 3700), (80, 100, 150, 200), strict=True):
            pole, bend = -np.pi * width + 2j * np.pi * formant, 2j * np.pi * frequency
            gain *= abs(pole * pole.conjugate() / ((bend - pole) * (bend - pole.conjugate())))
        sound += gain * np.sin(2 * np.pi * frequency * time)
    return sound * peak / np.abs(sound).max()


def hum(seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return 0.2 * np.sin(2 * np.pi * 150 * time)


def noise(seconds: float, level: float) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE))


def heard(*sounds: np.ndarray) -> np.ndarray:
    """Return the codes for sounds one after the other."""
    stream = Acoustic().open()
    motion = concatenate([stream.feed(np.concatenate(sounds).astype(np.float32)), stream.finish()])
    assert (motion.fps, motion.basis) == (FPS, "arkit52") and np.isfinite(motion.codes).all()
    weights = motion.codes[:, : len(ACTIONS)]
    assert weights.min() >= 0 and weights.max() <= 1
    assert not weights[:, [SLOT[name] for name in ("jawOpen", "jawLeft", "jawRight")]].any()
    assert not motion.codes[:, len(ACTIONS) : 103].any(), "it moves nothing but the mouth"
    # The jaw opens, between shut and ARKit's widest, and does not turn.
    assert motion.jaw[:, 0].min() >= 0 and motion.jaw[:, 0].max() <= JAW_OPEN[0]
    assert not motion.jaw[:, 1:].any()
    return motion.codes


def mouth(codes: np.ndarray) -> dict[str, float]:
    """Return the mean of the last quarter by name, the jaw's opening in radians among them."""
    last = codes[-len(codes) // 4 :].mean(axis=0)
    return {name: float(last[slot]) for name, slot in SLOT.items()} | {"jaw": float(last[103])}


def test_the_contract():
    check_driver(Acoustic())


def test_silence_rests():
    assert not heard(silence(1.0)).any()


def test_faint_noise_rests():
    """A microphone's own noise, well below any speech."""
    assert mouth(heard(noise(4, 0.0005)))["jaw"] < 0.001
    # Louder noise that does not end: after a loud voice it is not what the mouth follows.
    after = heard(vowel("a", 1.0), noise(4, 0.003))
    assert mouth(after)["jaw"] < 0.1 * after[FPS // 2, 103]


def test_the_mouth_opens_and_shuts_with_the_voice():
    jaw = heard(silence(0.5), vowel("a", 0.5), silence(0.5))[:, 103]
    begin, end = FPS // 2, FPS
    assert jaw[: begin - 1].max() < 0.001 and jaw[begin + 10 : end - 1].min() > 0.15
    # Open within 100 ms of the voice, shut within 250 ms of its end.
    assert jaw[begin + 5] > 0.8 * jaw[end - 2] and jaw[end + 13] < 0.1 * jaw[end - 2]


@pytest.mark.parametrize("pitch", [100, 120, 160, 220])
def test_vowels_differ(pitch):
    a, i, u, e = (mouth(heard(silence(0.3), vowel(name, pitch=pitch))) for name in "aiue")
    assert a["jaw"] > 1.3 * max(i["jaw"], u["jaw"]) and a["jaw"] >= e["jaw"] > i["jaw"]
    for name in ("mouthPucker", "mouthFunnel"):
        assert u[name] > 0.1 and i[name] < 0.02 and e[name] < 0.02, name
    for name in ("mouthStretchLeft", "mouthStretchRight"):
        assert i[name] > 0.1 and u[name] < 0.02 and a[name] < 0.02, name


def test_a_hum_closes_the_lips():
    humming, speaking = mouth(heard(silence(0.3), hum())), mouth(heard(silence(0.3), vowel("a")))
    assert humming["jaw"] < 0.2 * speaking["jaw"]
    assert humming["mouthPressLeft"] > 0.2 > 0.02 > speaking["mouthPressLeft"]


def test_a_hiss_brings_the_teeth_together():
    high = np.diff(noise(1.0, 0.1), n=2)
    hissing, speaking = mouth(heard(silence(0.3), high)), mouth(heard(silence(0.3), vowel("a")))
    assert 0 < hissing["jaw"] < 0.5 * speaking["jaw"]
    assert hissing["mouthStretchLeft"] > 0.1 > 0.02 > hissing["mouthPressLeft"]


@pytest.mark.parametrize("gain", [0.5, 0.25, 1 / 8, 0.1])
def test_level_does_not_matter_within_20_db(gain):
    """After two seconds, in which the speaker's own loudness is learned."""
    sound = speech_like(6)
    loud, soft = heard(sound)[2 * FPS :, 103], heard(sound * gain)[2 * FPS :, 103]
    assert np.corrcoef(loud, soft)[0, 1] > 0.98
    assert soft.max() == pytest.approx(loud.max(), rel=0.15) and np.abs(loud - soft).mean() < 0.1 * loud.max()


def test_the_louder_of_two_syllables_is_the_wider():
    codes = heard(vowel("a", 0.5), silence(0.2), vowel("a", 0.5, peak=0.04), silence(0.2), vowel("a", 0.5))
    first, second, third = codes[20, 103], codes[55, 103], codes[90, 103]
    assert second < 0.8 * first and third > 0.95 * first


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros(1),
        np.full(8000, 0.5),
        np.full(8000, -1.0),
        np.tile([1.0, -1.0], 4000),
        np.clip(vowel("a") * 50, -1, 1),
        np.full(8000, 1e-30),
        np.full(8000, 1e6),
        vowel("u") * 1e-6,
    ],
    ids=["one", "constant", "lowest", "nyquist", "clipped", "denormal", "huge", "inaudible"],
)
def test_odd_sounds_give_sane_motion(sound):
    codes = heard(sound)  # which checks values and ranges
    assert len(codes) == -(-len(sound) * FPS // SAMPLE_RATE)


def test_no_sound_gives_no_motion():
    stream = Acoustic().open()
    assert len(stream.feed(np.zeros(0, np.float32))) == len(stream.finish()) == 0


def test_clipping_keeps_the_mouth_open():
    assert mouth(heard(silence(0.3), np.clip(vowel("a") * 50, -1, 1)))["jaw"] > 0.15
