"""One labelled utterance, many recordings of it: rates, rooms, microphones, codecs, noise.

Every copy is followed through to what the network gets: mel frames by the shipped front end, and for each the
phone, voicing and effort of its time. Labels come from the clean sound, so the network learns to hear through the
rest.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import soundfile
from scipy.signal import butter, correlate, fftconvolve, lfilter, resample_poly, sosfilt
from viseme_sounds import babble, breath, coloured, fan, hum, music

from marotte.models.viseme.mel import HOP, RATE, MelStream
from marotte.models.viseme.phones import SILENCE
from marotte.runtime.lipsync.labelled import LabelledSpeech

# Effort 1 is the loudest of the utterance, effort 0 so many dB below.
EFFORT_RANGE = 35.0


@dataclass(frozen=True)
class Clip:
    """What the network trains on: mels [n, 40], and for the start of each 10 ms, phone [n], voicing and effort [n]."""

    mels: np.ndarray
    phone: np.ndarray
    voicing: np.ndarray
    effort: np.ndarray


def clip(
    speech: LabelledSpeech,
    rng: np.random.Generator,
    filters: np.ndarray,
    voices: list[np.ndarray],
    *,
    clean: bool = False,
) -> Clip:
    """Return one recording of an utterance. voices: other speech, for babble. clean: only silence around it."""
    sound, lead, speed = _placed(speech, rng, clean)
    count = len(sound) // HOP
    seconds = np.arange(count) * (HOP / RATE)
    phone = speech.phones_at((seconds - lead) * speed)
    voicing, effort = _voicing(sound, count) * (phone != SILENCE), _effort(sound, count)
    if clean:
        heard = sound * 10 ** (rng.uniform(-30, 0) / 20) + 1e-5 * rng.standard_normal(len(sound))
    else:
        heard = _recorded(sound, rng, voices)
    return Clip(_mels(heard, rng, filters)[:count], phone.astype(np.uint8), voicing, effort)


def negative(seconds: float, rng: np.random.Generator, filters: np.ndarray, voices: list[np.ndarray]) -> Clip:
    """Return a recording without one speaker's speech: the mouth stays shut."""
    count = int(seconds * RATE)
    kind = rng.integers(7)
    if kind == 6:
        heard = 10 ** rng.uniform(-6, -3.5) * rng.standard_normal(count)
    else:
        heard = _background(kind, count, rng, voices) * 10 ** (rng.uniform(-55, -12) / 20)
        heard = _microphone(heard, rng)
    frames = count // HOP
    return Clip(
        _mels(heard, rng, filters)[:frames],
        np.full(frames, SILENCE, np.uint8),
        np.zeros(frames, np.float32),
        np.zeros(frames, np.float32),
    )


def _placed(speech: LabelledSpeech, rng: np.random.Generator, clean: bool) -> tuple[np.ndarray, float, float]:
    """Return the utterance between silences, the seconds before it, and how much faster it is."""
    sound = speech.samples.astype(np.float64)
    speed = 1.0
    if not clean and rng.random() < 0.75:
        percent = round(100 * np.exp(rng.uniform(-0.2, 0.2)))
        speed = percent / 100
        sound = resample_poly(sound, 100, percent)
    lead, tail = rng.uniform(0, 0.7, 2)
    if rng.random() < 0.15:
        lead += rng.uniform(0, 1.5)
    before = int(lead * RATE)
    sound = np.concatenate([np.zeros(before), sound, np.zeros(int(tail * RATE))])
    sound *= 0.1 / (np.sqrt(np.mean(sound[sound != 0] ** 2)) + 1e-9)
    if not clean and rng.random() < 0.5:  # a speaker who turns away, or grows louder
        knots = np.interp(np.arange(len(sound)), np.linspace(0, len(sound), 5), 10 ** (rng.uniform(-9, 3, 5) / 20))
        sound *= knots
    return sound, before / RATE, speed


def _recorded(sound: np.ndarray, rng: np.random.Generator, voices: list[np.ndarray]) -> np.ndarray:
    power = np.sqrt(np.mean(sound[sound != 0] ** 2) + 1e-12)
    if rng.random() < 0.6:
        sound = _room(sound, rng)
    if rng.random() < 0.75:
        kind = rng.choice(6, p=[0.55, 0.08, 0.1, 0.12, 0.03, 0.12])
        quieter = rng.uniform(8 if kind in (3, 5) else 3, 40)
        sound = sound + power * 10 ** (-quieter / 20) * _background(kind, len(sound), rng, voices)
    sound = _microphone(sound, rng)
    if rng.random() < 0.3:
        sound = coded(sound, rng)
    sound = sound / power * 10 ** (rng.uniform(-50, -10) / 20)
    if rng.random() < 0.07:
        top = np.abs(sound).max() * rng.uniform(0.2, 0.7)
        sound = np.clip(sound, -top, top)
    return sound + 10 ** rng.uniform(-5.5, -4.2) * rng.standard_normal(len(sound))


def _background(kind: int, count: int, rng: np.random.Generator, voices: list[np.ndarray]) -> np.ndarray:
    match kind:
        case 0:
            return coloured(count, rng)
        case 1:
            return hum(count, rng)
        case 2:
            return fan(count, rng)
        case 3:
            return music(count, rng)
        case 4:
            return breath(count, rng)
        case _:
            return babble(count, rng, voices)


