"""Sound at which a mouth must stay shut: mains hum, a fan, music without a voice, breathing. 16 kHz, mono."""

from collections.abc import Iterator

import numpy as np

from marotte.runtime.contracts import SAMPLE_RATE

_SECONDS = 8
_LEVEL = -26.0  # dB of full scale, root mean square
_MAINS = (50, 60, 100)

# Chords of a slow song (frequencies of their lowest notes in Hz) and the notes of a chord above it.
_ROOTS = (110.0, 146.8, 98.0, 164.8)
_MAJOR = (1.0, 1.26, 1.498, 2.0)


def clips(seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a name and sound [n] float32 of each kind, 8 s at -26 dB of full scale; the same ones for a seed."""
    rng = np.random.default_rng(seed)
    for mains in _MAINS:
        yield f"hum, {mains} Hz", _levelled(_hum(mains, rng))
    yield "fan", _levelled(_fan(rng))
    yield "music", _levelled(_music(rng))
    yield "breath", _levelled(_breath(rng))


def coloured_noise(count: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise [count] of unit level whose amplitude falls as frequency to the power `slope` (0: white)."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / np.maximum(hz, 20) ** slope, count)
    return noise / noise.std()


def _seconds() -> np.ndarray:
    return np.arange(_SECONDS * SAMPLE_RATE) / SAMPLE_RATE


def _levelled(sound: np.ndarray) -> np.ndarray:
    return (sound * 10 ** (_LEVEL / 20) / np.sqrt(np.mean(sound**2))).astype(np.float32)


def _hum(mains: float, rng: np.random.Generator) -> np.ndarray:
    """A transformer: harmonics that fall by 6 dB an octave, each with a slow beat of its own."""
    seconds, sound = _seconds(), np.zeros(_SECONDS * SAMPLE_RATE)
    for harmonic in range(1, 20):
        beat = 1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.1, 0.8) * seconds)
        sound += beat / harmonic * np.sin(2 * np.pi * mains * harmonic * seconds + rng.uniform(0, 2 * np.pi))
    return sound


def _fan(rng: np.random.Generator) -> np.ndarray:
    """Rushing air, a little stronger each time that a blade passes, and the motor."""
    seconds = _seconds()
    air = coloured_noise(len(seconds), 0.7, rng) * (1 + 0.25 * np.sin(2 * np.pi * 23 * seconds))
    return air + 0.3 * np.sin(2 * np.pi * 115 * seconds)


def _music(rng: np.random.Generator) -> np.ndarray:
    """Plucked chords, a bass and a drum, 100 beats a minute."""
    sound = np.zeros(_SECONDS * SAMPLE_RATE)
    beat = round(0.6 * SAMPLE_RATE)
    for index, start in enumerate(range(0, len(sound), beat // 2)):
        root = _ROOTS[index // 8 % len(_ROOTS)]
        notes = [2 * root * rng.choice(_MAJOR)]
        if index % 4 == 0:
            notes += [root / 2, *(root * ratio for ratio in _MAJOR)]
        left = np.arange(min(2 * beat, len(sound) - start)) / SAMPLE_RATE
        for note in notes:
            for harmonic in range(1, 9):
                decay = np.exp(-left * (1.5 + harmonic))
                sound[start : start + len(left)] += decay / harmonic**1.3 * np.sin(2 * np.pi * note * harmonic * left)
        if index % 2:
            sound[start : start + len(left)] += 0.8 * rng.standard_normal(len(left)) * np.exp(-left * 40)
    return sound


def _breath(rng: np.random.Generator) -> np.ndarray:
    """In and out through the nose, a breath each three seconds, over a quiet room."""
    seconds = _seconds()
    phase = seconds % 3
    strength = np.exp(-(((phase - 0.7) / 0.3) ** 2)) + 0.7 * np.exp(-(((phase - 1.9) / 0.4) ** 2))
    return coloured_noise(len(seconds), 0.5, rng) * (0.02 + strength)
