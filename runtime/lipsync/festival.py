"""Labelled speech by festival, with the voices that Debian packs: all made from recordings of people."""

import re
import shutil
import subprocess
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from scipy.signal import resample_poly

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.lipsync.corrections import Phone, flite_spans
from marotte.runtime.lipsync.festival_phones import from_festival, plain_symbol
from marotte.runtime.lipsync.labelled import LabelledSpeech

# A text that takes longer hangs; festival's reader takes strings of so many bytes.
_SECONDS_EACH, _SECONDS_FIRST = 10, 60
_LONGEST = 4000


@dataclass(frozen=True)
class Voice:
    """A voice: the Debian package, the language, the phone set (see `festival_phones`), how it reads text.

    rescale: whether its times drift, by 0.3 %, so that they must be brought to the length of the sound. Those of
    other voices are right, but for a tail of 25 ms that sounds after the last.
    gain: of recorded diphones, so that their speech stays in scale.
    """

    package: str
    language: str
    phone_set: str
    encoding: str
    rescale: bool = False
    gain: float = 0.5


# festvox-mr-nsk is not here: it speaks Hindi's words with Hindi's diphones, sample for sample.
VOICES = {
    "kal_diphone": Voice("festvox-kallpc16k", "en", "radio", "ascii"),
    "ked_diphone": Voice("festvox-kdlpc16k", "en", "radio", "ascii"),
    "cmu_us_slt_arctic_hts": Voice("festvox-us-slt-hts", "en", "radio", "ascii"),
    "lp_diphone": Voice("festvox-italp16k", "it", "italian", "iso-8859-1", gain=0.2),
    "pc_diphone": Voice("festvox-itapc16k", "it", "italian", "iso-8859-1", gain=0.3),
    "czech_dita": Voice("festvox-czech-dita", "cs", "czech", "iso-8859-2"),
    "czech_krb": Voice("festvox-czech-krb", "cs", "czech", "iso-8859-2"),
    "czech_machac": Voice("festvox-czech-machac", "cs", "czech", "iso-8859-2"),
    "czech_ph": Voice("festvox-czech-ph", "cs", "czech", "iso-8859-2"),
    "hy_fi_mv_diphone": Voice("festvox-suopuhe-mv", "fi", "finnish", "iso-8859-1"),
    "suo_fi_lj_diphone": Voice("festvox-suopuhe-lj", "fi", "finnish", "iso-8859-1", gain=0.3),
    "upc_ca_ona_hts": Voice("festvox-ca-ona-hts", "ca", "catalan", "iso-8859-15"),
    "msu_ru_nsh_clunits": Voice("festvox-ru", "ru", "russian", "utf-8", rescale=True),
    "hindi_NSK_diphone": Voice("festvox-hi-nsk", "hi", "indic", "utf-8"),
    "telugu_NSK_diphone": Voice("festvox-te-nsk", "te", "indic", "utf-8"),
}

# Says each text and saves its sound and segments. Voices of hidden Markov models have their own clock and
# pitch; those of diphones take a stretch and let the pitch targets be scaled before they sound. They
# can run over full scale and come back at the other end: each recorded unit is lowered when first used, which
# lasts, as festival keeps it.
_SCRIPT = """
(voice.select '{voice})
(Parameter.set 'Duration_Stretch (* {stretch} (or (Parameter.get 'Duration_Stretch) 1.0)))
(define (scale_pitch utt)
  (if (member 'Target (utt.relationnames utt))
      (mapcar
       (lambda (target) (item.set_feat target 'f0 (* {pitch} (item.feat target 'f0))))
       (utt.relation.leafs utt 'Target)))
  utt)
(set! after_synth_hooks nil)
(set! concatenate us_unit_concat)
(set! lowered nil)
(define (lower sound)
  (let ((address (format nil "%l" sound)))
    (if (not (member_string address lowered))
        (begin
          (set! lowered (cons address lowered))
          (wave.rescale sound {gain})))))
(define (us_unit_concat utt)
  (mapcar (lambda (unit) (lower (item.feat unit 'sig))) (utt.relation.items utt 'Unit))
  (concatenate utt))
(set! after_analysis_hooks (append after_analysis_hooks (list scale_pitch)))
(if (boundp 'hts_engine_params)
    (set! hts_engine_params (append hts_engine_params '(("-r" {speed})))))
(define (say number text)
  (format stderr "@%d\\n" number)
  (unwind-protect
    (let ((utt (eval (list 'Utterance 'Text text))))
      (utt.synth utt)
      (utt.save.wave utt (format nil "%d.wav" number) 'riff)
      (utt.save.segs utt (format nil "%d.lab" number)))
    (format stderr "!%d\\n" number)))
"""


def voices() -> dict[str, str]:
    """Return the installed voices that are known here, and the language of each (as `en`); {} without festival."""
    program = shutil.which("festival")
    listed = () if program is None else _listed(program)
    return {name: voice.language for name, voice in VOICES.items() if name in listed}


