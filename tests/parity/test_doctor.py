"""The doctor on the reference's puzzles and on its healthy files."""

import json
import re

import numpy as np
import pytest

from marotte.runtime.cameras.doctor import diagnose

PUZZLES = "cameras/fixtures/puzzles/p*/puzzle.json"
# Each format's files, the pictures' space in truth.npz, and how many units the file's world has to a metre.
HEALTHY = {
    "metrical": ("tracked", 1),
    "metrical/numpy1": ("tracked", 1),
    "metrical/checkpoint/00000.frame": ("tracked", 1),
    "insta": ("tracked", 1),
    "insta/transforms_train.json": ("tracked", 1),
    "imavatar": ("tracked", 1),
    "imavatar/splattingavatar_cameras.npz": ("tracked", 1),
    "gaussiantalker": ("gaussiantalker", 1),
    "gaussiantalker/track_params.pt": ("gaussiantalker", 1),
    "gagavatar": ("gagavatar", 1),
    "facelift": ("facelift", "unit_scale_facelift"),
    "mammal/new_cam_list.pkl": ("video", 1),
    "mammal/new_cam_list_numpy1.pkl": ("video", 1),
    "mammal/new_cam_dict_int.pkl": ("video", 1),
    "mammal/new_cam_dict_str.pkl": ("video", 1),
}


@pytest.mark.reference_files(PUZZLES)
def test_names_the_planted_fault(reference, reference_file):
    answers = json.loads((reference / "cameras/fixtures/puzzles/answers.json").read_text())
    answer = answers[reference_file.parent.name]
    found = diagnose(reference_file.parent)
    assert list(found.faults) == answer["faults"]
    assert found.evidence["rms_before_px"] == pytest.approx(answer["rms_as_read"], abs=0.1)
    assert found.evidence["rms_after_px"] < 1.074


@pytest.mark.reference_files(PUZZLES)
def test_the_file_alone_says_nothing_false(reference, reference_file, tmp_path):
    answers = json.loads((reference / "cameras/fixtures/puzzles/answers.json").read_text())
    for file in reference_file.parent.iterdir():
        if file.name != "landmarks.npz":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    found = diagnose(tmp_path)
    allowed = {"none", *answers[reference_file.parent.name]["faults"]}
    assert set(found.faults) <= allowed or allowed & set(found.alternatives)


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_healthy_files_are_healthy(reference, tmp_path, name, noise):
    fixtures = reference / "cameras/fixtures"
    space, unit = HEALTHY[name]
    with np.load(fixtures / "truth.npz") as truth:
        scale = truth[unit] if isinstance(unit, str) else unit
        points, pixels, size = truth["points3d"] * scale, truth[f"uv_{space}"], truth[f"wh_{space}"]
    random = np.random.default_rng(len(name))
    np.savez(tmp_path / "points.npz", points3d=points, points2d=pixels + random.normal(0, noise, pixels.shape))
    found = diagnose(fixtures / name, tmp_path / "points.npz", size=tuple(map(int, size)))
    assert found.healthy, found.evidence
    assert found.evidence["noise_px"] == pytest.approx(noise, rel=0.12)
    assert diagnose(fixtures / name).healthy


@pytest.mark.reference_files("cameras/SPEC.md")
def test_the_vocabulary_is_the_references(reference_file):
    from marotte.runtime.cameras.doctor.names import FAULTS

    section = reference_file.read_text().split("## 13.")[1].split("Procedure:")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| ") and "---" not in row]
    named = {name for row in rows[1:] for name in re.findall(r"[a-z0-9_]+", row)}
    assert len(named) > 20 and named | {"scale10_missing"} == set(FAULTS)
