"""The speech that lip sync is tested with: synthesised with known phones, or recorded with a known text.

Synthetic speech is made on the spot from `TEXTS`, with voices that training never hears: the same each time that the
whole set is made by one version of the synthesisers (espeak-ng's depends a little on what it spoke before). Recordings
are the user's own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from glob import escape
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.audio.resample import mono_blocks
from marotte.runtime.audio.source import open_audio
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.lipsync import espeak, flite, nonspeech
from marotte.runtime.lipsync.align import align
from marotte.runtime.lipsync.labelled import LabelledSpeech, Span
from marotte.runtime.lipsync.texts import TEXTS, TRAINED, UNSEEN

# Speakers of espeak-ng that are kept out of training.
HELD_OUT = ("f5", "m7", "steph2", "robert", "adam", "m8", "Gene")
# Words a minute, in turn.
_RATES = (150, 175, 200)

_MARGIN = 0.3  # seconds of silence before and after each sentence
_PAUSE = 1.2  # in the row that is about silence
_ROOM = -30.0  # dB of its noise against the speech
_SNR = 10.0  # dB of the speech against white noise


@dataclass(frozen=True)
class Row:
    """One row of the table. make: speaks it, or raises MarotteError where what it needs is missing.

    group: rows of one group are pooled in a row of their own.
    """

    name: str
    make: Callable[[], list[LabelledSpeech]]
    group: str = ""


def speech_rows() -> list[Row]:
    """Return the rows of labelled speech."""
    rows = [
        Row("espeak en, unseen voices", _english),
        Row("espeak en, white noise 10 dB", _noisy),
        Row("espeak en, pauses and room noise", _with_pauses),
    ]
    for group, languages in (
        ("espeak, trained languages", TRAINED[1:]),
        ("espeak, languages never trained on", UNSEEN),
    ):
        for name in languages:
            rows.append(Row(f"espeak {name.split('-')[0]}", partial(_espeak, name, 2), group))
    rows += [Row(f"flite {voice}", partial(_flite, voice), "flite, all voices") for voice in flite.VOICES]
    return rows


def nonspeech_rows() -> list[Row]:
    """Return the rows of sound without speech: labelled as one silence."""
    return [Row(name, partial(_unspoken, name, clip)) for name, clip in nonspeech.clips()]


def recording(path: str | Path, text: str) -> LabelledSpeech:
    """Return a sound file in which the English `text` is read, with its phones."""
    try:
        return align(read_sound(path), text, Path(path).stem)
    except MarotteError as error:
        raise MarotteError(f"{path}: {error}") from error


def recordings(folder: str | Path, transcript: str | Path) -> Iterator[LabelledSpeech | MarotteError]:
    """Yield the recordings of a folder that a transcript names, or why one cannot be used.

    The transcript has a line `name: text` for each; the sound is the file `name.*` in the folder, the first in
    alphabetical order where there are several. Empty lines, and those that begin with `;` or `#`, do not count.
    """
    for name, text in read_transcript(transcript):
        found = sorted((Path(folder) / name).parent.glob(f"{escape(Path(name).name)}.*"))
        if not found:
            yield MarotteError(f"{Path(folder) / name}.* is not there, but {transcript} has its text")
            continue
        try:
            yield recording(found[0], text)
        except MarotteError as error:
            yield error


def read_transcript(path: str | Path) -> list[tuple[str, str]]:
    """Return (name, text) of each line `name: text`. Raises MarotteError for a line that is none."""
    entries = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith((";", "#")):
            continue
        name, colon, text = (part.strip() for part in line.partition(":"))
        if not (name and colon and text) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise MarotteError(f"line {number} of {path} is {line[:60]!r}: write it as `name: text`")
        entries.append((name, text))
    if not entries:
        raise MarotteError(f"{path} names no recordings: write a line `name: text` for each")
    return entries


def read_text(path: str | Path) -> str:
    """Return a text file's content; MarotteError where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise MarotteError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise MarotteError(f"{path} is not a text file in UTF-8: convert it") from error


def read_sound(path: str | Path) -> np.ndarray:
    """Return a file's sound [n] float32, mono at 16 kHz."""
    with open_audio(path) as source:
        return np.concatenate([np.zeros(0, np.float32), *mono_blocks(source, SAMPLE_RATE)])


def padded(speech: LabelledSpeech, seconds: float) -> LabelledSpeech:
    """Return the speech with so much silence before and after it."""
    count = round(seconds * SAMPLE_RATE)
    shift = count / SAMPLE_RATE
    return replace(
        speech,
        samples=np.pad(speech.samples, count),
        spans=tuple(Span(span.start + shift, span.end + shift, span.phone) for span in speech.spans),
    )


@cache
def _english() -> list[LabelledSpeech]:
    # Spoken once: espeak-ng speaks a sentence a little differently each time that it is asked.
    return _espeak("en-us", 3)


def _espeak(language: str, voices: int) -> list[LabelledSpeech]:
    """Each sentence by some of the held-out speakers in turn."""
    spoken = []
    for index, text in enumerate(TEXTS[language]):
        for turn in range(voices):
            count = index * voices + turn
            voice = f"{language}+{HELD_OUT[count % len(HELD_OUT)]}"
            spoken.append(padded(espeak.speak(text, voice, rate=_RATES[count % len(_RATES)]), _MARGIN))
    return spoken


def _flite(voice: str) -> list[LabelledSpeech]:
    return [padded(flite.speak(text, voice), _MARGIN) for text in TEXTS["en-us"]]


def _noisy() -> list[LabelledSpeech]:
    return [_with_noise(speech, 0.0, -_SNR, seed) for seed, speech in enumerate(_english())]


def _with_pauses() -> list[LabelledSpeech]:
    return [
        _with_noise(padded(speech, _PAUSE - _MARGIN), 0.5, _ROOM, seed)
        for seed, speech in enumerate(_espeak("en-us", 1))
    ]


def _with_noise(speech: LabelledSpeech, slope: float, level: float, seed: int) -> LabelledSpeech:
    """Add noise, see `nonspeech.coloured_noise`, of a level in dB against that of what is spoken."""
    spoken = speech.phones_at(np.arange(len(speech.samples)) / SAMPLE_RATE) > 0
    strength = np.sqrt(np.mean(speech.samples[spoken].astype(float) ** 2)) * 10 ** (level / 20)
    noise = nonspeech.coloured_noise(len(speech.samples), slope, np.random.default_rng(seed))
    return replace(speech, samples=(speech.samples + strength * noise).astype(np.float32))


def _unspoken(name: str, clip: np.ndarray) -> list[LabelledSpeech]:
    return [LabelledSpeech(clip, (), "", "", name, "recording")]