@cache
def _listed(program: str) -> frozenset[str]:
    """Return the names of the voices that festival finds, asked once: it takes as long as to say a word."""
    command = [program, "--batch", '(mapcar (lambda (voice) (format t "%s\\n" voice)) (voice.list))']
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS_FIRST)
    return frozenset(done.stdout.split())


def speak_many(texts: Sequence[str], voice: str, *, stretch: float = 1.0, pitch: float = 1.0) -> list[LabelledSpeech]:
    """Return each of `texts` as `voice` (see `voices`) speaks it, with its phones, in the order given.

    A text that the voice cannot speak, or not whole, is left out: one without words, one with a pair of phones that
    were never recorded.
    stretch: how much slower than the voice speaks by itself; the Russian one does not heed it. pitch: times its own;
    only voices of diphones heed it.
    Raises MarotteError where festival or the voice is missing.
    """
    _check(voice)
    known = VOICES[voice]
    setup = _SCRIPT.format(voice=voice, stretch=stretch, pitch=pitch, speed=1 / stretch, gain=known.gain)
    readable = {number: text for number, text in enumerate(_readable(text, known.encoding) for text in texts) if text}
    spoken = []
    with TemporaryDirectory(prefix="marotte-festival-") as name:
        folder = Path(name)
        for number in _run(setup, readable, known.encoding, folder):
            speech = _load(folder, number, texts[number], voice)
            if speech is not None:
                spoken.append(speech)
    return spoken


def _check(voice: str) -> None:
    if voice not in VOICES:
        raise unknown_name("voice of festival", voice, VOICES)
    if shutil.which("festival") is None:
        raise MarotteError("festival was not found: install the Debian package festival")
    if voice not in voices():
        raise MarotteError(f"festival has no voice {voice!r}: install the Debian package {VOICES[voice].package}")


def _readable(text: str, encoding: str) -> str:
    """Return the text in one line, with only what the encoding has: other letters lose their marks, or go.

    Empty where nothing would be said: festival crashes at that.
    """
    shown = []
    for letter in unicodedata.normalize("NFC", text):
        options = (letter, unicodedata.normalize("NFKD", letter)[0], " ")
        shown.append(next(option for option in options if _fits(option, encoding)))
    line = " ".join("".join(shown).split())
    too_long = len(line.encode(encoding)) > _LONGEST
    return line if any(map(str.isalnum, line)) and not too_long else ""


def _fits(letter: str, encoding: str) -> bool:
    if unicodedata.category(letter) == "Cc":
        return False
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def quoted(text: str) -> str:
    """Return the text as a string of Scheme."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _run(setup: str, texts: dict[int, str], encoding: str, folder: Path) -> list[int]:
    """Say the texts into `folder`; return the numbers of those that were spoken whole.

    A text at which festival dies is left out and the others follow in a new process.
    """
    spoken: list[int] = []
    waiting = dict(texts)
    while waiting:
        script = setup + "".join(f"(say {number} {quoted(text)})\n" for number, text in waiting.items())
        (folder / "say.scm").write_bytes(script.encode(encoding))
        with (folder / "log").open("wb") as log:
            limit = _SECONDS_FIRST + _SECONDS_EACH * len(waiting)
            with suppress(subprocess.TimeoutExpired):
                command = ["festival", "--batch", "say.scm"]
                subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=log, timeout=limit)
        told = (folder / "log").read_text("latin-1")
        reports = {int(part.split("\n", 1)[0]): part for part in re.split(r"^@(?=\d+$)", told, flags=re.M)[1:]}
        if not reports:
            raise MarotteError(f"festival could not start: {told.strip()[-200:] or 'it said nothing'}")
        reached = max(reports)
        spoken += [number for number, report in reports.items() if _whole(report, folder / f"{number}.lab")]
        waiting = {number: text for number, text in waiting.items() if number > reached}
    return spoken


def _whole(report: str, labels: Path) -> bool:
    return labels.exists() and "default diphone" not in report and "\n!" not in report


def _load(folder: Path, number: int, text: str, voice: str) -> LabelledSpeech | None:
    """Read what festival saved of one text."""
    samples, rate = soundfile.read(folder / f"{number}.wav", dtype="float32")
    if rate != SAMPLE_RATE:
        samples = np.clip(resample_poly(samples, SAMPLE_RATE, rate), -1, 1).astype(np.float32)
    known = VOICES[voice]
    lines = (folder / f"{number}.lab").read_text("latin-1").splitlines()[1:]  # "end 100 symbol", after a header
    fields = [line.split(maxsplit=2) for line in lines]
    duration = len(samples) / SAMPLE_RATE
    scale = duration / float(fields[-1][0]) if known.rescale and fields else 1.0
    phones, start = [], 0.0
    for end, _, symbol in fields:
        classes = from_festival(symbol, known.phone_set)
        if classes is None:
            raise MarotteError(f"festival's voice {voice} wrote the phone {symbol!r}: add it to festival_phones")
        phones.append(Phone(start, float(end) * scale, plain_symbol(symbol, known.phone_set), classes))
        start = phones[-1].end
    if not phones:
        return None
    return LabelledSpeech(samples, flite_spans(samples, phones), text, known.language, voice, "festival")
