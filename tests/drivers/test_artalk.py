"""The ARTalk driver on a small network with random weights: packets, sessions, counting, early frames, bad input."""

import gc
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from marotte.errors import MarotteError, MarotteWarning
from marotte.runtime.contracts import SAMPLE_RATE
from marotte.runtime.motion import concatenate
from marotte.runtime.testing import check_driver, speech_like

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from marotte.drivers.artalk import ARTalk, ARTalkOptions, read_style  # noqa: E402
from marotte.drivers.artalk_early import EarlyStream  # noqa: E402
from marotte.drivers.artalk_engine import Engine, EngineOptions, engine, torch_device  # noqa: E402
from marotte.models import artalk as models  # noqa: E402
from marotte.models.artalk.frames import frame_count, streaming_frame_count  # noqa: E402
from marotte.models.torch_writer import write_torch  # noqa: E402
from marotte.runtime.offline import drive  # noqa: E402
from marotte.runtime.registry import status  # noqa: E402
from marotte.runtime.smoothing import postprocess  # noqa: E402

FRAMES = 20
CHUNK = FRAMES * 640


def network() -> "models.ARTalk":
    ears = models.Wav2VecConfig(
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    config = models.ARTalkConfig(
        depth=1, code_dim=8, vae_depth=1, vae_heads=2, vae_width=32, patch_nums=(1, 2, 4, 10, FRAMES), wav2vec=ears
    )
    torch.manual_seed(7)
    model = models.ARTalk(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.abs().any():
                parameter.normal_(std=0.1)
        for name, buffer in model.named_buffers():
            if name.endswith("std"):
                buffer.fill_(0.3)
    return model


@pytest.fixture(scope="module")
def engine_() -> Engine:
    return Engine(network())


@pytest.fixture
def driver(engine_) -> ARTalk:
    return ARTalk(engine_)


def heard(stream, packets):
    return concatenate([*(stream.feed(packet) for packet in packets), stream.finish()]).codes


def pieces(sound, size):
    return [sound[start : start + size] for start in range(0, len(sound), size)]


def test_it_keeps_the_contract(driver):
    check_driver(driver, seconds=2.3, rounding=1e-5)


def test_the_motion_is_the_networks_after_the_published_steps(driver, engine_):
    sound = speech_like(2.3)
    raw = engine_.model(torch.from_numpy(sound[None]))[0].numpy()
    found = heard(driver.open(), [sound])
    assert np.abs(found - postprocess(raw, clip=None)).max() < 1e-6
    assert np.ptp(found[:, :100], axis=0).max() > 0.01
    full = heard(driver.open({"jaw": "full", "smooth": False}), [sound])
    assert np.abs(full - raw).max() < 1e-6


def test_a_style_changes_the_motion_and_stays_after_a_reset(driver):
    sound, clip = speech_like(1.0), np.random.default_rng(0).normal(size=(50, 106)).astype(np.float32)
    plain = heard(driver.open(), [sound])
    stream = driver.open({"style": clip})
    styled = heard(stream, [sound])
    assert np.abs(styled - plain).max() > 1e-3
    stream.reset()
    assert np.array_equal(heard(stream, [sound]), styled)


def test_sessions_share_a_batch_and_speak_as_alone(driver, engine_, monkeypatch):
    sounds = [speech_like(1.9, seed) * gain for seed, gain in enumerate((1.0, 0.3, 0.1))]
    alone = [heard(driver.open(), [sound]) for sound in sounds]
    sizes = []
    step = engine_.model.step
    monkeypatch.setattr(engine_.model, "step", lambda state, audio: sizes.append(len(audio)) or step(state, audio))
    streams = [driver.open() for _ in sounds]
    parts = driver.step(list(zip(streams, sounds, strict=True)))
    together = [np.concatenate([p.codes, s.finish().codes]) for p, s in zip(parts, streams, strict=True)]
    assert sizes[:2] == [3, 3]
    for one, other in zip(alone, together, strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() < 1e-5


@pytest.mark.parametrize("samples", [1, 639, 4480, 12800, 68480, 70400, CHUNK * 3])
def test_frames_are_counted_over_all_samples_or_as_the_published_stream_does(driver, samples):
    sound = speech_like(samples / SAMPLE_RATE)[:samples]
    assert len(heard(driver.open(), pieces(sound, 999))) == frame_count(samples)
    counted = len(heard(driver.open({"count": "streaming"}), pieces(sound, 999)))
    assert counted == streaming_frame_count(samples, FRAMES)


def test_nothing_said_gives_nothing(driver):
    assert len(driver.open().finish()) == 0


def early(engine_, **options) -> EarlyStream:
    return EarlyStream(engine_, None, ARTalkOptions(**options))


def test_early_frames_come_within_six_tenths_of_a_second(engine_):
    stream, sound, frames = early(engine_), speech_like(3.0), 0
    for index, packet in enumerate(pieces(sound, 320)):
        frames += len(stream.feed(packet))
        seconds = (index + 1) / 50
        assert frames >= (seconds - 0.6) * 25
        assert frames <= seconds * 25
    assert frames + len(stream.finish()) == frame_count(len(sound))


def test_early_frames_lead_into_the_exact_ones_without_a_jump(engine_):
    sound = speech_like(3.0)
    exact = heard(ARTalk(engine_).open({"smooth": False}), [sound])
    found = heard(early(engine_, smooth=False), pieces(sound, 320))
    assert found.shape == exact.shape
    # What is sent when a chunk is complete begins where the face was and ends near what is exact.
    ends = range(FRAMES - 1, len(exact) - 1, FRAMES)
    apart = np.abs(found - exact)
    assert max(apart[end].max() for end in ends) < 0.5 * apart.max()
    step = np.abs(np.diff(exact, axis=0)).max()
    assert np.abs(np.diff(found, axis=0)).max() < 2 * step


def test_a_chunk_that_comes_at_once_is_exact_in_early_mode_too(engine_):
    sound = speech_like(2.4)[: 3 * CHUNK]
    exact = heard(ARTalk(engine_).open(), [sound])
    assert np.array_equal(heard(early(engine_), [sound]), exact)


def test_a_chunk_after_early_ones_builds_on_exact_history(engine_):
    sound = speech_like(2.4)[: 3 * CHUNK]
    one, other = early(engine_, smooth=False), ARTalk(engine_).open({"smooth": False})
    for packet in pieces(sound, 320):
        one.feed(packet)
        other.feed(packet)
    assert torch.equal(one.state.bits, other.state.bits)


def test_a_hundred_sessions_leave_nothing_behind(driver):
    sound = speech_like(0.3)

    def session():
        stream = driver.open()
        stream.feed(sound)
        stream.finish()
        stream.close()

    def resident():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    if not sys.platform.startswith("linux"):
        pytest.skip("resident memory is read from /proc")
    for _ in range(20):
        session()
    before = resident()
    for _ in range(80):
        session()
    assert (resident() - before) / 80 < 10_000


def test_weights_are_loaded_once_for_all(tmp_path):
    path = tmp_path / "ARTalk_wav2vec.pt"
    model = network()
    torch.save(model.state_dict(), path)
    loads = []
    load = models.ARTalk.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.ARTalk, "load", lambda *a, **k: loads.append(a) or load(*a, config=model.config, **k))
        driver = ARTalk()
        one, other = (driver.open({"weights": path, "device": "cpu"}) for _ in range(2))
        assert one.network is other.network and len(loads) == 1
        assert ARTalk().open({"weights": str(path), "device": "cpu"}).network is one.network
        if not torch.cuda.is_available():
            assert ARTalk().open({"weights": path, "device": "auto"}).network is one.network
    with pytest.raises(MarotteError, match=r"gone\.pt is no file: .*assets fetch artalk"):
        driver.open({"weights": tmp_path / "gone.pt"})
    with pytest.warns(MarotteWarning, match="live use on such a machine is not supported"):
        driver.warm_up()


def test_half_precision_is_named_as_deviating(tmp_path):
    path = tmp_path / "weights.pt"
    model = network()
    torch.save(model.state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        load = models.ARTalk.load
        patch.setattr(models.ARTalk, "load", lambda *a, **k: load(*a, config=model.config, **k))
        with pytest.warns(MarotteWarning, match="bfloat16 deviates"):
            network_ = engine(path, EngineOptions("cpu", "bfloat16"))
    sound = speech_like(1.0)
    assert np.isfinite(heard(ARTalk(network_).open(), [sound])).all()


def test_float16_is_refused_where_it_is_slower_than_float32(tmp_path):
    with pytest.raises(MarotteError, match="use bfloat16 or float32"):
        engine(tmp_path / "any.pt", EngineOptions("cpu", "float16"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"latency": "low"}, "use a CUDA device, or latency 'exact'"),
        ({"latency": "soon"}, "no latency of the driver artalk is called 'soon'"),
        ({"jaw": "shut"}, "jaw of the driver artalk"),
        ({"precision": "int8"}, "precision of the driver artalk"),
        ({"stile": 1}, "no option of the driver artalk is called 'stile'"),
        ({"smooth": 1}, "not true or false"),
        ({"style": np.zeros((25, 106))}, r"style is float64 \[25, 106\]: a style clip is 50 frames"),
        ({"style": np.full((50, 106), np.nan)}, "not finite"),
        ({"style": np.full((50, 106), 1e39)}, "not finite"),
        ({"style": "nobody_0"}, r"no published style .* called 'nobody_0'.*known are angry_0, .*natural_7$"),
        ({"style": "clip.npz"}, r"nor does it end in .pt or .npy"),
        ({"weights": 5}, "weights 5 is not a path"),
        ({"style": "missing.pt"}, "missing.pt"),
    ],
)
def test_what_it_cannot_take_is_one_line(driver, options, words):
    with pytest.raises(MarotteError, match=words) as raised:
        driver.open(options)
    assert "\n" not in str(raised.value)


def test_sound_that_is_not_finite_is_named_by_its_sample(driver):
    stream = driver.open()
    stream.feed(np.zeros(1000, np.float32))
    with pytest.raises(MarotteError, match="sample 1003"):
        stream.feed(np.array([0, 0, 0, np.nan], np.float32))


def test_sound_that_no_stream_takes_is_refused(driver):
    for sound, words in ((np.full(4, 1e300), "sample 0"), (np.zeros((4, 2), np.float32), r"shape \[4, 2\]")):
        with pytest.raises(MarotteError, match=words):
            driver.open().feed(sound)


def test_one_speakers_bad_sound_leaves_the_others_as_they_were(driver):
    sound = speech_like(1.0)
    expected = heard(driver.open(), [sound])
    one, other = driver.open(), driver.open()
    with pytest.raises(MarotteError, match="not finite"):
        driver.step([(one, sound), (other, np.full(9, np.nan, np.float32))])
    assert np.array_equal(heard(one, [sound]), expected)


def test_a_speaker_who_comes_twice_in_a_step_is_fed_in_order(driver):
    sound = speech_like(2.5)
    alone, one, other = driver.open(), driver.open(), driver.open()
    cut = 2 * CHUNK + 100
    expected = [alone.feed(sound[:cut]).codes, alone.feed(sound[cut:]).codes]
    found = driver.step([(one, sound[:cut]), (other, sound[:50]), (one, sound[cut:])])
    assert len(found[1]) == 0
    for part, codes in zip((found[0], found[2]), expected, strict=True):
        assert part.codes.shape == codes.shape and np.abs(part.codes - codes).max() < 1e-5
    with pytest.raises(MarotteError, match="has finished"):
        one.finish(), one.finish()


@pytest.mark.parametrize("options", [{}, {"smooth": False}])
def test_nothing_follows_the_end_but_a_reset(driver, options):
    sound, stream = speech_like(1.0), driver.open(options)
    expected = heard(stream, [sound])
    for call in (stream.finish, lambda: stream.feed(sound)):
        with pytest.raises(MarotteError, match=r"this speaker has finished: call reset\(\)"):
            call()
    stream.reset()
    assert np.array_equal(heard(stream, [sound]), expected)
    stream.close()
    stream.close()


def test_early_decodes_of_several_speakers_are_one_batch(engine_, monkeypatch):
    sounds = [speech_like(0.7, seed) for seed in range(3)]
    alone = [early(engine_).feed(sound).codes for sound in sounds]
    sizes = []
    decode = engine_.model.decode_chunk
    monkeypatch.setattr(
        engine_.model, "decode_chunk", lambda state, features: sizes.append(len(features)) or decode(state, features)
    )
    found = ARTalk(engine_).step([(early(engine_), sound) for sound in sounds])
    assert sizes == [3]
    for one, other in zip(alone, found, strict=True):
        assert len(one) and one.shape == other.codes.shape and np.abs(one - other.codes).max() < 1e-5


def test_a_compiler_that_is_missing_is_one_line(monkeypatch):
    broken = Engine(network(), EngineOptions("cpu"))
    broken.options = EngineOptions("cpu", compile=True)

    def fail(*_):
        raise torch._dynamo.exc.InternalTorchDynamoError("no\ncompiler")

    monkeypatch.setattr(broken.model, "step", fail)
    with pytest.raises(MarotteError, match=r"cannot compile ARTalk here \(no compiler\): install a C\+\+ compiler"):
        heard(ARTalk(broken).open(), [speech_like(1.0)])


@pytest.mark.parametrize("device", [None, 1.5, ["cpu"], "CPU", "meta"])
def test_devices_that_are_none(device):
    with pytest.raises(MarotteError, match="use auto, cpu or cuda"):
        torch_device(device)


def test_without_torch_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MarotteError, match=r"needs torch.*pip install 'marotte\[artalk\]'"):
        torch_device("auto")


