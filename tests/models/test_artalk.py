"""The ARTalk network at small sizes: state, batches, precision, checkpoints and what they refuse."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.artalk import ARTalkConfig, Wav2VecConfig, frame_count, streaming_frame_count
from marotte.models.torch_writer import write_torch

torch = pytest.importorskip("torch", reason="ARTalk needs torch")
pytest.importorskip("transformers", reason="ARTalk needs transformers")
network = pytest.importorskip("marotte.models.artalk.network")
ARTalk, ChunkState = network.ARTalk, network.ChunkState

EAR = Wav2VecConfig(
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=48,
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)
SMALL = ARTalkConfig(
    depth=2, prev_ratio=2, code_dim=4, vae_depth=1, vae_heads=2, vae_width=16, patch_nums=(1, 2, 5), wav2vec=EAR
)


@pytest.fixture(scope="module")
def model():
    """A small network whose untrained weights make it listen, remember and decide."""
    torch.manual_seed(3)
    small = ARTalk(SMALL)
    with torch.no_grad():
        for name, parameter in small.named_parameters():
            if "pos_embed" in name or name == "null_style_cond":
                parameter.normal_()
            elif name.endswith(("code_mapping.weight", "logits_head.weight")):
                parameter.mul_(3)
    return small


@pytest.fixture(scope="module")
def speakers(model):
    """(sound [3, two chunks], state of three speakers, the second without a style)."""
    generator = torch.Generator().manual_seed(1)
    audio = torch.randn(3, 2 * SMALL.chunk_samples, generator=generator) * torch.tensor([[0.1], [0.5], [0.01]])
    clips = [torch.randn(1, 50, 106, generator=generator), None, torch.randn(1, 25, 106, generator=generator)]
    return audio, model.initial_state(torch.cat([model.style_condition(clip) for clip in clips]))


def run(model, state, audio):
    motions = []
    for piece in audio.split(model.config.chunk_samples, dim=1):
        motion, state = model.step(state, piece)
        motions.append(motion)
    return torch.cat(motions, dim=1), state


def test_frame_counts_round_as_published():
    assert [frame_count(n) for n in (0, 1, 640, 641, 4480, 64000)] == [0, 1, 1, 2, 8, 100]
    odd = [n for n in range(1, 113) if frame_count(640 * n) != n]
    assert odd == [7, 14, 28, 55, 56, 109, 110, 111, 112]
    assert (frame_count(68480), streaming_frame_count(68480)) == (107, 108)
    assert (frame_count(70400), streaming_frame_count(70400)) == (111, 110)


def test_speakers_in_a_batch_do_not_meet(model, speakers):
    audio, states = speakers
    together, after = run(model, states, audio)
    assert together.shape == (3, 10, 106) and len(after) == 3
    for i, state in enumerate(states.split()):
        alone, alone_after = run(model, state, audio[i : i + 1])
        assert (alone_after.bits == after.bits[i : i + 1]).all()
        assert (alone - together[i : i + 1]).abs().max() <= 1e-5
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_states_are_values(model, speakers):
    audio, states = speakers
    before = [x.clone() for x in (states.condition, states.bits, states.history)]
    first, _ = model.step(states, audio[:, : SMALL.chunk_samples])
    again, _ = model.step(states, audio[:, : SMALL.chunk_samples])
    assert (first == again).all()
    rejoined = ChunkState.stack(states.split())
    for x, y, z in zip(before, (states.condition, states.bits, states.history), vars(rejoined).values(), strict=True):
        assert (x == y).all() and (x == z).all()
    one = states.split()[0]
    assert one.history.untyped_storage().nbytes() == one.history.nbytes  # no part of the others is kept with it


def test_history_matters_and_rolls(model, speakers):
    audio, states = speakers
    piece = audio[:, : SMALL.chunk_samples]
    first, after = model.step(states, piece)
    second, last = model.step(after, piece)
    assert (first - second).abs().max() > 1e-3
    assert (last.history[:, : SMALL.tokens] == after.history[:, SMALL.tokens :]).all()
    assert (last.bits == model.encode_motion(second)).all()


def published_logits(model, state, features):
    """The slow twin of `predict`: every level runs all tokens so far again, under the checkpoint's mask."""
    quantizer, blocks = model.quantizer, model.attn_blocks
    audio = torch.cat([torch.nn.functional.adaptive_avg_pool1d(features.mT, n).mT for n in quantizer.patch_nums], 1)
    context = model.context(state)
    tokens, counts = state.condition, np.cumsum(quantizer.patch_nums)
    for count in counts:
        x = tokens + (model.lvl_embed(model.lvl_idx) + model.pos_embed)[:, :count]
        mask = model.attn_bias_for_masking[:, :, :count, : context.shape[1] + count]
        for block in blocks:
            d = block.ada_lin(audio[:, :count]).reshape(*x.shape[:2], 6, -1)
            gamma1, gamma2, scale1, scale2, shift1, shift2 = d.unbind(2)
            h = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale1) + shift1
            attn, seen = block.attn, torch.cat([context, h], dim=1)
            q, k, v = (
                y.reshape(*y.shape[:2], 12, 64).transpose(1, 2)
                for y in (attn.query(h), attn.key(seen), attn.value(seen))
            )
            q, k = (y / y.norm(dim=-1, keepdim=True) for y in (q, k))
            scores = q * attn.scale_mul_1H11.clamp(max=np.log(100)).exp() @ k.mT + mask
            x = x + gamma1 * attn.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
            h = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale2) + shift2
            x = x + gamma2 * block.ffn(h)
        logits = model.logits_head(model.cond_logits_head(x, audio[:, :count]))
        bits = logits.reshape(*logits.shape[:2], -1, 2).argmax(-1)
        if count < counts[-1]:
            tokens = torch.cat([state.condition, model.vqfeat_embed(quantizer.next_inputs(bits))], dim=1)
    return logits, bits


