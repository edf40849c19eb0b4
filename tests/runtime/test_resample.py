"""The streaming resampler: packets change no bit, lengths are exact, the filter is the published one."""

import math
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from marotte.errors import MarotteError
from marotte.runtime.audio.resample import Resampler, mono_blocks
from marotte.runtime.audio.source import open_audio

RATES = [1000, 8000, 11025, 16000, 22050, 24000, 32000, 44100, 44101, 48000, 96000, 192000]


def once(samples, *rates, **options):
    resampler = Resampler(*rates, **options)
    return np.concatenate([resampler.feed(samples), resampler.finish()])


def in_packets(resampler, samples, sizes):
    parts, at = [], 0
    for size in sizes:
        parts.append(resampler.feed(samples[at : at + size]))
        at += size
    return np.concatenate([*parts, resampler.feed(samples[at:]), resampler.finish()])


def noise(count, channels, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, channels)).astype(np.float32)


def slow_twin(samples, source_rate, target_rate):
    """The formula, one output at a time, in double but for the phase, which torchaudio rounds to float32."""
    common = math.gcd(source_rate, target_rate)
    step, phases = source_rate // common, target_rate // common
    band = 0.99 * min(step, phases)
    out = []
    for n in range(-(-len(samples) * phases // step)):
        turn, phase = divmod(n, phases)
        offset = np.arange(len(samples)) - turn * step
        time = np.clip((offset / step - float(np.float32(phase / phases))) * band, -6, 6)
        out.append(np.sum(samples.astype(float) * np.sinc(time) * np.cos(np.pi * time / 12) ** 2) * band / step)
    return np.array(out)


@pytest.mark.parametrize("rate", RATES)
def test_against_the_slow_twin(rate):
    samples = noise(700, 1)[:, 0]
    assert np.abs(once(samples, rate) - (samples if rate == 16000 else slow_twin(samples, rate, 16000))).max() < 1e-6


@settings(deadline=None, max_examples=60)
@given(
    rate=st.sampled_from(RATES),
    target=st.sampled_from([16000, 24000]),
    count=st.integers(0, 3000),
    channels=st.integers(1, 3),
    sizes=st.lists(st.one_of(st.integers(0, 5), st.integers(0, 1500)), max_size=30),
)
def test_packets_change_no_bit(rate, target, count, channels, sizes):
    samples = noise(count, channels, seed=count)
    whole = once(samples, rate, target)
    resampler = Resampler(rate, target)
    packets = in_packets(resampler, samples, sizes)
    assert packets.dtype == np.float32 and packets.tobytes() == whole.tobytes()
    assert len(whole) == -(-target * count // rate)
    resampler.reset()
    assert in_packets(resampler, samples, sizes[::-1]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("rate", [44100, 48000, 16000])
def test_long_blocks_and_layouts_change_no_bit(rate):
    """Beyond the internal pieces; and the memory order of the block does not matter."""
    samples = noise(200_001, 2)
    whole = once(samples, rate)
    assert in_packets(Resampler(rate), samples, [rate // 50] * 150).tobytes() == whole.tobytes()
    assert once(np.asfortranarray(samples), rate).tobytes() == whole.tobytes()
    assert once(samples[::-1].copy()[::-1], rate).tobytes() == whole.tobytes()


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 384000])
def test_a_sine_keeps_its_amplitude_and_place(rate):
    time = np.arange(rate // 2) / rate
    got = once(np.sin(2 * np.pi * 440 * time).astype(np.float32), rate)
    want = np.sin(2 * np.pi * 440 * np.arange(len(got)) / 16000)
    assert np.abs(got - want)[100:-100].max() < 2e-3


def test_what_lies_above_the_new_band_is_gone():
    time = np.arange(48000) / 48000
    assert np.abs(once(np.sin(2 * np.pi * 12000 * time).astype(np.float32), 48000))[100:-100].max() < 1e-2


@pytest.mark.parametrize("rate", [16000, 44100])
def test_channels_are_averaged(rate):
    samples = noise(5000, 4)
    each = np.mean([once(samples[:, c], rate) for c in range(4)], 0)
    assert np.abs(once(samples, rate) - each).max() < 2e-7
    assert not once(np.concatenate([samples, -samples], 1), rate).any()


def test_equal_rates_pass_through():
    samples = noise(1000, 1)[:, 0]
    resampler = Resampler(16000)
    assert (resampler.feed(samples) == samples).all() and len(resampler.finish()) == 0


def test_nothing_gives_nothing():
    for rate in (16000, 48000):
        assert len(once(np.zeros((0, 2), np.float32), rate)) == 0
        assert len(Resampler(rate).finish()) == 0


def test_output_comes_without_much_delay():
    resampler = Resampler(48000)
    got = sum(len(resampler.feed(noise(960, 1))) for _ in range(50))
    assert 16000 - got <= 7  # 18 samples of lookahead at 48 kHz


def test_wrong_use():
    for rates in ((999, 16000), (48000, 500), (400000, 16000)):
        with pytest.raises(MarotteError, match=r"sample rate .* is not within"):
            Resampler(*rates)
    resampler = Resampler(48000)
    with pytest.raises(MarotteError, match=r"type int16.* floats"):
        resampler.feed(np.zeros(10, np.int16))
    with pytest.raises(MarotteError, match=r"shape \[1, 2, 3\]"):
        resampler.feed(np.zeros((1, 2, 3), np.float32))
    resampler.finish()
    with pytest.raises(MarotteError, match="reset"):
        resampler.feed(np.zeros(10, np.float32))
    with pytest.raises(MarotteError, match="reset"):
        resampler.finish()


@pytest.mark.parametrize("rate", [16000, 44100])
def test_mono_blocks(tmp_path, rate):
    samples = noise(rate + 123, 2) * np.float32(0.9)
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    with open_audio(tmp_path / "a.wav") as source:
        packets = list(mono_blocks(source, packet=640))
    assert {len(packet) for packet in packets[:-1]} == {640} and 0 < len(packets[-1]) <= 640
    assert np.concatenate(packets).tobytes() == once(samples, rate).tobytes()
    with open_audio(tmp_path / "a.wav") as source, pytest.raises(MarotteError, match="packet"):
        next(mono_blocks(source, packet=0))


@pytest.mark.parametrize("rate", [44100, 48000])
def test_memory_is_flat(rate):
    second = noise(rate, 2)
    tracemalloc.start()
    resampler = Resampler(rate)
    total = sum(len(resampler.feed(second)) for _ in range(300)) + len(resampler.finish())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 300 * 16000
    assert peak < 5e6


def test_import_is_cheap():
    code = "import sys, marotte.runtime.audio.resample; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"scipy", "numba", "librosa", "soundfile", "imageio_ffmpeg", "torch"} & set(loaded)