def test_without_weights_the_line_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("MAROTTE_ASSETS", str(tmp_path))
    monkeypatch.delenv("ARTALK_ASSET_DIR", raising=False)
    with pytest.raises(MarotteError, match=r"marotte assets fetch ARTalk_wav2vec\.pt"):
        ARTalk().open()


def test_styles_are_read_as_they_are_saved(tmp_path):
    clip = np.random.default_rng(1).normal(size=(50, 106))
    write_torch(tmp_path / "style.pt", clip)
    assert np.array_equal(read_style(tmp_path / "style.pt"), clip.astype(np.float32))
    whole = torch.from_numpy(np.random.default_rng(1).normal(size=(700, 106)).astype(np.float32))
    torch.save(whole[100:150], tmp_path / "view.pt")  # with all of its storage, as published
    assert np.array_equal(read_style(str(tmp_path / "view.pt")), whole[100:150].numpy())
    assert read_style("default") is None and read_style("") is None


def test_its_motion_is_smoothed_once(driver, tmp_path):
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, speech_like(1.5), SAMPLE_RATE)
    assert np.array_equal(drive(sound, driver=driver, smooth=True).codes, drive(sound, driver=driver).codes)


def test_what_is_not_installed_is_said(monkeypatch):
    assert ARTalk.why_not() == ""
    monkeypatch.setattr("marotte.drivers.artalk.find_spec", lambda name: None)
    assert ARTalk.why_not() == "torch and transformers not installed: pip install 'marotte[artalk]'"
    assert status("driver")["artalk"].startswith("not available: torch and transformers")