def test_levels_decoded_once_are_levels_decoded_again(model, speakers):
    audio, states = speakers
    features = model.encode_audio(audio[:, : SMALL.chunk_samples])
    _, after = model.step(states, audio[:, : SMALL.chunk_samples])
    for state in (states, after):
        codes = model.predict(state, features)
        with torch.no_grad():
            logits, bits = published_logits(model, state, features)
        assert (codes.bits == bits.bool()).all() and 0.2 < bits.float().mean() < 0.8
        assert (codes.logits - logits).abs().max() <= 1e-5


def test_one_shot_is_the_chunks(model):
    audio = torch.randn(1, 4 * 3200 + 1281, generator=torch.Generator().manual_seed(5))
    motion = model(audio)
    padded = torch.nn.functional.pad(audio, (0, -audio.shape[1] % SMALL.chunk_samples))
    assert motion.shape == (1, frame_count(audio.shape[1]), 106)
    assert (motion == run(model, model.initial_state(model.style_condition()), padded)[0][:, : motion.shape[1]]).all()
    assert torch.isfinite(model(torch.zeros(1, 700))).all()  # silence has no deviation to divide by
    assert model.train().training is False and (model(audio) == motion).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types(model, speakers, dtype):
    audio, states = speakers
    other = ARTalk(SMALL)
    other.load_state_dict(model.state_dict())
    other.to(dtype)
    types = {name: x.dtype for name, x in other.state_dict().items() if x.is_floating_point()}
    large = {t for name, t in types.items() if name.startswith(("audio_encoder.", "attn_blocks."))}
    rest = {t for name, t in types.items() if not name.startswith(("audio_encoder.", "attn_blocks."))}
    assert large == {dtype} and rest == {torch.promote_types(dtype, torch.float32)}
    conditions = states.condition.to(other.null_style_cond.dtype)
    features = other.encode_audio(audio[:, : SMALL.chunk_samples])
    motion, codes = other.decode_chunk(other.initial_state(conditions), features)
    want = model.predict(states, model.encode_audio(audio[:, : SMALL.chunk_samples]))
    near = {torch.bfloat16: 0.1, torch.float16: 0.02, torch.float64: 1e-4}[dtype]
    assert codes.logits.dtype == motion.dtype == torch.promote_types(dtype, torch.float32)
    assert (codes.logits[:, 0] - want.logits[:, 0]).abs().max() <= near  # before any bit can flip what follows
    assert (codes.bits == want.bits).float().mean() >= 0.9


def test_wrong_inputs_are_named(model):
    with pytest.raises(MarotteError, match=r"style motion has shape \[1, 50, 100\]"):
        model.style_condition(torch.zeros(1, 50, 100))
    with pytest.raises(MarotteError, match=r"\[1, 600, 106\].*1 to 599"):
        model.style_condition(torch.zeros(1, 600, 106))
    with pytest.raises(MarotteError, match=r"chunk of sound has shape \[1, 100\].*3200"):
        model.encode_audio(torch.zeros(1, 100))
    for shape in ((1, 0), (2, 640), (640,)):
        with pytest.raises(MarotteError, match="audio has shape"):
            model(torch.zeros(shape))
    with pytest.raises(MarotteError, match="not finite"):
        model(torch.tensor([[0.0, float("nan")]]))


