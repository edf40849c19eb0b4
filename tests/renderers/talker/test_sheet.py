"""The contact sheet of a head that only sound moves."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.renderers.gaussian_talker import GaussianTalkerRenderer
from marotte.runtime.contact_sheet import contact_sheet, recorded_poses


@pytest.mark.parametrize("features", ["marotte-phones", "deepspeech"])
def test_recorded_poses_and_lids_are_drawn(avatar, features):
    seen = []
    sheet = contact_sheet(
        replace(avatar, features=features),
        GaussianTalkerRenderer(),
        size=96,
        extra={"device": "cpu"},
        progress=lambda done, of: seen.append((done, of)),
    )
    assert sheet.size == (8 * 96, 2 * 80) and seen[-1] == (11, 11)
    cells = np.asarray(sheet).reshape(2, 80, 8, 96, 3).transpose(0, 2, 1, 3, 4)[:, :, 20:].astype(int)
    first, last = cells[0, 0], cells[0, 7]
    assert np.abs(first - last).max() > 50, "another pose and torso"
    lids = cells[1, :3]
    assert np.array_equal(lids[0], first) and np.abs(lids[2] - lids[0]).max() >= 2
    assert (cells[1, 3:] == 255).all()


def test_short_recordings_show_each_frame_once():
    assert [row.frame for row in recorded_poses(3)] == [0, 1, 2, 0, 0, 0]
    spread = [row.frame for row in recorded_poses(500)][:8]
    assert spread[0] == 0 and spread[-1] == 499 and np.ptp(np.diff(spread)) <= 1
