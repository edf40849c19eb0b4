"""The training speech of the viseme network: who says what, how much of it, and where it is kept.

It is made piece by piece, each from its own seed, by as many processes as there are cores; a piece that lies in
the working folder is not made again.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm
from viseme_augment import Clip, clip, negative
from viseme_festival_text import festival_texts
from viseme_texts import ESPEAK_VOICES, sentence

from marotte.errors import MarotteError
from marotte.runtime.lipsync import espeak, festival, flite
from marotte.runtime.lipsync.labelled import LabelledSpeech
from marotte.runtime.lipsync.testset import HELD_OUT

PIECE_SECONDS = 60
LONGEST = 12.0
COPIES = 3
NEGATIVES = 0.10

# Minutes of distinct speech, and how often it is drawn in training. Voices recorded from people are few and count
# more, for they sound like the speech that users have.
MINUTES = {"espeak-en": 150, "espeak-other": 250, "flite": 160, "festival": 150}
SHARES = {"espeak-en": 0.22, "espeak-other": 0.30, "flite": 0.22, "festival": 0.26}


@dataclass(frozen=True)
class Piece:
    """About a minute of distinct speech: source, the voice for those that have few, and a number."""

    source: str
    voice: str
    number: int

    def seed(self, base: int) -> int:
        """Return this piece's own seed."""
        return int.from_bytes(hashlib.sha256(f"{base} {self}".encode()).digest()[:8], "little")


def pieces(minutes: float, leave_out: tuple[str, ...]) -> list[Piece]:
    """Return what is to be made. minutes: factor on MINUTES; leave_out: `espeak`, `flite` or `festival`."""
    chosen = []
    for source, total in MINUTES.items():
        if source.partition("-")[0] in leave_out:
            continue
        count = max(1, round(total * minutes * 60 / PIECE_SECONDS))
        voices = {"flite": flite.VOICES, "festival": tuple(sorted(festival.voices()))}.get(source, ("",))
        chosen += [Piece(source, voices[number % len(voices)], number) for number in range(count)]
    return chosen


def make(chosen: list[Piece], folder: Path, seed: int, filters: np.ndarray, processes: int) -> dict[str, list[Path]]:
    """Make the pieces that are missing; return the files by source."""
    folder.mkdir(parents=True, exist_ok=True)
    # espeak-ng's speech depends a little on what the process said before: each process has its own, fixed, row.
    rows = [chosen[first::processes] for first in range(processes)]
    with get_context("spawn").Pool(processes) as pool:
        work = partial(_make_row, folder=folder, seed=seed, filters=filters)
        made = dict(pair for row in pool.imap_unordered(work, enumerate(rows), chunksize=1) for pair in row)
    files: dict[str, list[Path]] = {}
    for piece in chosen:
        files.setdefault(piece.source, []).append(made[piece])
    return files


def read(paths: list[Path]) -> Clip:
    """Return all clips of some files, end to end."""
    parts = []
    for path in paths:
        with np.load(path) as file:
            parts.append([file[name] for name in ("mels", "phone", "voicing", "effort")])
    return Clip(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _make_row(
    numbered: tuple[int, list[Piece]], *, folder: Path, seed: int, filters: np.ndarray
) -> list[tuple[Piece, Path]]:
    number, row = numbered
    return [
        (piece, _make(piece, folder, seed, filters))
        for piece in tqdm(row, desc=f"speech {number + 1}", unit="min", position=number)
    ]


def _make(piece: Piece, folder: Path, seed: int, filters: np.ndarray) -> Path:
    own = piece.seed(seed)
    path = folder / f"{piece.source}-{piece.voice}-{piece.number}-{own:x}.npz"
    if path.exists():
        return path
    rng = np.random.default_rng(own)
    speech = list(_speech(piece, random.Random(own)))
    voices = [part.samples.astype(np.float64) for part in speech]
    clips = []
    for part in speech:
        clips += [clip(part, rng, filters, voices, clean=copy == 0) for copy in range(COPIES)]
        if rng.random() < NEGATIVES * COPIES:
            clips.append(negative(rng.uniform(2, 8), rng, filters, voices))
    whole = Clip(*(np.concatenate(arrays) for arrays in zip(*(vars(c).values() for c in clips), strict=True)))
    part_file = path.with_suffix(".part")
    with part_file.open("wb") as file:
        np.savez(file, **vars(whole))
    part_file.rename(path)
    return path


def _speech(piece: Piece, rng: random.Random) -> Iterator[LabelledSpeech]:
    """Yield utterances of up to LONGEST seconds until there is a minute of them."""
    total = 0.0
    for _ in range(10 * PIECE_SECONDS):
        if total >= PIECE_SECONDS:
            return
        for speech in _utterances(piece, rng):
            seconds = len(speech.samples) / 16000
            if seconds > 0.5:
                total += min(seconds, LONGEST)
                yield _shortened(speech)
    raise MarotteError(f"{piece} makes no speech: try its synthesiser by hand")


def _utterances(piece: Piece, rng: random.Random) -> list[LabelledSpeech]:
    match piece.source:
        case "flite":
            said = sentence("en", rng)
            pitch = rng.uniform(80, 220) if rng.random() < 0.4 else None
            return [flite.speak(said, piece.voice, stretch=rng.uniform(0.8, 1.3), pitch=pitch)]
        case "festival":
            language = festival.VOICES[piece.voice].language
            said = [sentence("en", rng) for _ in range(8)] if language == "en" else festival_texts(language, rng, 8)
            stretch, pitch = rng.uniform(0.8, 1.3), rng.uniform(0.85, 1.2)
            return festival.speak_many(said, piece.voice, stretch=stretch, pitch=pitch)
    language = "en" if piece.source == "espeak-en" else rng.choice([name for name in ESPEAK_VOICES if name != "en"])
    voice = rng.choice(ESPEAK_VOICES[language])
    variants = [name for name in espeak.variants() if name not in HELD_OUT]
    if rng.random() < 0.9:
        voice += "+" + rng.choice(variants)
    try:
        return [
            espeak.speak(
                sentence(language, rng),
                voice,
                rate=rng.randint(110, 270),
                pitch=rng.randint(15, 90),
                pitch_range=rng.randint(10, 90),
            )
        ]
    except MarotteError:  # a variant that this language does not take
        return []


def _shortened(speech: LabelledSpeech) -> LabelledSpeech:
    if len(speech.samples) <= LONGEST * 16000:
        return speech
    spans = tuple(span for span in speech.spans if span.end <= LONGEST)
    return LabelledSpeech(
        speech.samples[: int(LONGEST * 16000)], spans, speech.text, speech.language, speech.voice, speech.synthesiser
    )
