"""Labelled speech by festival: the phone maps are whole, texts are only text, and labels lie where the sound is."""

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.viseme.phones import INDEX, PHONES
from marotte.runtime.lipsync import festival
from marotte.runtime.lipsync.festival_phones import PHONE_SETS, from_festival, plain_symbol

DEMOS = Path(__file__).parents[2] / "demos"
TEXTS = {
    "en": "My brother bought a pair of brown boots, for a big party at the bay.",
    "it": "Il bambino mangia pane e miele, perché papà ha comprato molta pasta.",
    "cs": "Maminka upekla babičce šťavnatý koláč, protože má ráda povidla.",
    "fi": "Pappa pesi mökin ikkunat, mutta mummo söi kalaa pöydän ääressä.",
    "ca": "El meu pare viu a la platja, però la mare prefereix la muntanya.",
    "ru": "Мама мыла раму, а папа пил чай и смотрел в большое окно.",
    "hi": "मेरा भाई बाज़ार से आम लाया, और माँ ने पानी पिया।",
    "te": "పాప బాబు మామ, తాత పాలు కాలు బలమైన మాట.",
}
needs_festival = pytest.mark.skipif(shutil.which("festival") is None, reason="festival is not installed")
HOSTILE = 'he said "(system \\"touch harmed\\")" \\ ) )) (error) \\" and left. ' + "(exit)"


@pytest.fixture(scope="module")
def installed():
    found = festival.voices()
    if not found:
        pytest.skip("no voice of festival is installed")
    return found


@pytest.fixture(scope="module")
def english(installed):
    if "kal_diphone" not in installed:
        pytest.skip("festvox-kallpc16k is not installed")
    return "kal_diphone"