CONFIG = {
    "AR_CONFIG": {"T_DEPTH": 12, "T_NUM_HEADS": 12, "PREV_RATIO": 1, "AUDIO_ENCODER": "wav2vec"},
    "VAE_CONFIG": {
        "V_CODE_DIM": 32,
        "T_DEPTH": 8,
        "T_NUM_HEADS": 8,
        "T_HIDDEN_DIM": 512,
        "V_PATCH_NUMS": [1, 5, 25, 50, 100],
    },
}


def test_configuration():
    assert ARTalkConfig.from_json(CONFIG) == ARTalkConfig()
    assert (ARTalkConfig().tokens, ARTalkConfig().frames, ARTalkConfig().chunk_samples) == (181, 100, 64000)
    with pytest.raises(MarotteError, match="'mimi'"):
        ARTalkConfig.from_json(CONFIG | {"AR_CONFIG": CONFIG["AR_CONFIG"] | {"AUDIO_ENCODER": "mimi"}})
    with pytest.raises(MarotteError, match="lacks 'VAE_CONFIG'"):
        ARTalkConfig.from_json({"AR_CONFIG": CONFIG["AR_CONFIG"]})
    with pytest.raises(MarotteError, match="AR_CONFIG PREV_RATIO is 0"):
        ARTalkConfig.from_json(CONFIG | {"AR_CONFIG": CONFIG["AR_CONFIG"] | {"PREV_RATIO": 0}})


def test_configuration_file(tmp_path):
    with pytest.raises(MarotteError, match="cannot read"):
        ARTalkConfig.read(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MarotteError, match="is not JSON"):
        ARTalkConfig.read(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MarotteError, match=r"config\.json: .*AR_CONFIG"):
        ARTalkConfig.read(tmp_path / "config.json")


@pytest.fixture
def entries(model):
    return dict(model.state_dict())


@pytest.fixture
def load(tmp_path):
    """Save entries and load them."""

    def loaded(content, **options):
        torch.save(content, tmp_path / "model.pt")
        return ARTalk.load(tmp_path / "model.pt", config=SMALL, **options)

    return loaded


def same(loaded, entries):
    return all((x == entries[name]).all() for name, x in loaded.state_dict().items())


def test_checkpoint_comes_back(entries, load, model, tmp_path):
    loaded = load(entries)
    assert same(loaded, entries) and not loaded.training
    audio = torch.randn(1, 4000, generator=torch.Generator().manual_seed(2))
    assert (loaded(audio) == model(audio)).all()

    from safetensors.torch import save_file

    save_file({name: x.contiguous() for name, x in entries.items()}, tmp_path / "model.safetensors")
    assert same(ARTalk.load(tmp_path / "model.safetensors", config=SMALL), entries)


def test_older_names_and_shorter_numbers(entries, load):
    conv = "audio_encoder.encoder.pos_conv_embed.conv."
    older = dict(entries)
    for letter, number in (("g", 0), ("v", 1)):
        older[f"{conv}weight_{letter}"] = older.pop(f"{conv}parametrizations.weight.original{number}")
    assert same(load(older), entries)
    halves = {name: x.half() if x.is_floating_point() else x for name, x in entries.items()}
    loaded = load(halves)
    assert {x.dtype for x in loaded.parameters()} == {torch.float32} and same(loaded, halves)
    short = load(entries, dtype=torch.bfloat16)
    assert short.attn_blocks[0].ffn[0].weight.dtype == torch.bfloat16
    assert (short.basic_vae.motion_mean == entries["basic_vae.motion_mean"]).all()


def test_full_size_checkpoint_loads_strictly(tmp_path):
    with torch.device("meta"):
        expected = ARTalk().state_dict()
    assert sum(x.numel() for x in expected.values()) == 489_721_273
    kinds = {name: np.int64 if x.dtype == torch.int64 else np.float32 for name, x in expected.items()}
    # One element stands for all of a tensor's, so that the file is small.
    small = {name: np.broadcast_to(kinds[name](0), x.shape) for name, x in expected.items()}
    write_torch(tmp_path / "ARTalk_wav2vec.pt", small)
    loaded = ARTalk.load(tmp_path / "ARTalk_wav2vec.pt").state_dict()
    assert {name: x.shape for name, x in loaded.items()} == {name: x.shape for name, x in expected.items()}


def test_what_is_wrong_with_a_checkpoint_is_named(entries, load):
    for name in list(entries)[4:9]:
        del entries[name]
    with pytest.raises(MarotteError, match=r"5 missing: lvl_idx, basic_vae\.enc_pos_embed, .* and 2 more"):
        load(entries)


