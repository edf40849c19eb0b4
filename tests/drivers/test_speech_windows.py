"""Windows of logits: our phones, recordings, and ONNX models that the tests make themselves."""

import warnings
from fractions import Fraction

import numpy as np
import pytest

from marotte.drivers.speech_windows import OnnxWindows, PhoneWindows, RecordedWindows, windows_of, write_windows
from marotte.drivers.speech_windows_rows import WIDTH, WindowRows
from marotte.drivers.viseme_features import VisemeFeatures
from marotte.errors import MarotteError, MarotteWarning
from marotte.models.gaussian_talker.windows import context, read_windows, rows_to_windows
from marotte.runtime import join
from marotte.runtime.audio.deepspeech import WIDTH as SEEN
from marotte.runtime.audio.deepspeech import as_int16, logit_count, mfcc, net_input, resampled, row_count
from marotte.runtime.contracts import FeatureNeed
from marotte.runtime.talker_features import choose
from marotte.runtime.testing import check_features, speech_like

SECONDS = 2.3


def rows_in_packets(features, sound, *sizes):
    """All rows, fed in packets of these sizes in turn, and how many had come after each packet."""
    stream, parts, heard, first = features.open(), [], [], 0
    while first < len(sound):
        size = sizes[len(parts) % len(sizes)]
        parts.append(stream.feed(sound[first : first + size]))
        first += size
        heard.append((min(first, len(sound)), sum(map(len, parts))))
    return np.concatenate([*parts, stream.finish()]), heard


def waits_as_promised(features, sound):
    """Rows come no later than the lookahead promises, and the last to come not much earlier."""
    _, heard = rows_in_packets(features, sound, 160)
    # Row n - 1 was the last to come; row n is owed at its own time and the lookahead.
    waits = [samples / 16000 - rows / 50 for samples, rows in heard[:-1] if rows]
    assert features.lookahead - 0.03 < max(waits) <= features.lookahead + 1e-9


@pytest.fixture(scope="module")
def phones():
    return PhoneWindows()


class TestRows:
    @pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 9, 16, 17, 40, 41])
    def test_even_rows_are_the_published_windows(self, count):
        logits = np.random.default_rng(count).standard_normal((count, 29)).astype(np.float32)
        want = rows_to_windows(logits) if count else np.zeros((0, 29, 16), np.float32)
        for sizes in ((count or 1,), (1,), (3, 5)):
            stream, parts, first = WindowRows(), [], 0
            while first < count:
                size = sizes[len(parts) % len(sizes)]
                parts.append(stream.feed(logits[first : first + size]))
                first += size
            got = np.concatenate([*parts, stream.finish()])
            assert got.dtype == np.float32 and got.shape == (2 * len(want), WIDTH)
            assert np.array_equal(got[::2].reshape(-1, 29, 16), want)

    def test_odd_rows_are_a_row_later(self):
        logits = np.arange(1, 21 * 29 + 1, dtype=np.float32).reshape(21, 29)
        stream = WindowRows()
        got = np.concatenate([stream.feed(logits), stream.finish()]).reshape(-1, 29, 16)
        assert np.array_equal(got[9], logits[1:17].T)
        assert np.array_equal(got[1, :, 7:], logits[:9].T) and not got[1, :, :7].any()
        assert not got[19, :, 9:].any() and np.array_equal(got[19, :, :9], logits[11:20].T)

    def test_reset(self):
        logits = np.random.default_rng(0).standard_normal((30, 29))
        stream = WindowRows()
        once = [stream.feed(logits), stream.finish()]
        stream.reset()
        again = [stream.feed(logits), stream.finish()]
        assert all(map(np.array_equal, once, again))


