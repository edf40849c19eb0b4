"""Forced alignment: where the phones of a known English text are in a recording of it, by pocketsphinx.

Its wheel carries a model of American English and a dictionary of 134,000 words. Two passes: words first, which
also finds pauses and chooses among pronunciations, then the phones of these words, in frames of 10 ms.
"""

import re
from functools import cache
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.lipsync.corrections import Phone, flite_spans
from marotte.runtime.lipsync.labelled import LabelledSpeech
from marotte.runtime.lipsync.phonesets import from_arpabet

_FRAME = 0.01  # seconds
# Its boundaries are early by so much (seconds): by 3 to 4 ms on flite's speech, whose voices were recorded from people,
# by 8 ms on espeak-ng's.
_EARLY = 0.005


def align(samples: np.ndarray, text: str, voice: str = "") -> LabelledSpeech:
    """Return the phones of a recording [n] float32 at 16 kHz in which the English `text` is read.

    voice: a name for who speaks. Raises MarotteError where pocketsphinx is missing, where the text holds digits
    or words that its dictionary lacks, and where the sound is too short for the text. That something else is said
    is not noticed: look at a plot.
    """
    decoder = _decoder()
    words = spoken_words(text)
    if unknown := sorted({word for word in words if decoder.lookup_word(word) is None}):
        raise MarotteError(
            f"the dictionary lacks {', '.join(map(repr, unknown))}: spell the text as it is spoken, in common words"
        )
    phones = [_phone(*entry) for entry in _phones(decoder, samples, words)]
    return LabelledSpeech(samples, flite_spans(samples, phones), text, "en", voice, "recording")


def spoken_words(text: str) -> list[str]:
    """Return the words of a text as the dictionary writes them; MarotteError for digits and for no words at all."""
    plain = text.lower().replace("’", "'")
    if digits := re.search(r"\S*\d\S*", plain):
        raise MarotteError(f"the text holds digits ({digits[0]!r}): spell numbers as they are spoken")
    words = [word.strip("'") for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*'?", plain)]
    if not words:
        raise MarotteError(f"the text {text[:60]!r} holds no words: give what is said in the sound")
    return words


def _phone(name: str, first: int, last: int) -> Phone:
    start = first * _FRAME + _EARLY if first else 0.0
    return Phone(start, last * _FRAME + _EARLY, name.lower(), from_arpabet(name) or (("SIL", 1.0),))


def _phones(decoder: Any, samples: np.ndarray, words: list[str]) -> list[tuple[str, int, int]]:
    """Return name, first frame and frame after the last of each phone."""
    sound = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    decoder.reinit_feat()  # forgets the sound before, which would shift boundaries
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, sound)
        decoder.set_alignment()
        _decode(decoder, sound)
        found = [phone for word in decoder.get_alignment() for phone in word]
    except (RuntimeError, IndexError, TypeError) as error:
        _decoder.cache_clear()  # it is left in the middle of this sound
        text = " ".join(words)
        raise MarotteError(f"the sound does not fit its text {text[:60]!r}: check that this is what is said") from error
    return [(phone.name, phone.start, phone.start + phone.duration) for phone in found]


def _decode(decoder: Any, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


@cache
def _decoder() -> Any:
    try:
        from pocketsphinx import Decoder
    except ImportError:
        raise MarotteError(
            "aligning sound with its text needs pocketsphinx, which is not installed: pip install 'marotte[lipsync]'"
        ) from None
    # Nothing is pruned: a known text is quick anyhow, and unusual voices would lose their way.
    beams = {"beam": 0.0, "pbeam": 0.0, "wbeam": 0.0}
    return Decoder(samprate=float(SAMPLE_RATE), lm=None, bestpath=False, cmn="batch", loglevel="FATAL", **beams)
