"""Labelled English speech by flite: voices made from recordings of people."""

import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from scipy.signal import resample_poly

from marotte.errors import MarotteError
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.lipsync.corrections import Phone, flite_spans
from marotte.runtime.lipsync.labelled import LabelledSpeech
from marotte.runtime.lipsync.phonesets import from_arpabet

VOICES = ("awb", "kal", "kal16", "rms", "slt")
_SECONDS = 120  # after which flite hangs


def available() -> bool:
    """Whether flite is installed."""
    return shutil.which("flite") is not None


def speak(
    text: str,
    voice: str = "slt",
    *,
    stretch: float = 1.0,
    pitch: float | None = None,
    pitch_spread: float | None = None,
) -> LabelledSpeech:
    """Return `text` spoken in English, with its phones.

    stretch: how much slower than the voice speaks by itself. pitch, pitch_spread: mean and standard deviation
    of the fundamental in Hz; None for the voice's own, which rms always keeps.
    Raises MarotteError where flite is missing, does not know the voice, or fails.
    """
    if not available():
        raise MarotteError("flite was not found: install the Debian package flite")
    if voice not in VOICES:
        raise MarotteError(f"flite's voice {voice!r} is unknown: use one of {', '.join(VOICES)}")
    features = {"duration_stretch": stretch, "int_f0_target_mean": pitch, "int_f0_target_stddev": pitch_spread}
    settings = [w for name, value in features.items() if value is not None for w in ("--setf", f"{name}={value:.4f}")]
    with TemporaryDirectory(prefix="marotte-flite-") as folder:
        sound = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, *settings, "-psdur", "-t", text, "-o", str(sound)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
        if done.returncode or not sound.exists():
            raise MarotteError(f"flite could not speak {text[:60]!r} with voice {voice}: {done.stderr.strip()[:200]}")
        samples, rate = soundfile.read(sound, dtype="float32")
    phones = _phones(done.stdout)
    if rate != SAMPLE_RATE:
        samples = resample_poly(samples, SAMPLE_RATE, rate).astype(np.float32)
    return LabelledSpeech(samples, flite_spans(samples, phones), text, "en", voice, "flite")


def _phones(listing: str) -> list[Phone]:
    """Return the phones of flite's list of `name:end`, ends in seconds.

    The list of kal is up to 0.2 s longer than its sound: the last pause is cut short, the times hold.
    """
    names, ends = [], []
    for entry in listing.split():
        name, _, end = entry.rpartition(":")
        names.append(name)
        ends.append(float(end))
    classes = [from_arpabet(name) or (("SIL", 1.0),) for name in names]
    return [Phone(*phone) for phone in zip([0.0, *ends], ends, names, classes, strict=False)]