class TestPhones:
    def test_contract(self, phones):
        check_features(phones)
        waits_as_promised(phones, speech_like(SECONDS))

    @pytest.mark.parametrize("samples", [0, 1, 320, 321, 5000, 36800])
    def test_are_the_windows_of_the_logits(self, phones, samples):
        sound = speech_like(SECONDS)[:samples]
        stream = VisemeFeatures().open()
        logits = np.concatenate([stream.feed(sound), stream.finish()])
        want = rows_to_windows(logits) if len(logits) else np.zeros((0, 29, 16), np.float32)
        assert np.array_equal(windows_of(phones, sound), want)
        packets, _ = rows_in_packets(phones, sound, 1000, 1, 333) if samples else (np.zeros((0, WIDTH)), None)
        assert np.array_equal(packets[::2].reshape(-1, 29, 16), want)

    def test_frames_hear_the_published_context(self, phones):
        sound, need = speech_like(SECONDS), choose("phones", "marotte-phones")
        windows = windows_of(phones, sound)
        joined = join.FeatureJoin(phones, need, Fraction(25))
        joined.feed(sound)
        joined.finish()
        frames = len(windows) + 6  # beyond the end too
        got = joined.windows(0, frames).reshape(frames, 8, 29, 16)
        assert np.array_equal(got, context(windows, np.arange(frames)))

    def test_only_windows_have_windows(self):
        with pytest.raises(MarotteError, match="29 numbers at 50 Hz, not windows"):
            windows_of(VisemeFeatures(), np.zeros(100, np.float32))


