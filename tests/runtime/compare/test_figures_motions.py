"""The figures of two motions add up to what `marotte motion compare` says of them."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from marotte.runtime.compare.blocks import Blocks
from marotte.runtime.compare.face_figures import blinks, head_motion, head_speed, landmark_distance
from marotte.runtime.compare.figures import figures
from marotte.runtime.compare.motions import apart, gap_error, lip_error, upper_deviation
from marotte.runtime.motion import JAW, Motion
from marotte.runtime.motion_compare import compare
from marotte.runtime.motion_head import MeasuredHead

FPS = Fraction(25)


@pytest.fixture(scope="module")
def head() -> MeasuredHead:
    return MeasuredHead.load("demo")


def moving(seed: int, frames: int = 300) -> Motion:
    rng = np.random.default_rng(seed)
    codes = np.zeros((frames, 106), np.float32)
    codes[:, :52] = np.clip(rng.normal(0.1, 0.2, (frames, 52)), 0, 1)
    codes[:, JAW.start] = np.clip(rng.normal(0.1, 0.1, frames), 0, 0.4)
    return Motion(codes, FPS, "arkit52")


def test_figures_are_those_of_motion_compare(head):
    first, second = moving(0), moving(1, 280)
    blocks = Blocks(300, FPS)
    found = apart(first, second, head, blocks)
    expected = compare(first, second, head)
    values = [
        blocks.value(quantity)
        for quantity in (
            lip_error(found, blocks, squared=True),
            lip_error(found, blocks, squared=False),
            upper_deviation(found, blocks),
            gap_error(found, blocks),
        )
    ]
    assert [value.value for value in values] == pytest.approx(
        [
            expected.lip_vertex_error_mm2,
            expected.lip_vertex_distance_mm,
            expected.upper_face_deviation_mm,
            expected.mouth_opening_difference_mm,
        ]
    )
    assert all(value.low < value.value < value.high and value.count == 280 for value in values)


def test_motions_of_other_bases_and_heads_that_are_missing(talking, head):
    other = replace(talking, name="other", motion=Motion(np.zeros((10, 106), np.float32), FPS, "flame2020"))
    found = figures([talking, other, replace(talking, name="third")], talking.sound, heads={}, resamples=20)
    assert "another basis: flame2020, first arkit52" in found.values["other"]["mod"].note
    assert "no head model of arkit52" in found.values["third"]["fdd"].note


def test_blinks_have_hysteresis_and_are_finer_than_a_frame():
    track = np.array([0, 0, 0.8, 0.9, 0.4, 0.6, 0.2, 0, 0.5, 0.6, 0, 0.9, np.nan, 0.9, 0.9, 0, 1, 1])
    found = blinks(track, 25.0)
    assert found.begins.tolist() == [2, 9, 11, 16]
    # From 1.625 to 5.25, from 8 to 9 1/6; what is cut off has no end.
    assert np.allclose(found.lasting[:2] * 25, [3.625, 7 / 6], atol=1e-9)
    assert np.isnan(found.lasting[2:]).all()
    assert not len(blinks(np.array([0.9, 0.9, 0.0, 0.4]), 25.0).begins)


def test_a_head_that_turns(talking):
    blocks = Blocks(300, FPS)
    yaw = 10 * np.sin(2 * np.pi * np.arange(300) / 25)
    head = np.stack([np.zeros(300), yaw + 180, np.zeros(300)], axis=1)
    head[:, 1] = (head[:, 1] + 180) % 360 - 180
    turning = replace(talking, head=head)
    assert blocks.value(head_motion(turning, blocks)).value == pytest.approx(10 / np.sqrt(2))
    assert blocks.value(head_speed(turning, blocks)).value == pytest.approx(40, rel=0.02)
    still = replace(talking, head=np.full((300, 3), 0.1))
    assert blocks.value(head_motion(still, blocks)).value == 0


def test_landmarks_are_matched_without_the_jaw_line():
    marks = np.random.default_rng(0).uniform(0, 100, (4, 68, 2))
    marks[:, 36], marks[:, 45] = (30, 40), (80, 40)
    moved = marks + np.array([3, 4])
    moved[:, :17] = np.nan
    moved[3] = np.nan
    assert np.allclose(landmark_distance(moved, marks, share=False), [5, 5, 5, np.nan], equal_nan=True)
    assert np.allclose(landmark_distance(moved, marks[:2], share=True), [10, 10, np.nan, np.nan], equal_nan=True)
    assert landmark_distance(marks, None, share=False) == "no landmarks in what it is compared with"
