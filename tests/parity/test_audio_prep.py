"""Audio preparation against torchaudio as the published ARTalk calls it (reference/artalk/SPEC.md, sections 2, 11)."""

import re

import numpy as np
import pytest
import soundfile

from marotte.runtime.audio.resample import Resampler, mono_blocks
from marotte.runtime.audio.source import open_audio

TOLERANCE = 1e-6  # the reference filters in float32; its own noise is about 2e-7


@pytest.fixture(scope="module")
def prepared(reference):
    with np.load(reference / "artalk" / "audio_prep.npz") as file:
        return dict(file)


def test_every_rate(prepared, tmp_path):
    seen = 0
    for key, pcm in prepared.items():
        if not (match := re.fullmatch(r"sr(\d+)/pcm16", key)):
            continue
        rate, want = int(match[1]), prepared[f"sr{match[1]}/mono16k"]
        soundfile.write(tmp_path / "a.wav", pcm.T, rate, subtype="PCM_16")
        with open_audio(tmp_path / "a.wav") as source:
            assert (source.rate, source.channels, source.frames) == (rate, *pcm.shape)
            got = np.concatenate(list(mono_blocks(source, packet=997)))
        assert got.shape == want.shape, rate
        assert np.abs(got - want).max() <= TOLERANCE, rate
        seen += 1
    assert seen


def test_functional_form(prepared):
    pairs = [re.fullmatch(r"(\w+_(\d+)k_to_(\d+)k)/input", key) for key in prepared]
    assert any(pairs)
    for match in filter(None, pairs):
        resampler = Resampler(int(match[2]) * 1000, int(match[3]) * 1000, functional=True)
        got = np.concatenate([resampler.feed(prepared[f"{match[1]}/input"]), resampler.finish()])
        want = prepared[f"{match[1]}/output"]
        assert got.shape == want.shape and np.abs(got - want).max() <= TOLERANCE
