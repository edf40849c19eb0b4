"""The driver with the network that ships: the contract, and that its lips can be read."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from marotte.drivers.viseme import Viseme
from marotte.drivers.viseme_features import VisemeFeatures
from marotte.errors import MarotteError
from marotte.runtime.lipsync import espeak, flite
from marotte.runtime.lipsync.measure import measure, stillness
from marotte.runtime.lipsync.report import follow
from marotte.runtime.lipsync.testset import HELD_OUT, nonspeech_rows
from marotte.runtime.lipsync.texts import TEXTS
from marotte.runtime.testing import check_driver, check_features


def test_it_keeps_the_contract():
    check_driver(Viseme())
    check_features(VisemeFeatures())


def test_lips_follow_a_voice_that_was_never_trained_on():
    try:
        espeak.voices()
    except MarotteError as error:
        pytest.skip(str(error))
    speech = [espeak.speak(text, f"en-us+{HELD_OUT[i % 7]}") for i, text in enumerate(TEXTS["en-us"][:7])]
    figures = measure(follow(Viseme(), speech))
    assert figures.recall.value > 0.9 and figures.precision.value > 0.85
    assert figures.openness.value > 0.7 and figures.rounding.value > 0.85 and abs(figures.lag.value) < 15


def test_lips_follow_another_synthesiser():
    if not flite.available():
        pytest.skip("flite is not installed")
    figures = measure(follow(Viseme(), [flite.speak(text, "rms") for text in TEXTS["en-us"][:5]]))
    assert figures.recall.value > 0.85 and figures.precision.value > 0.8 and figures.openness.value > 0.65


@pytest.mark.parametrize("row", nonspeech_rows(), ids=lambda row: row.name)
def test_what_is_no_speech_leaves_the_mouth_shut(row):
    assert stillness([track for track, _ in follow(Viseme(), row.make())]).largest_gap < 0.11


def test_silence_and_loudness():
    speech, _ = soundfile.read(Path(__file__).parents[2] / "demos" / "speech.wav", dtype="float32", frames=64000)
    silent = Viseme().open().feed(np.zeros(32000, np.float32))
    assert np.abs(np.diff(silent.codes, axis=0)).max() == 0
    loud, quiet = (Viseme().open().feed(speech * gain).jaw[:, 0] for gain in (1.0, 0.1))
    assert np.corrcoef(loud[50:], quiet[50:])[0, 1] > 0.95
