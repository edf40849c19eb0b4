"""What a GaussianTalker renderer refuses, and in which words."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.renderers.gaussian_talker import GaussianTalkerRenderer


def test_a_size_of_another_shape_is_refused(avatar, options):
    with pytest.raises(MarotteError, match=r"pictures of 96x96 .* 48x40: 96x80 or 116x96 or 48x40 would fit"):
        GaussianTalkerRenderer().open(avatar, options((96, 96), device="cpu"))


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        ({"pose": "recoded"}, "did you mean 'recorded'"),
        ({"precision": "float64"}, "precision of gaussian-talker"),
        ({"variant": "live"}, "option of gaussian-talker"),
        ({"device": "tpu"}, "device"),
    ],
    ids=str,
)
def test_unknown_options_are_named(avatar, extra, match, options):
    with pytest.raises(MarotteError, match=match):
        GaussianTalkerRenderer().open(avatar, options(**extra))


def test_avatars_that_lack_something_are_named(avatar, options):
    with pytest.raises(MarotteError, match="names no recording"):
        GaussianTalkerRenderer().open(replace(avatar, recording=""), options(device="cpu"))
    with pytest.raises(MarotteError, match="lacks its folder"):
        GaussianTalkerRenderer().open(replace(avatar, network="gone"), options(device="cpu"))


def test_broken_features_are_named(avatar, drive_of, opened):
    renderer, stream = opened(avatar)
    drive = drive_of(3)
    with pytest.raises(MarotteError, match="got none"):
        renderer.render(stream, replace(drive, features=None))
    broken = drive.features.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(MarotteError, match="features at tick 1920 are not finite"):
        renderer.render(stream, replace(drive, features=broken))


def test_without_torch_it_says_so(avatar, monkeypatch, options):
    monkeypatch.setattr("marotte.renderers.gaussian_talker.find_spec", lambda name: None)
    assert "pip install 'marotte[gaussian-talker]'" in GaussianTalkerRenderer.why_not()
    with pytest.raises(MarotteError, match="torch is not installed"):
        GaussianTalkerRenderer().open(avatar, options())