def test_extra_misshapen_and_mistyped_entries(entries, load):
    wrong = entries | {
        "optimizer.step": torch.zeros(1),
        "pos_embed": torch.zeros(1, 9, 768),
        "lvl_idx": torch.ones(1, 8),
    }
    with pytest.raises(MarotteError) as error:
        load(wrong)
    assert "1 not ARTalk's: optimizer.step" in str(error.value)
    assert "1 of another shape: pos_embed [1, 9, 768] (expected [1, 8, 768])" in str(error.value)
    assert "1 of another type: lvl_idx float32" in str(error.value)
    assert "\n" not in str(error.value)


def test_other_checkpoints_are_refused(entries, load):
    with pytest.raises(MarotteError, match="mimi variant"):
        load(entries | {"audio_encoder.acoustic_model.encoder.weight": torch.zeros(1)})
    with pytest.raises(MarotteError, match="not a flat dictionary of tensors"):
        load({"model": entries})
    with pytest.raises(MarotteError, match="not a flat dictionary of tensors"):
        load(torch.zeros(50, 106))


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_files_that_are_no_checkpoints(entries, load, tmp_path, capsys):
    path = tmp_path / "model.pt"
    with pytest.raises(MarotteError, match=r"cannot read .*No such file"):
        ARTalk.load(tmp_path / "absent.pt")
    with pytest.raises(MarotteError, match="asks for more than tensors"):
        load({"pos_embed": Evil()})
    torch.save(entries, path)
    whole = path.read_bytes()
    np.savez(tmp_path / "zip.npz", x=np.zeros(3))
    others = {
        "truncated": whole[: len(whole) // 2],
        "empty": b"",
        "pickle": pickle.dumps({"pos_embed": Evil()}),
        "npz": (tmp_path / "zip.npz").read_bytes(),
        "overwritten": whole[:2000].replace(b"pos_embed", b"pos\xff\xffbed") + whole[2000:],
    }
    for name, content in others.items():
        path.write_bytes(content)
        with pytest.raises(MarotteError) as error:
            ARTalk.load(path, config=SMALL)
        assert str(path) in str(error.value) and "\n" not in str(error.value), name
    (tmp_path / "model.safetensors").write_bytes(b"\x10" * 40)
    with pytest.raises(MarotteError, match="damaged"):
        ARTalk.load(tmp_path / "model.safetensors", config=SMALL)
    assert "run" not in capsys.readouterr().out


def test_sizes_come_from_the_file_beside(entries, tmp_path):
    vae = {"V_CODE_DIM": 4, "T_DEPTH": 1, "T_NUM_HEADS": 2, "T_HIDDEN_DIM": 16, "V_PATCH_NUMS": [1, 2, 5]}
    transformer = {"T_DEPTH": 2, "T_NUM_HEADS": 12, "PREV_RATIO": 2}
    values = {"AR_CONFIG": transformer, "VAE_CONFIG": vae, "WAV2VEC_CONFIG": vars(EAR)}
    (tmp_path / "config.json").write_text(json.dumps(values))
    torch.save(entries, tmp_path / "model.pt")
    assert ARTalk.load(tmp_path / "model.pt").config == SMALL
    with pytest.raises(MarotteError, match="missing"):
        ARTalk.load(tmp_path / "model.pt", config=replace(SMALL, depth=3))


def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MarotteError, match=r"needs transformers.*pip install 'marotte\[artalk\]'"):
        ARTalk(SMALL)


def test_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from marotte.models.artalk import ARTalkConfig, frame_count\n"
        "print(frame_count(4480), ARTalkConfig().tokens)\n"
        "try: from marotte.models.artalk import ARTalk\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("8 181\nMarotteError ARTalk needs torch") and "pip install 'marotte[artalk]'" in out


def test_tf32_is_off_inside_only():
    from marotte.models.precision import full_float32

    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    with full_float32(torch.device("cuda")):
        assert [flag.allow_tf32 for flag in flags] == [False, False]
    assert [flag.allow_tf32 for flag in flags] == before
    with full_float32(torch.device("cpu")):
        assert [flag.allow_tf32 for flag in flags] == before


def test_tf32_stays_off_until_the_last_of_several_blocks_ends():
    from marotte.models.precision import full_float32

    matmul, gpu = torch.backends.cuda.matmul, torch.device("cuda")
    before = matmul.allow_tf32
    try:
        matmul.allow_tf32 = True
        one, other = full_float32(gpu), full_float32(gpu)
        one.__enter__(), other.__enter__()
        one.__exit__(None, None, None)
        assert not matmul.allow_tf32
        other.__exit__(None, None, None)
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before