class TestRecorded:
    @pytest.fixture
    def recording(self, phones, tmp_path):
        sound = speech_like(SECONDS)
        write_windows(tmp_path / "aud_ds.npy", windows_of(phones, sound))
        return tmp_path / "aud_ds.npy", sound

    def test_the_file_is_as_published(self, phones, recording):
        path, sound = recording
        stored = np.load(path, allow_pickle=False)
        windows = windows_of(phones, sound)
        assert stored.dtype == np.float64 and np.array_equal(stored, windows.transpose(0, 2, 1))
        assert np.array_equal(read_windows(path), windows)
        assert [p.name for p in path.parent.iterdir()] == ["aud_ds.npy"]

    def test_gives_back_what_was_recorded(self, phones, recording):
        path, sound = recording
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got, heard = rows_in_packets(RecordedWindows(path), sound, 160, 7)
        want, _ = rows_in_packets(phones, sound, 4000)
        assert len(got) == -(-len(sound) // 320) and np.array_equal(got[: len(want)], want)
        assert not got[len(want) :].any()
        assert all(rows == -(-samples // 320) for samples, rows in heard)

    def test_contract(self, recording):
        with pytest.warns(MarotteWarning):
            check_features(RecordedWindows(recording[0]))

    def test_sound_that_goes_on(self, recording):
        path, sound = recording
        with pytest.warns(MarotteWarning) as found:
            got, _ = rows_in_packets(RecordedWindows(path), np.tile(sound, 2), 999)
        assert len(found) == 1 and "2.28 s" in str(found[0].message) and "4.60 s" in str(found[0].message)
        assert len(got) == 230 and not got[114:].any() and got[113].any()

    def test_sound_that_ends_before(self, recording):
        path, sound = recording
        whole, _ = rows_in_packets(RecordedWindows(path), sound, 999)
        # A file at another rate, or of a sound that was cut at its start, would show in nothing else.
        with pytest.warns(MarotteWarning, match=r"features of 2.28 s, but the sound lasts 0.62 s: what is over is not"):
            got, _ = rows_in_packets(RecordedWindows(path), sound[:10000], 999)
        assert np.array_equal(got, whole[:32])

    def test_windows_that_do_not_overlap_are_held(self, recording):
        path, sound = recording
        stored = np.load(path)
        stored[20] += 1
        stored[-1, -1] = 1
        np.save(path, stored.astype(np.float32))
        want = np.repeat(stored.astype(np.float32).transpose(0, 2, 1), 2, axis=0).reshape(-1, WIDTH)
        got, _ = rows_in_packets(RecordedWindows(path), sound, 4000)
        assert np.array_equal(got[: len(want) : 2], want[::2])
        held = np.flatnonzero((got[1 : len(want) : 2] == want[1::2]).all(axis=1))
        assert {19, 20, len(stored) - 1} <= set(held) and len(held) < len(stored)
        np.save(path, np.random.default_rng(0).standard_normal((3, 16, 29)))
        got, _ = rows_in_packets(RecordedWindows(path), sound[:1920], 4000)
        assert np.array_equal(got[::2], got[1::2])

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((5, 464)), r"shape \[5, 464\], expected \[N, 16, 29\]"),
            (np.zeros((5, 16, 44)), r"shape \[5, 16, 44\]"),
            (np.zeros((5, 29, 16)), r"shape \[5, 29, 16\]"),
            (np.zeros((0, 16, 29)), r"shape \[0, 16, 29\]"),
            (np.full((5, 16, 29), np.nan), "not finite"),
            (np.full((5, 16, 29), 1e300), "not finite"),
            (np.array([{}, None], object), "no array of numbers"),
            (np.zeros((5, 16, 29), "S4"), "no array of numbers"),
        ],
    )
    def test_other_files(self, tmp_path, array, message):
        np.save(tmp_path / "a.npy", array, allow_pickle=True)
        with pytest.raises(MarotteError, match=message) as caught:
            RecordedWindows(tmp_path / "a.npy")
        assert "\n" not in str(caught.value) and "a.npy" in str(caught.value)

    def test_nothing_else_is_written(self, tmp_path):
        for wrong in (np.zeros((4, 16, 29)), np.zeros((4, 464)), np.full((4, 29, 16), np.inf)):
            with pytest.raises(MarotteError, match="cannot be written"):
                write_windows(tmp_path / "a.npy", wrong)
        with pytest.raises(MarotteError, match="cannot write"):
            write_windows(tmp_path / "none" / "a.npy", np.zeros((4, 29, 16)))
        assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A function that writes a network of one product and a sum over neighbours in time, as an ONNX file."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from onnx import TensorProto, helper, numpy_helper

    folder = tmp_path_factory.mktemp("models")
    weight = (np.random.default_rng(0).standard_normal((SEEN, 29)) * 0.05).astype(np.float32)
    taps = np.zeros((29, 1, 5), np.float32)
    taps[:] = (0.1, 0.2, 0.4, 0.2, 0.1)

    def write(shape=("T", SEEN), out=("T", 29), kind="FLOAT", length=None, extra=(), classes=29, step=1):
        """shape, out: of input and output; length: shape of a second input, the number of rows; extra: more inputs;
        classes: how many it gives; step: it gives every such row.
        """
        nodes = [
            helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["x32", "flat"], ["rows"]),
            helper.make_node("MatMul", ["rows", "weight"], ["own"]),
            helper.make_node("Transpose", ["own"], ["columns"], perm=[1, 0]),
            helper.make_node("Unsqueeze", ["columns", "zero"], ["batch"]),
            helper.make_node("Conv", ["batch", "taps"], ["around"], pads=[2, 2], group=29),
            helper.make_node("Squeeze", ["around", "zero"], ["back"]),
            helper.make_node("Transpose", ["back"], ["summed"], perm=[1, 0]),
        ]
        inputs = [helper.make_tensor_value_info("x", getattr(TensorProto, kind), shape)]
        last = "summed"
        if length is not None:  # logits grow with the length: it must be the right one
            inputs.append(helper.make_tensor_value_info("n", TensorProto.INT32, length))
            nodes += [
                helper.make_node("Cast", ["n"], ["n32"], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["summed", "n32"], ["scaled"]),
            ]
            last = "scaled"
        inputs += [helper.make_tensor_value_info(f"more{i}", TensorProto.FLOAT, one) for i, one in enumerate(extra)]
        target = np.array([classes if size == 29 else size if isinstance(size, int) else -1 for size in out], np.int64)
        nodes += [
            helper.make_node("Slice", [last, "none", "ends", "axes", "steps"], ["cut"]),
            helper.make_node("Reshape", ["cut", "target"], ["logits"]),
        ]
        constants = {
            "flat": np.array([-1, SEEN], np.int64),
            "weight": weight,
            "taps": taps,
            "zero": np.array([0], np.int64),
            "none": np.array([0, 0], np.int64),
            "ends": np.array([1 << 30, classes], np.int64),
            "axes": np.array([0, 1], np.int64),
            "steps": np.array([step, 1], np.int64),
            "target": target,
        }
        outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [s if s != 29 else None for s in out])]
        graph = helper.make_graph(
            nodes, "ears", inputs, outputs, [numpy_helper.from_array(a, n) for n, a in constants.items()]
        )
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(built, path)
        return path

    def logits(seen):
        """What the network gives of rows [T, 494]."""
        own = np.pad(seen.astype(np.float32) @ weight, ((2, 2), (0, 0)))
        return sum(taps[0, 0, k] * own[k : k + len(seen)] for k in range(5))

    write.logits = logits
    return write


