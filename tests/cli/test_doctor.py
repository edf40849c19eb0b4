"""`marotte doctor` as users run it: exit codes, one object, one screen, the mend that it prints."""

import json
import math
import shlex

import numpy as np
import pytest


@pytest.fixture
def sick(tmp_path):
    """A NeRF file whose angle of view is half of what it should be, with landmarks: written to a folder."""

    def make(folder, half=True):
        random = np.random.default_rng(5)
        points = random.uniform(-0.08, 0.08, (30, 3))
        angles = random.normal(0, 0.2, (6, 3))
        focal, frames, measured = 1200.0, [], []
        for pitch, yaw, _ in angles:
            across = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
            down = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
            world_to_camera = np.eye(4)
            world_to_camera[:3, :3], world_to_camera[:3, 3] = np.diag([1, -1, -1]) @ across @ down, (0.01, 0, 1.2)
            at = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
            measured.append(at[:, :2] / at[:, 2:] * focal + 256 + random.normal(0, 0.7, (30, 2)))
            matrix = np.linalg.inv(world_to_camera)
            matrix[:3, 1:3] *= -1
            frames.append({"file_path": f"./{len(frames)}", "transform_matrix": matrix.tolist()})
        angle = math.atan(256 / focal) * (1 if half else 2)
        folder.mkdir()
        table = {"camera_angle_x": angle, "w": 512, "h": 512, "frames": frames}
        (folder / "transforms.json").write_text(json.dumps(table))
        np.savez(folder / "landmarks.npz", points3d=points, points2d=np.array(measured))
        return folder

    return make


def test_a_fault_is_named_on_one_screen_with_its_mend(desk, sick):
    folder = sick(desk.folder / "sick")
    done = desk.run("doctor", folder, "--overlay", "over.png")
    assert done.code == 1 and not done.err
    assert "fov_half_angle" in done.out and "RMS" in done.out and "confidence" in done.out
    assert len(done.out.splitlines()) <= 24
    assert (desk.folder / "over.png").read_bytes().startswith(b"\x89PNG")
    command = next(line.split(None, 1)[1] for line in done.out.splitlines() if line.split()[0] == "mend")
    mended = desk.run(*shlex.split(command)[1:])
    assert mended.code == 1 and "written" in mended.out
    healed = desk.run("doctor", "MENDED.json", "--landmarks", folder / "landmarks.npz")
    assert healed.code == 0 and "healthy" in healed.out
    again = desk.run(*shlex.split(command)[1:])
    assert again.code == 2 and "already there" in again.err


def test_json_is_one_object(desk, sick):
    for half, code, faults in ((True, 1, ["fov_half_angle"]), (False, 0, ["none"])):
        done = desk.run("doctor", sick(desk.folder / f"half-{half}", half), "--json")
        found = json.loads(done.out)
        assert done.code == code and found["faults"] == faults
        assert {"alternatives", "evidence", "mend"} <= found.keys()


@pytest.mark.parametrize("options", [["nowhere"], ["sick", "--size", "big"], ["sick", "--format", "polaroid"], ["."]])
def test_what_cannot_be_read_is_2_and_one_line(desk, sick, options):
    sick(desk.folder / "sick")
    done = desk.run("doctor", *options)
    assert done.code == 2 and not done.out and len(done.err.splitlines()) == 1 and "internal" not in done.err
