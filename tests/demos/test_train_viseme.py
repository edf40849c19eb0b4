"""The training of the viseme network: what it is fed, what it learns from, and that what it exports is what it was."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

from marotte.models.viseme.mel import MelStream
from marotte.models.viseme.network import VisemeNetwork
from marotte.models.viseme.phones import INDEX, SILENCE
from marotte.runtime.lipsync.labelled import LabelledSpeech, Span
from marotte.runtime.lipsync.texts import TEXTS

sys.path.insert(0, str(Path(__file__).parents[2] / "demos"))


@pytest.fixture(scope="module")
def filters() -> np.ndarray:
    """Any 40 bands will do here."""
    bands = np.zeros((40, 257), np.float32)
    for band, start in enumerate(np.linspace(3, 230, 40).astype(int)):
        bands[band, start : start + 6] = 1 / 6
    return bands


@pytest.fixture(scope="module")
def beeps() -> LabelledSpeech:
    """Silence, an "aa" that is a tone of harmonics, silence, a hiss, silence."""
    time = np.arange(16000 * 2) / 16000
    sound = np.where(
        (time > 0.5) & (time < 0.9),
        sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20)),
        np.where((time > 1.3) & (time < 1.6), 0.5 * np.random.default_rng(0).standard_normal(len(time)), 0),
    )
    spans = (Span(0.5, 0.9, "AA"), Span(1.3, 1.6, "SZ"))
    return LabelledSpeech((0.2 * sound).astype(np.float32), spans, "", "en", "beep", "flite")


def level(clip) -> np.ndarray:
    return clip.mels.astype(np.float32).mean(axis=1)


@pytest.mark.parametrize("seed", range(12))
def test_labels_follow_the_sound_through_every_recording(seed, beeps, filters):
    from viseme_augment import clip

    made = clip(beeps, np.random.default_rng(seed), filters, [beeps.samples], clean=seed % 4 == 0)
    assert len(made.mels) == len(made.phone) == len(made.voicing) == len(made.effort)
    spoken = made.phone != SILENCE
    loud = level(made)
    # The onset is where the level rises most from one 50 ms to the next.
    rises = [loud[k : k + 5].mean() - loud[k - 5 : k].mean() for k in range(5, len(loud) - 5)]
    near = np.abs(np.flatnonzero(np.diff(spoken.astype(int)) == 1)[:, None] - (5 + int(np.argmax(rises)))).min()
    assert near <= 4
    assert made.voicing[made.phone == INDEX["AA"]].mean() > 0.8 and made.voicing[~spoken].max() == 0
    assert made.effort[spoken].mean() > made.effort[~spoken].mean() + 0.3


def test_codecs_keep_time(beeps):
    import viseme_augment

    rng = np.random.default_rng(3)
    sound = np.concatenate([np.zeros(4000), beeps.samples, np.zeros(4000)]).astype(np.float64)
    for _ in range(14):
        sent = viseme_augment.coded(sound, rng)
        assert len(sent) == len(sound)
        match = np.correlate(sent[2000:-2000], sound, "valid")
        assert abs(int(np.argmax(match)) - 2000) <= 8
        assert np.corrcoef(sent, sound)[0, 1] > 0.5


@pytest.mark.parametrize("seed", range(14))
def test_what_is_no_speech_is_labelled_silence(seed, beeps, filters):
    from viseme_augment import negative

    made = negative(2.0, np.random.default_rng(seed), filters, [beeps.samples.astype(np.float64)])
    assert len(made.mels) == 200 and (made.phone == SILENCE).all() and np.isfinite(made.mels).all()


def test_no_test_sentence_is_trained_on():
    pytest.importorskip("wordfreq", reason="wordfreq is not installed")
    pytest.importorskip("pypinyin", reason="pypinyin is not installed")
    from viseme_texts import ESPEAK_VOICES, sentence

    tested = {
        tuple(words[at : at + 4])
        for texts in TEXTS.values()
        for text in texts
        for words in [text.lower().strip(".?!").split()]
        for at in range(len(words) - 3)
    }
    rng = random.Random(0)
    for language in ESPEAK_VOICES:
        for _ in range(50):
            words = sentence(language, rng).lower().strip(".?!").split()
            assert not any(tuple(words[at : at + 4]) in tested for at in range(len(words) - 3))
    assert sentence("de", random.Random(7)) == sentence("de", random.Random(7))


def test_what_is_exported_is_what_was_trained(tmp_path, beeps, filters):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from viseme_torch import Network, export

    torch.manual_seed(0)
    network = Network().eval()
    for norm in network.norms:  # as after training, where they are not the identity
        norm.running_mean.uniform_(-0.5, 0.5)
        norm.running_var.uniform_(0.5, 2)
    for mix in network.mixes:
        torch.nn.init.normal_(mix.weight, std=0.05)
    path = tmp_path / "net.safetensors"
    export(network, filters, path, {"seed": "0"})
    stream = VisemeNetwork.load(path).open()
    rows = stream.feed(beeps.samples)

    # A stream begins in silence.
    filters = filters.astype(np.float16).astype(np.float32)
    silence, mels = (MelStream(filters).feed(sound)[0] for sound in (np.zeros(320), beeps.samples))
    mels = np.concatenate([np.tile(silence, (150, 1)), mels])
    with torch.no_grad():
        out = network(torch.from_numpy(mels.reshape(-1, 80).T.copy())[None])[0].T.numpy()
    # Row i is what the network says two rows later; the export rounds to float16.
    np.testing.assert_allclose(rows.logits, out[150 + 2 :, :29], atol=0.02)


def test_training_learns(tmp_path, beeps, filters, monkeypatch):
    pytest.importorskip("torch", reason="torch is not installed")
    import viseme_torch
    from viseme_augment import Clip, clip
    from viseme_torch import Crops, train

    monkeypatch.setattr(viseme_torch, "BATCH", 8)
    rng = np.random.default_rng(0)
    clips = [clip(beeps, rng, filters, [beeps.samples], clean=True) for _ in range(6)]
    whole = Clip(*(np.concatenate(arrays) for arrays in zip(*(vars(c).values() for c in clips), strict=True)))
    log = tmp_path / "log.txt"
    network = train(Crops([(1.0, whole)], 0), 12, 0, log, report_every=4)
    losses = [float(line.split()[3]) for line in log.read_text().splitlines()]
    assert len(losses) == 3 and losses[-1] < 0.8 * losses[0]
    assert not network.training