class TestClip:
    @pytest.mark.parametrize(
        ("shape", "out"),
        [
            (("T", SEEN), ("T", 29)),
            ((1, "T", SEEN), ("T", 1, 29)),
            (("B", "T", SEEN), (1, "T", 29)),
            ((1, "T", 19, 26), ("T", 29)),
            (("T", 19, 26), ("T", 29)),
        ],
    )
    @pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE"])
    def test_is_the_published_recipe(self, model, shape, out, kind):
        sound = speech_like(SECONDS)
        features = OnnxWindows(model(shape, out, kind))
        assert features.lookahead == np.inf and features.space == "deepspeech"
        want = rows_to_windows(resampled(model.logits(net_input(as_int16(sound))), len(sound)))
        got = windows_of(features, sound)
        assert got.shape == want.shape and np.abs(got - want).max() < 1e-5

    @pytest.mark.parametrize("length", [(), (1,), ("N",)])
    def test_the_length_is_given(self, model, length):
        sound = speech_like(SECONDS)
        plain = windows_of(OnnxWindows(model()), sound)
        scaled = windows_of(OnnxWindows(model(length=length)), sound)
        assert np.allclose(scaled, plain * row_count(len(sound)), rtol=1e-5)

    def test_contract(self, model):
        features = OnnxWindows(model(), space="mine")
        assert features.space == "mine"
        check_features(features)
        stream = features.open()
        assert not len(stream.feed(speech_like(SECONDS))), "rows before the clip has ended"
        stream.reset()
        assert not len(stream.finish())

    @pytest.mark.parametrize("samples", [1, 160, 161, 400, 401, 700, 3200])
    @pytest.mark.parametrize("normalise", ["clip", "running"])
    def test_short_sounds(self, model, samples, normalise):
        count = max(0, -(-(logit_count(samples) - 1) // 2))
        assert len(windows_of(OnnxWindows(model(), normalise), speech_like(1.0)[:samples])) == count

    def test_full_scale_and_silence(self, model):
        assert as_int16(np.array([1, -1, 2, -3 / 32768, 0.5 / 32768], np.float32)).tolist() == [
            32767,
            -32768,
            32767,
            -3,
            0,
        ]
        assert np.isfinite(windows_of(OnnxWindows(model()), np.zeros(8000, np.float32))).all()


class TestRunning:
    def test_contract(self, model):
        features = OnnxWindows(model(length=(1,)), "running")
        check_features(features)
        waits_as_promised(features, speech_like(SECONDS))

    def test_packets_of_any_size(self, model):
        features, sound = OnnxWindows(model(), "running"), speech_like(SECONDS)
        whole, _ = rows_in_packets(features, sound, len(sound))
        for sizes in ((1600,), (320,), (1, 3279, 2), (3280, 3200), (7000, 13)):
            assert np.array_equal(rows_in_packets(features, sound, *sizes)[0], whole), sizes

    @pytest.mark.parametrize("samples", [33000, 40000, 40160, 41760])
    def test_is_as_defined(self, model, samples):
        """Block by block, each from the whole sound's coefficients."""
        sound = speech_like(3.0)[:samples]
        cepstra = mfcc(as_int16(sound), step=2)
        padded, total, parts = np.pad(cepstra, ((9, 9), (0, 0))), len(cepstra), []
        last = (samples - 400 - 320 * 29) // 3200  # the last block with coefficients for 20 rows after it
        for block in range(last + 2):
            ends = block > last
            known = cepstra if ends else cepstra[: 10 * block + 30]
            numbers = 1300 + known.size
            mean = known.sum() / numbers
            deviation = np.sqrt((1300 * 144 + (known**2).sum()) / numbers - mean**2)
            start, stop = max(0, 10 * block - 100), total if ends else 10 * block + 21
            seen = np.stack([padded[row : row + 19].ravel() for row in range(start, stop)])
            logits = model.logits((seen - mean) / deviation)[10 * block - start :]
            parts.append(logits if ends else logits[:10])
        want = rows_to_windows(resampled(np.concatenate(parts), samples))
        got = windows_of(OnnxWindows(model(), "running"), sound)
        assert got.shape == want.shape and np.abs(got - want).max() < 1e-5

    def test_is_near_the_clips_own(self, model):
        sound = speech_like(8.0)
        clip, running = (windows_of(OnnxWindows(model(), way), sound) for way in ("clip", "running"))
        assert clip.shape == running.shape
        late = slice(100, None)
        assert np.corrcoef(clip[late].ravel(), running[late].ravel())[0, 1] > 0.95


class TestOtherModels:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"shape": ("T", 26)}, r"takes x \[T, 26\], expected \[T, 494\]"),
            ({"shape": (1, 16, SEEN)}, r"takes x \[1, 16, 494\], .* T left open"),
            ({"shape": (4, "T", SEEN)}, r"takes x \[4, T, 494\]"),
            ({"shape": ("T", 1, 19, 26)}, r"takes x \[T, 1, 19, 26\]"),
            (
                {"extra": [(1, 2048)]},
                r"takes x \[T, 494\] tensor\(float\), more0 \[1, 2048\] tensor\(float\), expected one",
            ),
            ({"length": (29,)}, r"n \[29\] tensor\(int32\)"),
            ({"classes": 28}, r"gives logits \[T, 28\] tensor\(float\)"),
        ],
    )
    def test_are_refused(self, model, change, message):
        path = model(**change)
        with pytest.raises(MarotteError, match=message) as caught:
            OnnxWindows(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)

    def test_are_refused_when_they_speak(self, model):
        with pytest.raises(MarotteError, match=r"gives \[50, 29\] for T = 100 rows, expected \[T, 29\]"):
            windows_of(OnnxWindows(model(step=2)), speech_like(2.0))

    def test_files_that_are_none(self, model, tmp_path):
        (tmp_path / "a.onnx").write_bytes(b"no model")
        for path, message in ((tmp_path / "a.onnx", "as an ONNX model"), (tmp_path / "b.onnx", "not there")):
            with pytest.raises(MarotteError, match=message) as caught:
                OnnxWindows(path)
            assert "\n" not in str(caught.value)
        with pytest.raises(MarotteError, match=r"'sliding'.*clip, running"):
            OnnxWindows(model(), "sliding")

    def test_without_onnxruntime(self, monkeypatch):
        monkeypatch.setattr("marotte.drivers.speech_windows_network.find_spec", lambda name: None)
        with pytest.raises(MarotteError, match=r"a\.onnx cannot be used: onnxruntime .*: pip install onnxruntime"):
            OnnxWindows("a.onnx")
        assert OnnxWindows.why_not()


