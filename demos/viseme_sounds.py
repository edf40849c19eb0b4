"""Sounds that are not one person's speech: hum, fans, music, babble and breath, made from random numbers.

All return float32 [n] at 16 kHz with a root mean square of 1.
"""

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

RATE = 16000


def coloured(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise between white and brown."""
    noise = rng.standard_normal(count)
    return _unit(lfilter([1], [1, -rng.uniform(0, 0.98)], noise) if rng.random() < 0.75 else noise)


def hum(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return mains hum, a motor or a transformer: harmonics of 45 to 130 Hz with a little noise."""
    time = np.arange(count) / RATE
    base = rng.choice([50.0, 60.0, 100.0, 120.0, rng.uniform(45, 130)])
    fall = rng.uniform(0.2, 1.6)
    sound = np.zeros(count)
    for harmonic in range(1, rng.integers(3, 25)):
        sound += rng.uniform(0.2, 1) * harmonic**-fall * np.sin(2 * np.pi * (base * harmonic * time + rng.random()))
    return _unit(_unit(sound) + 10 ** rng.uniform(-2, -0.3) * coloured(count, rng))


def fan(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return a fan: low noise that beats slowly, with the blades' tone."""
    noise = sosfilt(butter(2, rng.uniform(200, 1800), fs=RATE, output="sos"), coloured(count, rng))
    time = np.arange(count) / RATE
    beat = 1 + rng.uniform(0, 0.4) * np.sin(2 * np.pi * rng.uniform(0.5, 12) * time)
    tone = 0.3 * rng.random() * np.sin(2 * np.pi * rng.uniform(80, 400) * time)
    return _unit(_unit(noise) * beat + tone)


def music(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return chords, a bass and drums in a random key, tempo and timbre; no voice."""
    beat = int(RATE * 60 / rng.uniform(60, 170))
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.6 else [0, 2, 3, 5, 7, 8, 10])
    root = rng.uniform(55, 110)
    decay, tilt, attack = rng.uniform(0.15, 2.5), rng.uniform(0.6, 2.2), rng.uniform(0.002, 0.08)
    vibrato = rng.uniform(0, 0.006)
    sound = np.zeros(count + 4 * RATE)
    drums = rng.random() < 0.6
    for start in range(0, count, beat):
        degree = int(rng.integers(0, 7))
        notes = [root * 2 ** (scale[degree] / 12)]
        notes += [
            root * 2 ** (scale[(degree + 2 * k) % 7] / 12 + rng.integers(1, 4)) for k in range(rng.integers(1, 4))
        ]
        for note in notes:
            at = start + int(rng.integers(0, 2)) * beat // 2
            part = _note(note, min(len(sound) - at, int(2.0 * RATE)), decay, tilt, attack, vibrato, rng)
            sound[at : at + len(part)] += part
        if drums:
            hit = rng.standard_normal(RATE // 5) * np.exp(-np.arange(RATE // 5) / RATE / rng.uniform(0.01, 0.06))
            sound[start : start + len(hit)] += rng.uniform(0.2, 2.0) * hit
    return _unit(sound[:count])


def breath(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return breathing: noise through the vocal tract, in and out."""
    noise = rng.standard_normal(count)
    low = rng.uniform(250, 900)
    shaped = sosfilt(butter(1, [low, low * rng.uniform(3, 8)], "band", fs=RATE, output="sos"), noise)
    time = np.arange(count) / RATE
    swell = np.clip(np.sin(2 * np.pi * rng.uniform(0.2, 0.8) * time + rng.uniform(0, 6.3)), 0, 1) ** rng.uniform(0.5, 2)
    return _unit(shaped * swell + 1e-3 * noise)


def babble(count: int, rng: np.random.Generator, voices: list[np.ndarray]) -> np.ndarray:
    """Return many voices at once, from pieces of other speech, in a room."""
    sound = np.zeros(count)
    for _ in range(rng.integers(5, 10)):
        voice = voices[rng.integers(len(voices))]
        start = int(rng.integers(0, len(voice)))
        looped = np.resize(np.roll(voice, -start), count)
        sound += rng.uniform(0.5, 1) * looped / (np.sqrt(np.mean(looped**2)) + 1e-6)
    tail = rng.standard_normal(RATE // 2) * np.exp(-np.arange(RATE // 2) / RATE / rng.uniform(0.05, 0.2))
    tail[0] = rng.uniform(2, 12)
    return _unit(fftconvolve(sound, tail)[:count])


def _note(
    pitch: float, count: int, decay: float, tilt: float, attack: float, vibrato: float, rng: np.random.Generator
) -> np.ndarray:
    time = np.arange(count) / RATE
    phase = pitch * (time + vibrato / 34 * np.sin(2 * np.pi * 5.5 * time))
    sound = np.zeros(count)
    for harmonic in range(1, int(min(16, 7000 / pitch)) + 1):
        sound += harmonic**-tilt * np.sin(2 * np.pi * (harmonic * phase + rng.random()))
    return sound * np.minimum(time / attack, 1) * np.exp(-time / decay)


def _unit(sound: np.ndarray) -> np.ndarray:
    return (sound / (np.sqrt(np.mean(np.square(sound))) + 1e-9)).astype(np.float32)