def test_every_phone_of_every_voice_has_classes(installed):
    script = "".join(
        f"(voice.select '{name}) (print (cons '{name} (mapcar car (cadr (assoc 'phones (PhoneSet.description))))))"
        for name in installed
    )
    command = ["festival", "--batch", f"(begin {script})"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert len(listed) == len(installed)
    for line in listed:
        name, *phones = re.sub(r"[()]", " ", line).split()
        assert len(phones) > 25
        for phone in phones:
            shares = from_festival(phone, festival.VOICES[name].phone_set)
            assert shares is not None, (name, phone)
            assert all(label in INDEX for label, _ in shares)
            assert sum(share for _, share in shares) == pytest.approx(1)


@needs_festival
@pytest.mark.parametrize("name", sorted(festival.VOICES))
def test_labels_fit_the_sound(name, installed):
    if name not in installed:
        pytest.skip(f"{festival.VOICES[name].package} is not installed")
    language = installed[name]
    (speech,) = festival.speak_many([TEXTS[language]], name)
    assert (speech.language, speech.voice, speech.synthesiser) == (language, name, "festival")
    assert speech.samples.dtype == np.float32 and np.abs(speech.samples).max() <= 1
    seconds = len(speech.samples) / 16000
    assert 2 < seconds < 12
    assert speech.spans[0].start == 0 and speech.spans[-1].end == pytest.approx(seconds, abs=1e-6)
    for before, after in zip(speech.spans, speech.spans[1:], strict=False):
        assert before.start < before.end <= after.start
    assert {"PB", "M"} <= {span.phone for span in speech.spans}
    assert contrast(speech, 0.0) > max(contrast(speech, -0.06), contrast(speech, 0.06))


def contrast(speech, late):
    """How many dB louder vowels are than stops and silence, with the labels moved by `late` seconds."""
    hop = 160
    frames = speech.samples[: len(speech.samples) // hop * hop].reshape(-1, hop)
    level = 10 * np.log10(np.mean(frames**2, 1) + 1e-9)
    phones = speech.phones_at((np.arange(len(level)) + 0.5) * hop / 16000 - late)
    vowels = np.isin(phones, range(INDEX["IY"], len(PHONES)))
    shut = np.isin(phones, [INDEX[phone] for phone in ("SIL", "PB", "TD", "KG")])
    return level[vowels].mean() - level[shut].mean()


def test_stretch_and_pitch_are_heeded(english):
    text = [TEXTS["en"]]
    plain, slow, high = (
        festival.speak_many(text, english, **settings)[0] for settings in ({}, {"stretch": 1.5}, {"pitch": 1.4})
    )
    assert len(slow.samples) / len(plain.samples) == pytest.approx(1.5, rel=0.05)
    assert len(high.samples) == pytest.approx(len(plain.samples), rel=0.02)
    assert pitch(high) / pitch(plain) == pytest.approx(1.4, rel=0.1)


def pitch(speech):
    """The mean fundamental in Hz by autocorrelation of the louder half of 40 ms frames."""
    frames = speech.samples[: len(speech.samples) // 640 * 640].reshape(-1, 640)
    loud = frames[np.square(frames).sum(1) > np.median(np.square(frames).sum(1))]
    found = []
    for frame in loud:
        match = np.correlate(frame, frame, "full")[639:]
        best = 40 + int(match[40:230].argmax())
        if match[best] > 0.5 * match[0]:
            found.append(16000 / best)
    return np.median(found)


def test_a_text_is_only_a_text(english, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = [
        "one small boat",
        HOSTILE,
        "",
        "...",
        "two\0three\nfour",
        "naïve “quotes” — and 日本語",
        "x" * 50000,
        "the end",
    ]
    spoken = festival.speak_many(texts, english)
    assert [speech.text for speech in spoken] == [texts[0], HOSTILE, texts[4], texts[5], texts[7]]
    assert not list(tmp_path.rglob("harmed"))


def test_a_text_that_kills_festival_does_not_take_the_others(english, monkeypatch):
    monkeypatch.setattr(festival, "_readable", lambda text, _: text or " ")
    spoken = festival.speak_many(["one", "", "two", "", "three"], english)
    assert [speech.text for speech in spoken] == ["one", "two", "three"]


@pytest.mark.skipif(not festival.voices().get("lp_diphone"), reason="festvox-italp16k is not installed")
def test_a_loud_voice_stays_in_scale():
    spoken = festival.speak_many([TEXTS["it"], "Quattro ragazze andarono adagio a Roma."], "lp_diphone")
    for speech in spoken:
        assert np.abs(np.diff(speech.samples)).max() < 0.9


def test_what_is_missing_is_named(monkeypatch):
    with pytest.raises(MarotteError, match="kal_diphone"):
        festival.speak_many(["a"], "kal_diphon")
    monkeypatch.setattr(festival, "voices", dict)
    if shutil.which("festival"):
        with pytest.raises(MarotteError, match="festvox-itapc16k"):
            festival.speak_many(["a"], "pc_diphone")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MarotteError, match="install the Debian package festival"):
        festival.speak_many(["a"], "kal_diphone")


def test_unvoiced_stops_are_known_in_every_phone_set():
    for phone_set in PHONE_SETS:
        for letter, label in {"p": "PB", "k": "KG"}.items():
            assert plain_symbol(letter, phone_set) == letter
            assert from_festival(letter, phone_set) == ((label, 1.0),)
        assert from_festival("no such phone", phone_set) is None


@pytest.fixture
def texts_of(monkeypatch):
    pytest.importorskip("wordfreq")
    monkeypatch.syspath_prepend(str(DEMOS))
    monkeypatch.delitem(sys.modules, "viseme_festival_text", raising=False)
    import viseme_festival_text

    return viseme_festival_text


@pytest.mark.parametrize("language", sorted({voice.language for voice in festival.VOICES.values()} - {"en"}))
def test_training_texts_are_sentences_of_the_language(texts_of, language):
    made = texts_of.festival_texts(language, random.Random(3), 200)
    assert made == texts_of.festival_texts(language, random.Random(3), 200)
    assert len(set(made)) == 200
    assert all(5 <= len(text.split()) <= 12 for text in made)
    assert 40 < sum("," in text for text in made) < 120
    encodings = [voice.encoding for voice in festival.VOICES.values() if voice.language == language]
    for text in made:
        for encoding in encodings:
            text.encode(encoding)
