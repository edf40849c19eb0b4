"""The mesh renderer as a plug-in: the contract, backgrounds, heads that bring no colours."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.renderers.mesh import MeshRenderer
from marotte.runtime.arkit import JAW_LEFT, JAW_OPEN, SLOT
from marotte.runtime.avatar import load_avatar
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.motion import Motion
from marotte.runtime.testing import check_renderer


@pytest.fixture(scope="module")
def demo():
    return load_avatar("demo")


def picture(avatar, motion, background=None, size=(128, 128)):
    stream = MeshRenderer().open(avatar, RenderOptions(*size))
    bridge = Bridge(avatar, avatar.framing("head").camera(*size))
    drive = Drive(
        frame_ticks(0, len(motion), motion.fps),
        bridge.head_state(motion),
        bridge.cameras(motion),
        background or Background(colour=(0, 0, 1)),
    )
    return MeshRenderer().render(stream, drive)


def codes(**values) -> Motion:
    row = np.zeros((1, 106), np.float32)
    for name, value in values.items():
        if name in SLOT:
            row[0, SLOT[name]] = value
        else:
            row[0, {"head": slice(100, 103), "jaw": slice(103, 106)}[name]] = value
    return Motion(row, Fraction(25), "arkit52")


def test_it_keeps_the_contract(demo):
    check_renderer(MeshRenderer(), demo)


def test_the_head_stands_in_the_picture(demo):
    frames = picture(demo, codes())
    assert frames.format == "rgb24"
    sky = np.all(frames.pixels[0] == (0, 0, 255), axis=-1)
    assert sky[:4].all() and not sky[54:74, 54:74].any() and 0.2 < sky.mean() < 0.8


def test_transparent_pictures_carry_alpha(demo):
    frames = picture(demo, codes(), Background(transparent=True))
    alpha = frames.pixels[0, ..., 3]
    assert frames.format == "rgba" and alpha[0, 0] == 0 and alpha[64, 64] == 255


def test_a_picture_may_stand_behind(demo):
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, :64, 1] = 200
    pixels = picture(demo, codes(), Background(image=image)).pixels[0]
    assert pixels[2, 2].tolist() == [0, 200, 0] and pixels[2, 125].tolist() == [0, 0, 0]


def test_jaw_and_head_move_as_they_say(demo):
    still = picture(demo, codes()).pixels[0].astype(int)
    opened = picture(demo, codes(jaw=JAW_OPEN)).pixels[0].astype(int)
    changed = np.abs(still - opened).sum(axis=-1) > 30
    rows = np.flatnonzero(changed.any(axis=1))
    assert rows.min() > 45  # nothing above the eyes
    turned = picture(demo, codes(head=(0, 0.5, 0))).pixels[0].astype(int)
    # The nose is the first thing that goes to the person's left, which is the picture's right.
    assert np.abs(still - turned)[:, 66:].sum() > 0 and JAW_LEFT[1] > 0


def test_a_head_without_colours_is_clay_with_tinted_lips(demo, tmp_path):
    model = FlameModel.load(demo.head_path)
    replace(model, render={}, masks={"lips": model.masks["lips"]}).save(tmp_path / "head.npz")
    bare = replace(demo, path=tmp_path, files={})
    pixels = picture(bare, codes()).pixels[0].astype(int)
    assert np.ptp(pixels[40:60, 50:78], axis=(0, 1)).max() > 5  # shaded
    check_renderer(MeshRenderer(), bare)


def test_an_avatar_without_a_head_model_is_named(demo):
    with pytest.raises(MarotteError, match="names no head model"):
        MeshRenderer().open(replace(demo, head=""), RenderOptions())


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_odd_sizes(demo, size):
    assert picture(demo, codes(), size=size).pixels.shape[1:3] == size[::-1]
