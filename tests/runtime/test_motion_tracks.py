"""A face tracker's recording as motion."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime import motion_tracks
from marotte.runtime.cameras import read_cameras, write_cameras
from marotte.runtime.cameras.formats.facelift import turntable
from marotte.runtime.motion_files import read_motion


def test_expression_and_jaw_are_the_recordings(published):
    table = json.loads((published / "data" / "flame_params.json").read_text())
    file = read_motion(published / "data")
    frames = table["frames"]
    assert (len(file.motion), file.motion.basis, file.motion.fps) == (len(frames), "flame2020", 25)
    assert np.allclose(file.motion.expression[:, :50], [frame["expression"] for frame in frames], atol=1e-6)
    assert np.allclose(file.motion.jaw, [frame["pose"][6:9] for frame in frames], atol=1e-6)
    assert np.allclose(file.motion.neck, [frame["pose"][3:6] for frame in frames], atol=1e-6)
    assert file.about["assumed fps"] == "25"
    assert read_motion(published / "data" / "flame_params.json", fps=30).motion.fps == 30


def test_what_a_camera_in_front_sees_is_what_the_moving_one_saw(published):
    track, file = read_cameras(published / "data"), read_motion(published / "data")
    assert "together" in file.about["head rotation"]
    facing = np.diag([1.0, -1, -1])
    for camera, root, head in zip(track.cameras, track.head.root, file.motion.head, strict=True):
        seen = camera.R @ rotvec_to_matrix(root[None].astype(float))[0]
        assert np.allclose(facing @ rotvec_to_matrix(head[None].astype(float))[0], seen, atol=1e-6)


def test_a_camera_that_stands_still_leaves_the_head_as_it_is(published, tmp_path):
    table = json.loads((published / "data" / "flame_params.json").read_text())
    for index, frame in enumerate(table["frames"]):
        frame["world_mat"] = table["frames"][0]["world_mat"]
        frame["pose"][:3] = [0.0, 0.1 * index, 0.0]
    (tmp_path / "flame_params.json").write_text(json.dumps(table))
    file = read_motion(tmp_path / "flame_params.json")
    assert np.allclose(file.motion.head[:, 1], 0.1 * np.arange(len(table["frames"])), atol=1e-6)
    assert "head rotation" not in file.about


def test_what_holds_no_head_says_so(published, tmp_path):
    write_cameras(turntable(), tmp_path / "rig.json", "facelift")
    with pytest.raises(MarotteError, match="without FLAME parameters"):
        read_motion(tmp_path / "rig.json")
    with pytest.raises(MarotteError, match="basis is flame2020, which arkit52 cannot overrule"):
        read_motion(published / "data", basis="arkit52")
    with pytest.raises(MarotteError, match="no motion file"):
        read_motion(tmp_path / "nothing")


def test_a_rate_that_the_recording_says_is_not_overruled(published, tmp_path, monkeypatch):
    read = motion_tracks.read_cameras
    said = Fraction(30)
    monkeypatch.setattr(motion_tracks, "read_cameras", lambda path: replace(read(path), fps=said))
    assert read_motion(published / "data").motion.fps == 30
    with pytest.raises(MarotteError, match="30, which 25 cannot overrule"):
        read_motion(published / "data", fps=25)