def _room(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the sound in a room of 80 to 700 ms of reverberation, 0 to 18 dB below the direct sound."""
    seconds = rng.uniform(0.08, 0.7)
    count = int(min(seconds, 0.5) * RATE)
    tail = rng.standard_normal(count) * np.exp(-6.9 * np.arange(count) / RATE / seconds)
    tail = np.concatenate([np.zeros(rng.integers(8, 100)), tail])
    response = tail * (10 ** (-rng.uniform(0, 18) / 20) / np.sqrt(np.sum(tail**2)))
    for _ in range(rng.integers(0, 6)):
        response[rng.integers(10, len(response) // 4)] += rng.uniform(-0.4, 0.4)
    response[0] = 1
    return fftconvolve(sound, response)[: len(sound)]


def _microphone(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:
        sound = lfilter([1, rng.uniform(-0.7, 0.7)], [1], sound)
    if rng.random() < 0.3:
        centre = np.exp(rng.uniform(np.log(150), np.log(5000)))
        sound = _bell(sound, centre, rng.uniform(-9, 9), rng.uniform(0.5, 2))
    if rng.random() < 0.35:
        sound = sosfilt(butter(2, rng.uniform(50, 350), "high", fs=RATE, output="sos"), sound)
    if rng.random() < 0.35:
        sound = sosfilt(butter(4, rng.uniform(3200, 7500), fs=RATE, output="sos"), sound)
    return sound


def _bell(sound: np.ndarray, centre: float, gain: float, width: float) -> np.ndarray:
    """Return the sound through a peaking equaliser (Bristow-Johnson's cookbook)."""
    amplitude, angle = 10 ** (gain / 40), 2 * np.pi * centre / RATE
    alpha = np.sin(angle) / (2 * width)
    up = [1 + alpha * amplitude, -2 * np.cos(angle), 1 - alpha * amplitude]
    down = [1 + alpha / amplitude, -2 * np.cos(angle), 1 - alpha / amplitude]
    return lfilter(up, down, sound)


_CODECS = (
    ("WAV", "ULAW", 8000),
    ("WAV", "GSM610", 8000),
    ("WAV", "IMA_ADPCM", 16000),
    ("OGG", "VORBIS", 16000),
    ("OGG", "OPUS", 16000),
    ("MP3", "MPEG_LAYER_III", 16000),
    ("MP3", "MPEG_LAYER_III", 16000),
)


def coded(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the sound after a codec, in time with the sound before."""
    container, subtype, rate = _CODECS[rng.integers(len(_CODECS))]
    scale = 0.7 / (np.abs(sound).max() + 1e-9)
    sent = resample_poly(sound, 1, RATE // rate) * scale
    file = io.BytesIO()
    lossy = {"compression_level": float(rng.uniform(0.3, 0.9))} if container in ("OGG", "MP3") else {}
    soundfile.write(file, sent, rate, format=container, subtype=subtype, **lossy)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got, rate = soundfile.read(file)
    got = resample_poly(got, RATE // rate, 1) / scale
    got = np.pad(got, (0, max(0, len(sound) - len(got))))[: len(sound)]
    reach = 2400
    match = correlate(got, sound, method="fft")[len(sound) - 1 - reach : len(sound) + reach]
    late = int(np.argmax(np.abs(match))) - reach
    return np.roll(got, -late)


def _mels(sound: np.ndarray, rng: np.random.Generator, filters: np.ndarray) -> np.ndarray:
    stream = MelStream(filters)
    if rng.random() < 0.35:  # as if something louder or softer had been heard before
        stream.reset(rng.uniform(-60, -10))
    return stream.feed(sound.astype(np.float32))[0].astype(np.float16)


def _effort(sound: np.ndarray, count: int) -> np.ndarray:
    """Return how loud each 10 ms is: 50 ms levels beside the utterance's loud parts."""
    mean = np.cumsum(np.concatenate([np.zeros(401), sound**2, np.zeros(400)]))
    at = np.arange(count) * HOP
    level = 10 * np.log10((mean[at + 800] - mean[at]) / 800 + 1e-12)
    loud = np.quantile(level[level > level.max() - 40], 0.9)
    return np.clip(1 + (level - loud) / EFFORT_RANGE, 0, 1).astype(np.float32)


def _voicing(sound: np.ndarray, count: int) -> np.ndarray:
    """Return 1 where the clean sound repeats itself at a pitch of 60 to 420 Hz, [count]."""
    window = np.hanning(640)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, (320, 640)), 640)[::HOP][:count] * window
    own = np.fft.irfft(np.abs(np.fft.rfft(window, 1280)) ** 2)[:320]
    repeats = np.fft.irfft(np.abs(np.fft.rfft(frames, 1280, axis=1)) ** 2, axis=1)[:, :320]
    strength = repeats[:, 38:267] / own[38:267] * own[0] / (repeats[:, :1] + 1e-9)
    audible = repeats[:, 0] > repeats[:, 0].max() * 1e-5
    return ((strength.max(axis=1) > 0.5) & audible).astype(np.float32)
