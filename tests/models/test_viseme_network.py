from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from marotte.errors import MarotteError
from marotte.models.viseme.kernels import dense
from marotte.models.viseme.mel import MelStream
from marotte.models.viseme.network import FORMAT, LOOKAHEAD, ROW, WEIGHTS, Rows, VisemeNetwork
from marotte.models.viseme.phones import INDEX, OPENNESS, PHONES, VOWELS, mask

SPEECH = Path(__file__).parents[2] / "demos" / "speech.wav"


@pytest.fixture(scope="module")
def network() -> VisemeNetwork:
    return VisemeNetwork.load()


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return soundfile.read(SPEECH, dtype="float32", frames=48000)[0]


def heard(network: VisemeNetwork, samples: np.ndarray, cuts: list[int] | None = None) -> Rows:
    stream = network.open()
    parts = [stream.feed(part) for part in np.split(samples, cuts or [])] + [stream.finish()]
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))


def same(a: Rows, b: Rows) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_the_classes_are_29_and_vowels_are_open():
    assert len(PHONES) == 29 and len(set(PHONES)) == 29 and PHONES[0] == "SIL"
    assert OPENNESS[mask(VOWELS)].min() > OPENNESS[[INDEX["PB"], INDEX["M"], INDEX["SIL"], INDEX["FV"]]].max()


def test_the_product_is_that_of_numpy():
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((19, 240), (240, 31), (31,)))
    x[rng.random(x.shape) < 0.5] = 0
    np.testing.assert_allclose(dense(x, weight, bias), x @ weight + bias, atol=1e-4)


@settings(max_examples=25, deadline=None)
@example(cuts=[320, 320])
@given(cuts=st.lists(st.integers(0, 48000), max_size=12).map(sorted))
def test_packets_change_nothing(network, speech, cuts):
    parts, whole = heard(network, speech, cuts), heard(network, speech)
    assert same(parts, whole)


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 321, 1000])
def test_rows_cover_the_sound(network, samples):
    rows = heard(network, np.zeros(samples, np.float32))
    assert len(rows) == -(-samples // ROW)
    assert rows.logits.shape == (len(rows), 29) and rows.level.shape == rows.effort.shape == (len(rows),)


def test_a_row_hears_60_ms_beyond_its_time_and_no_more(network, speech):
    row = 80
    limit = row * ROW + round(LOOKAHEAD * 16000)
    other = speech.copy()
    other[limit:] = 0.3 * np.random.default_rng(1).standard_normal(len(other) - limit)
    one, two = heard(network, speech), heard(network, other)
    assert same(one[: row + 1], two[: row + 1])
    assert not same(one[: row + 2], two[: row + 2])
    stream = network.open()
    assert len(stream.feed(speech[:limit])) == row + 1


def test_a_speaker_is_forgotten(network, speech):
    stream = network.open()
    stream.feed(speech)
    stream.reset()
    again = stream.feed(speech)
    assert same(again, heard(network, speech)[: len(again)])


def test_the_same_voice_is_heard_near_and_far(network, speech):
    near, far = heard(network, speech), heard(network, speech * 0.05)
    agree = near.logits.argmax(1)[50:] == far.logits.argmax(1)[50:]
    assert agree.mean() > 0.95


def test_mels_are_independent_of_what_comes_later(network):
    sound = np.random.default_rng(2).standard_normal(8000).astype(np.float32) * 0.1
    mels, levels = MelStream(network.filters).feed(sound)
    shorter, _ = MelStream(network.filters).feed(sound[:4000])
    assert len(mels) == len(levels) == 50
    assert np.array_equal(mels[:25], shorter)


def test_silence_is_heard_as_silence(network):
    rows = heard(network, np.zeros(32000, np.float32))
    assert (rows.logits.argmax(1)[5:] == INDEX["SIL"]).all()
    assert rows.voicing[5:].max() < 0.1 and rows.effort[5:].max() < 0.15


def test_the_weights_are_small(network):
    assert WEIGHTS.stat().st_size <= 4_000_000
    assert network.parameters <= 2_000_000
    assert all(array.dtype == np.float16 for array in load_file(WEIGHTS).values())


def test_torch_says_the_same(network, speech):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    functional = torch.nn.functional

    def convolved(layer, x, dilation=1, taps=3):
        weight = torch.from_numpy(layer.weight).reshape(taps, -1, layer.weight.shape[1]).permute(2, 1, 0)
        padded = functional.pad(x, ((taps - 1) * dilation, 0))
        return functional.conv1d(padded, weight.contiguous(), torch.from_numpy(layer.bias), dilation=dilation)

    silence, mels = (MelStream(network.filters).feed(sound)[0] for sound in (np.zeros(ROW), speech))
    mels = np.concatenate([np.tile(silence, (150, 1)), mels])
    h = convolved(network.first, torch.from_numpy(mels.reshape(-1, 80).T.copy())[None])
    for block in network.blocks:
        seen = torch.relu(convolved(block.taps, torch.relu(h), block.dilation))
        h = h + convolved(block.mix, seen, taps=1)
    out = convolved(network.last, torch.relu(h), taps=1)[0].T.numpy()[150 + 2 :]
    rows = heard(network, speech)
    np.testing.assert_allclose(rows.logits[: len(out)], out[:, :29], atol=2e-4)


def test_files_that_are_no_network_are_named(tmp_path):
    with pytest.raises(MarotteError, match=r"none\.safetensors does not exist"):
        VisemeNetwork.load(tmp_path / "none.safetensors")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"\xff" * 100)
    with pytest.raises(MarotteError, match="cannot be read"):
        VisemeNetwork.load(junk)
    other = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(3, np.float16)}, other, {"format": "pt"})
    with pytest.raises(MarotteError, match="format is 'pt'"):
        VisemeNetwork.load(other)
    arrays = load_file(WEIGHTS)
    save_file({**arrays, "last.bias": arrays["last.bias"][:5]}, other, {"format": FORMAT, "dilations": "1,2"})
    with pytest.raises(MarotteError, match=r"last\.bias has shape"):
        VisemeNetwork.load(other)
