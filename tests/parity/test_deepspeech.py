"""DeepSpeech's front end and the published windows (reference/gaussiantalker/SPEC.md, section 7.3)."""

import re

import numpy as np
import pytest

from marotte.drivers.speech_windows_rows import WindowRows
from marotte.models.gaussian_talker.config import CLASSES, STEPS
from marotte.models.gaussian_talker.windows import rows_to_windows
from marotte.runtime.audio.deepspeech import logit_count, mfcc, net_input, resampled, row_count

FILES = pytest.mark.reference_files("gaussiantalker/deepspeech*.npz")
# Sums of products in another order: seen 2.5e-14.
ROUNDING = 1e-11


@pytest.fixture
def cases(reference_file):
    """Arrays by case and name."""
    out: dict[str, dict[str, np.ndarray]] = {}
    with np.load(reference_file) as file:
        for key in file.files:
            if match := re.fullmatch(r"(c\d+)_(\w+)", key):
                out.setdefault(match[1], {})[match[2]] = file[key]
    assert out
    return out


@FILES
def test_coefficients_and_input(cases):
    seen = 0
    for name, case in cases.items():
        if "mfcc" in case:
            got = mfcc(case["audio"])
            assert got.shape == case["mfcc"].shape and np.abs(got - case["mfcc"]).max() <= ROUNDING, name
            seen += 1
        if "net_input" in case:
            want = case["net_input"]
            got = net_input(case["audio"])
            assert got.shape == want.shape and len(got) == row_count(len(case["audio"])), name
            rounding = ROUNDING if want.dtype == np.float64 else np.finfo(np.float32).eps * np.abs(want).max()
            assert np.abs(got - want).max() <= rounding, name
            seen += 1
    assert seen


def rows_of(case):
    count = int(case["num_frames"])
    return resampled(case["logits"], int(case["n_samples"]), None if count < 0 else count)


@FILES
def test_windows_are_exact(cases):
    for name, case in cases.items():
        assert np.array_equal(rows_to_windows(rows_of(case)).transpose(0, 2, 1), case["aud_ds"]), name


@FILES
@pytest.mark.parametrize("packet", [1, 2, 7, 16, 1000])
def test_windows_as_they_come(cases, packet):
    for name, case in cases.items():
        rows = rows_of(case)
        stream = WindowRows()
        parts = [stream.feed(rows[first : first + packet]) for first in range(0, len(rows), packet)]
        got = np.concatenate([*parts, stream.finish()])
        want = case["aud_ds"].astype(np.float32).transpose(0, 2, 1)
        assert len(got) == 2 * len(want), name
        assert np.array_equal(got[::2].reshape(-1, CLASSES, STEPS), want), name


@FILES
def test_count_of_rows(cases):
    for name, case in cases.items():
        if case["num_frames"] < 0:
            assert len(case["aud_ds"]) == -(-(logit_count(int(case["n_samples"])) - 1) // 2), name
