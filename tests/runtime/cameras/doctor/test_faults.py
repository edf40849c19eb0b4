"""The doctor against faults that are planted: each alone, two at once, none, and what cannot be told apart."""

import json
from dataclasses import replace

import numpy as np
import pytest

from marotte.runtime.cameras.doctor import diagnose


def test_names_every_fault_of_a_format(tmp_path, puzzle, each_form, faults_of):
    form, wrong = each_form, {}
    for seed, fault in enumerate(faults_of[form]):
        puzzle(tmp_path / fault, seed, form, [fault], noise=0.7, outliers=0.02, told=bool(seed % 2))
        found = diagnose(tmp_path / fault)
        if fault not in found.faults or len(found.faults) > 1:
            wrong[fault] = found.faults
    assert not wrong


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_raises_no_false_alarm(tmp_path, puzzle, each_form, noise):
    for seed in range(3):
        puzzle(tmp_path / str(seed), seed, each_form, [], noise=noise, outliers=0.02, told=False)
        found = diagnose(tmp_path / str(seed))
        assert found.faults == ("none",) and not found.alternatives and not found.mend
        assert found.evidence["noise_px"] == pytest.approx(noise, rel=0.15)


@pytest.mark.parametrize(
    ("form", "faults"),
    [
        ("insta", ("yz_flipped", "fov_half_angle")),
        ("imavatar", ("r_transposed", "scale4_missing")),
        ("facelift", ("c2w_as_w2c", "crop_offset_missing")),
        ("facelift", ("padding_missing", "resize_missing")),
        ("mammal", ("metres_for_millimetres", "frame_shift")),
        ("metrical", ("p3d_row_column_swapped", "half_pixel")),
        ("pytorch3d", ("distance_normalised", "wrong_resolution")),
        ("gaussian-talker", ("degrees_for_radians", "principal_point_dropped")),
        ("gagavatar", ("scale5_missing", "xy_flip_missing")),
    ],
)
def test_names_two_faults(tmp_path, form, faults, puzzle):
    puzzle(tmp_path, 11, form, faults, noise=0.5)
    found = diagnose(tmp_path)
    assert set(found.faults) == set(faults)
    assert found.evidence["rms_after_px"] < 0.6 < 5 < found.evidence["rms_before_px"]


@pytest.mark.parametrize("fault", ["none", "r_transposed", "yz_flipped", "c2w_as_w2c", "fov_replaced"])
def test_a_detectors_bias_is_no_fault(tmp_path, puzzle, fault):
    """Points that are wrong in all frames alike, by 2 mm on the head and 0.8 pixels in the picture."""
    puzzle(tmp_path, 12, "imavatar", [fault] if fault != "none" else [], told=False)
    with np.load(tmp_path / "landmarks.npz") as given:
        points, measured = given["points3d"], given["points2d"]
    points = points + np.random.default_rng(2).normal(0, 0.002, points.shape)
    np.savez(tmp_path / "landmarks.npz", points3d=points, points2d=measured + np.array([0.8, 0.3]))
    found = diagnose(tmp_path)
    assert found.faults == (fault,) and found.evidence["noise_in_common"] > 0.2


def test_a_transposed_rotation_without_pitch_is_an_alternative(tmp_path, workshop):
    random = np.random.default_rng(3)
    right = workshop.make(random, "facelift")
    facing = np.diag([1.0, -1, -1])
    right = replace(right, R=np.stack([facing @ workshop.turn(1, yaw) for yaw in np.linspace(-0.5, 0.5, len(right.R))]))
    workshop.write(tmp_path, "facelift", right, random)
    measured = right.measured + random.normal(0, 1, right.measured.shape)
    np.savez(tmp_path / "landmarks.npz", points3d=right.points, points2d=measured)
    found = diagnose(tmp_path)
    assert found.healthy and "r_transposed" in found.alternatives
    assert "nods" in found.evidence["would_decide"]["r_transposed"]


def test_shifts_of_an_unknown_box_name_what_they_may_be(tmp_path, puzzle):
    puzzle(tmp_path, 4, "facelift", ["padding_missing"])
    about = json.loads((tmp_path / "puzzle.json").read_text())
    (tmp_path / "puzzle.json").write_text(json.dumps({k: v for k, v in about.items() if k != "bbox"}))
    found = diagnose(tmp_path)
    assert "padding_missing" in found.faults + found.alternatives and found.confidence < 0.6
    assert "bbox.pt" in found.evidence["would_decide"]["padding_missing"]


@pytest.mark.parametrize("count", [5, 8])
def test_few_points_and_unknown_noise_are_enough_for_a_large_fault(tmp_path, count, puzzle):
    puzzle(tmp_path, 6, "imavatar", ["yz_flipped"], told=False)
    with np.load(tmp_path / "landmarks.npz") as given:
        points, measured = given["points3d"][:count], given["points2d"][:, :count]
    np.savez(tmp_path / "landmarks.npz", points3d=points, points2d=measured)
    assert diagnose(tmp_path).faults == ("yz_flipped",)


def test_unseen_points_are_left_out(tmp_path, puzzle):
    puzzle(tmp_path, 7, "mammal", [])
    with np.load(tmp_path / "landmarks.npz") as given:
        points, measured = given["points3d"], given["points2d"]
    measured[0, 0], measured[1, 1] = np.nan, 1e6
    visibility = np.ones(measured.shape[:2])
    visibility[1, 1] = 0
    np.savez(tmp_path / "landmarks.npz", points3d=points, points2d=measured, visibility=visibility)
    found = diagnose(tmp_path)
    assert found.healthy and found.evidence["points"] == measured[..., 0].size - 2


def test_without_landmarks_a_file_is_held_against_itself(tmp_path, puzzle):
    for number, (form, fault) in enumerate(
        [("insta", "inconsistent_fields"), ("insta", "degrees_for_radians"), ("metrical", "inconsistent_fields"),
         ("gagavatar", "scale5_missing"), ("facelift", "yz_flipped"), ("mammal", "metres_for_millimetres")]
    ):  # fmt: skip
        folder = tmp_path / str(number)
        puzzle(folder, 8, form, [fault])
        (folder / "landmarks.npz").unlink()
        found = diagnose(folder)
        assert fault in found.faults, (form, fault, found.faults)
        assert "a transposed rotation" in found.evidence["cannot_see"] and "--landmarks" in found.mend


def test_a_mirrored_axis_is_named(tmp_path, workshop):
    random = np.random.default_rng(9)
    right = workshop.make(random, "facelift")
    mirror = np.diag([-1.0, 1, 1])
    workshop.write(tmp_path, "facelift", replace(right, R=mirror @ right.R, t=right.t @ mirror), random)
    assert diagnose(tmp_path).faults == ("yz_flipped",)
    np.savez(tmp_path / "landmarks.npz", points3d=right.points, points2d=right.measured)
    found = diagnose(tmp_path)
    assert found.faults == ("yz_flipped",) and "mirrored" in found.how[0]