class TestChoice:
    def test_windows_of_each_kind(self, tmp_path):
        ours = FeatureNeed("phone-windows", 8, stride=2, before=4, space="marotte-phones")
        assert choose("phones", "marotte-phones") == choose(None, "marotte-phones") == ours
        recorded, network = str(tmp_path / "aud_ds.npy"), str(tmp_path / "Model.ONNX")
        for path in (recorded, network):
            open(path, "w").close()
        assert choose(recorded, "x") == FeatureNeed("recorded-windows", 8, 2, 4, "x", {"path": recorded})
        options = {"path": network, "normalise": "clip"}
        assert choose(network, "deepspeech") == FeatureNeed("onnx-windows", 8, 2, 4, "deepspeech", options)
        assert choose(network, "deepspeech", "running").options["normalise"] == "running"

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                (None, "deepspeech", None),
                "avatar obama was trained on deepspeech features, .* --features aud_ds.npy or",
            ),
            ((None, "", None), "trained on unnamed features"),
            (("phones", "marotte-phones", "running"), "--normalise running is for an .onnx"),
            ((None, "marotte-phones", "clip"), "--normalise clip is for an .onnx"),
            (("none.npy", "deepspeech", None), "none.npy are not there"),
            (("none.onnx", "deepspeech", "clip"), "none.onnx are not there"),
            (("sound.wav", "deepspeech", None), "'sound.wav' are neither 'phones' nor an .npy nor an .onnx"),
        ],
    )
    def test_what_cannot_be(self, given, message):
        with pytest.raises(MarotteError, match=message) as caught:
            choose(*given, avatar="obama")
        assert "\n" not in str(caught.value)

    def test_phones_are_refused_by_name_elsewhere(self, monkeypatch):
        monkeypatch.setattr(join, "create", lambda kind, name, **options: PhoneWindows(**options))
        with pytest.raises(MarotteError, match="avatar obama was trained on deepspeech features, phone-windows gives"):
            join.features_for(choose("phones", "deepspeech"), "obama")
        assert join.features_for(choose(None, "marotte-phones"), "mine").width == WIDTH
