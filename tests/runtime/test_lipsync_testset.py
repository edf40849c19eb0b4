"""The speech that lip sync is tested with."""

import numpy as np
import pytest
import soundfile

from marotte.errors import MarotteError
from marotte.runtime.lipsync import espeak, flite, nonspeech, testset
from marotte.runtime.lipsync.labelled import LabelledSpeech, Span
from marotte.runtime.lipsync.texts import TEXTS, TRAINED, UNSEEN


def test_every_language_has_its_sentences():
    assert set(TEXTS) == {*TRAINED, *UNSEEN} and not set(TRAINED) & set(UNSEEN)
    for texts in TEXTS.values():
        assert len(texts) >= 12 and len(set(texts)) == len(texts)


def test_rows_are_spoken_by_voices_kept_from_training():
    try:
        assert set(testset.HELD_OUT) <= set(espeak.variants())
    except MarotteError as error:
        pytest.skip(str(error))
    rows = {row.name: row for row in testset.speech_rows()}
    assert sum(row.group == "espeak, languages never trained on" for row in rows.values()) == len(UNSEEN)
    for row in (rows["espeak ja"], rows["espeak en, white noise 10 dB"]):
        spoken = row.make()
        assert len(spoken) >= 2 * 12
        assert {one.voice.partition("+")[2] for one in spoken} == set(testset.HELD_OUT)
        assert all(one.spans[0].start == pytest.approx(0.3) for one in spoken)


def test_noise_has_the_level_that_it_says():
    try:
        rows = {row.name: row for row in testset.speech_rows()}
        quiet, noisy = rows["espeak en, unseen voices"].make()[5], rows["espeak en, white noise 10 dB"].make()[5]
    except MarotteError as error:
        pytest.skip(str(error))
    assert noisy.spans == quiet.spans
    spoken = quiet.phones_at(np.arange(len(quiet.samples)) / 16000) > 0
    noise = noisy.samples - quiet.samples
    assert 10 * np.log10(np.mean(quiet.samples[spoken] ** 2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)


def test_without_a_synthesiser_its_rows_say_what_to_install(monkeypatch):
    monkeypatch.setattr(flite, "available", lambda: False)
    (row,) = (row for row in testset.speech_rows() if row.name == "flite slt")
    with pytest.raises(MarotteError, match="install"):
        row.make()


def test_sound_without_speech_is_as_loud_as_speech_and_has_no_phones():
    rows = testset.nonspeech_rows()
    assert [row.name for row in rows] == ["hum, 50 Hz", "hum, 60 Hz", "hum, 100 Hz", "fan", "music", "breath"]
    for row in rows:
        (clip,) = row.make()
        assert not clip.spans and len(clip.samples) == 8 * 16000
        assert 20 * np.log10(np.sqrt(np.mean(clip.samples**2))) == pytest.approx(-26, abs=0.01)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(nonspeech.clips(1), nonspeech.clips(1), strict=True))


def test_padding_moves_sound_and_phones_together():
    speech = LabelledSpeech(np.ones(8000, np.float32), (Span(0.1, 0.4, "AA"),), "a", "en", "", "espeak")
    padded = testset.padded(speech, 0.25)
    assert len(padded.samples) == 16000 and not padded.samples[:4000].any() and padded.samples[4000:12000].all()
    assert (padded.spans[0].start, padded.spans[0].end) == pytest.approx((0.35, 0.65))


@pytest.mark.parametrize("line", ["no colon", ": text", "name:", "../up: text", "/etc/passwd: text"])
def test_a_transcript_of_another_form_is_refused(tmp_path, line):
    path = tmp_path / "all.txt"
    path.write_text(f"; about\n\none: hello\n{line}\n")
    with pytest.raises(MarotteError, match="line 4"):
        testset.read_transcript(path)


def test_a_transcript_names_recordings(tmp_path):
    path = tmp_path / "all.txt"
    path.write_text("; about\none: hello: you\n\nsub/two : And you.\n")
    assert testset.read_transcript(path) == [("one", "hello: you"), ("sub/two", "And you.")]
    path.write_text("\n")
    with pytest.raises(MarotteError, match="no recordings"):
        testset.read_transcript(path)
    path.write_bytes(b"one: \xff\xfe")
    with pytest.raises(MarotteError, match="UTF-8"):
        testset.read_transcript(path)


def test_recordings_that_cannot_be_used_say_why(tmp_path):
    pytest.importorskip("pocketsphinx", reason="pocketsphinx is not installed")
    soundfile.write(tmp_path / "one.wav", np.zeros(48000), 48000)
    (tmp_path / "two.wav").write_text("not a sound")
    (tmp_path / "all.txt").write_text("one: hello\ntwo: hello\nthree: hello\none: take 5\n")
    found = list(testset.recordings(tmp_path, tmp_path / "all.txt"))
    assert isinstance(found[0], LabelledSpeech) and found[0].voice == "one" and len(found[0].samples) == 16000
    assert [isinstance(one, MarotteError) for one in found] == [False, True, True, True]
    assert "two.wav" in str(found[1]) and "three" in str(found[2]) and "digits" in str(found[3])
