"""The speech that the demo talker learns from, and that which it is measured on.

It comes from the synthesisers that the viseme network was trained with. One voice of flite's, one of
festival's and some of espeak-ng's are kept out, and so are all sentences of the lip sync tests.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from talker_clips import Clip, hear
from tqdm import tqdm
from viseme_festival_text import festival_texts
from viseme_sounds import coloured, fan, hum
from viseme_texts import ESPEAK_VOICES, sentence

from marotte.errors import MarotteError
from marotte.runtime.lipsync import espeak, festival, flite
from marotte.runtime.lipsync.testset import HELD_OUT
from marotte.runtime.lipsync.texts import TEXTS

RATE = 16000
FESTIVAL_TEXTS = 8
KEPT_FLITE, KEPT_FESTIVAL = "rms", "ked_diphone"
# Shares of the minutes; the rest is sound without speech.
SHARES = {"espeak-en": 0.24, "espeak-other": 0.20, "flite": 0.24, "festival": 0.27}


def held_out() -> dict[str, list[np.ndarray]]:
    """Return speech [n], 16 kHz, that training has not heard, by what it is: sentences of the tests by other voices."""
    texts = TEXTS["en-us"][:6]
    read, rate = soundfile.read(Path(__file__).with_name("speech.wav"), dtype="float32")
    assert rate == RATE
    return {
        "demos/speech.wav (its voice is known, its sentences are not)": [read],
        f"flite's {KEPT_FLITE}": [flite.speak(text, KEPT_FLITE).samples for text in texts],
        f"festival's {KEPT_FESTIVAL}": [said.samples for said in festival.speak_many(texts, KEPT_FESTIVAL)],
        "espeak-ng's kept voices": [
            espeak.speak(text, f"en-us+{voice}").samples for text, voice in zip(texts, HELD_OUT[:6], strict=True)
        ],
    }


def corpus(minutes: float, seed: int, path: Path) -> list[Clip]:
    """Return the training clips; they lie in the file `path` and are made where it is not there."""
    if not path.exists():
        clips = hear(list(tqdm(_sounds(minutes, seed), desc="speech", unit="clip")))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.savez(
                file,
                logits=np.concatenate([clip.logits for clip in clips]),
                actions=np.concatenate([clip.actions for clip in clips]),
                lengths=[len(clip) for clip in clips],
            )
        part.replace(path)
    with np.load(path) as content:
        ends = np.cumsum(content["lengths"])[:-1]
        pairs = zip(np.split(content["logits"], ends), np.split(content["actions"], ends), strict=True)
        return [Clip(*pair) for pair in pairs]


def _sounds(minutes: float, seed: int) -> Iterator[np.ndarray]:
    rng, dice = np.random.default_rng(seed), random.Random(seed)
    for source, share in SHARES.items():
        wanted = share * minutes * 60 * RATE
        while wanted > 0:
            for samples in _spoken(source, dice):
                if len(samples) > RATE // 2:
                    yield (sound := _recorded(samples[: 12 * RATE], rng))
                    wanted -= len(sound)
    wanted = (1 - sum(SHARES.values())) * minutes * 60 * RATE
    while wanted > 0:
        count = int(rng.integers(RATE, 5 * RATE))
        noise = (coloured, fan, hum)[rng.integers(3)](count, rng)
        yield (noise * 10 ** rng.uniform(-5, -1.5)).astype(np.float32)
        wanted -= count


def _spoken(source: str, dice: random.Random) -> list[np.ndarray]:
    """Return one or a few utterances [n], 16 kHz, in a voice drawn at random."""
    if source == "flite":
        voice = dice.choice([name for name in flite.VOICES if name != KEPT_FLITE])
        return [flite.speak(sentence("en", dice), voice, stretch=dice.uniform(0.8, 1.3)).samples]
    if source == "festival":
        voice = dice.choice([name for name in sorted(festival.voices()) if name != KEPT_FESTIVAL])
        language = festival.VOICES[voice].language
        if language == "en":
            texts = [sentence("en", dice) for _ in range(FESTIVAL_TEXTS)]
        else:
            texts = festival_texts(language, dice, FESTIVAL_TEXTS)
        return [speech.samples for speech in festival.speak_many(texts, voice, stretch=dice.uniform(0.8, 1.3))]
    language = "en" if source == "espeak-en" else dice.choice([name for name in ESPEAK_VOICES if name != "en"])
    voice = dice.choice(ESPEAK_VOICES[language])
    voice += "+" + dice.choice([name for name in espeak.variants() if name not in HELD_OUT])
    try:
        said = sentence(language, dice)
        return [espeak.speak(said, voice, rate=dice.randint(120, 240), pitch=dice.randint(20, 80)).samples]
    except MarotteError:  # a variant that this language does not take
        return []


def _recorded(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return speech [n] with silence around it, at some loudness, in one case of three with noise."""
    sound = np.pad(samples.astype(np.float64), rng.integers(RATE // 10, RATE, 2)) * 10 ** rng.uniform(-0.7, 0)
    if rng.random() < 1 / 3:
        level = np.sqrt(np.mean(sound**2)) * 10 ** -rng.uniform(0.6, 2)
        sound = sound + level * coloured(len(sound), rng)
    return np.clip(sound, -1, 1).astype(np.float32)
