"""The registry of camera formats: what is recognised, what is refused, what is written."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import marotte.runtime.cameras as registry
from marotte.errors import MarotteError
from marotte.runtime.camera import facing_camera
from marotte.runtime.cameras import FORMATS, CameraTrack, format_of, load_format, read_cameras, write_cameras

# Formats that hold a centred camera of 512x512 with any focal length, and the name to write under.
PLAIN = {
    "metrical": "out",
    "insta": "out.json",
    "nerf": "out.json",
    "imavatar": "flame_params.json",
    "pytorch3d": "out.npz",
}


@pytest.fixture
def track():
    cameras = tuple(facing_camera((0.01 * i, 0, 0), 1.5, 0.5, (512, 512)) for i in range(3))
    return CameraTrack(cameras, ("00004", "00005", "00006"))


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_there(name):
    format = load_format(name)
    assert format.name == name and format.title


def test_formats_are_not_imported_before_they_are_needed():
    code = "import marotte.runtime.cameras, sys; print([m for m in sys.modules if 'cameras.formats.' in m])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['marotte.runtime.cameras.formats.format']"


def test_only_diagnose_is_there_beside_what_is_defined():
    with pytest.raises(AttributeError, match="diagnoze"):
        registry.diagnoze  # noqa: B018


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_written_is_recognised_and_read(track, tmp_path, name):
    path = tmp_path / PLAIN[name]
    assert write_cameras(track, path, name) == []
    assert format_of(path) == name
    again = read_cameras(path)
    assert again.format == name and len(again) == 3
    for camera, back in zip(track.cameras, again.cameras, strict=True):
        np.testing.assert_allclose(back.scaled(1 / back.unit).t, camera.t, atol=1e-6)
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".part")]


@pytest.mark.parametrize("name", ["insta", "nerf", "imavatar"])
def test_a_path_without_suffix_is_a_folder(track, tmp_path, name):
    write_cameras(track, tmp_path / "folder", name)
    assert (tmp_path / "folder").is_dir() and format_of(tmp_path / "folder") == name


@pytest.mark.parametrize(("name", "unit"), [("imavatar", 4.0), ("insta", 1.0), ("metrical", 1.0), ("nerf", 2.5)])
def test_the_unit_becomes_the_formats_own(track, tmp_path, name, unit):
    write_cameras(track.scaled(2.5), tmp_path / "out", name)
    again = read_cameras(tmp_path / "out")
    assert again.unit == pytest.approx(unit)
    np.testing.assert_allclose(again.cameras[0].t / unit, track.cameras[0].t, atol=1e-6)


def off_centre(track):
    moved = tuple(replace(c, K=c.K + np.array([[0, 0, 20.0], [0, 0, 0], [0, 0, 0]])) for c in track.cameras)
    return replace(track, cameras=moved)


def test_a_loss_is_refused_before_anything_is_written(track, tmp_path):
    with pytest.raises(MarotteError, match=r"principal point: up to 20 px .*--allow-loss"):
        write_cameras(off_centre(track), tmp_path / "out.json", "nerf")
    assert not list(tmp_path.iterdir())
    (loss,) = write_cameras(off_centre(track), tmp_path / "out.json", "nerf", allow_loss=True)
    assert loss.startswith("principal point") and (tmp_path / "out.json").is_file()


def test_nothing_is_left_of_a_write_that_fails(track, tmp_path, monkeypatch):
    def fails(given, path):
        (path / "half").write_text("half")
        raise MarotteError("the disk is full")

    monkeypatch.setattr(registry, "load_format", lambda name: replace(load_format("metrical"), write=fails))
    with pytest.raises(MarotteError, match="disk is full"):
        write_cameras(track, tmp_path / "out", "metrical")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_not_written_into(track, tmp_path):
    (tmp_path / "out").mkdir()
    write_cameras(track, tmp_path / "out", "metrical")
    with pytest.raises(MarotteError, match="not an empty folder"):
        write_cameras(track, tmp_path / "out", "metrical")
    with pytest.raises(MarotteError, match="there is no folder"):
        write_cameras(track, tmp_path / "none" / "out", "metrical")


def test_a_file_in_a_folder_that_is_there_leaves_its_other_files_alone(track, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images.txt").write_text("mine")
    write_cameras(track, tmp_path / "data", "imavatar")
    assert {p.name for p in (tmp_path / "data").iterdir()} == {"images.txt", "flame_params.json"}


def test_what_is_no_camera_file_is_refused_with_what_was_looked_for(tmp_path):
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(MarotteError, match="looked for metrical") as caught:
        format_of(tmp_path / "readme.txt")
    assert all(name in str(caught.value) for name in FORMATS) and "\n" not in str(caught.value)
    with pytest.raises(MarotteError, match="not there"):
        format_of(tmp_path / "nothing")
    with pytest.raises(MarotteError, match="not there"):
        read_cameras(tmp_path / "nothing", "insta")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MarotteError, match="empty folder"):
        read_cameras(tmp_path / "empty")


def test_damage_is_named_rather_than_not_recognised(tmp_path):
    (tmp_path / "transforms.json").write_text('{"frames": [')
    for path in (tmp_path, tmp_path / "transforms.json"):
        with pytest.raises(MarotteError, match=r"transforms\.json is not valid JSON"):
            format_of(path)
    (tmp_path / "transforms.json").unlink()
    (tmp_path / "cameras.pt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(MarotteError, match=r"cameras\.pt is damaged"):
        format_of(tmp_path)


def test_a_folder_of_two_formats_is_for_the_user_to_decide(track, tmp_path):
    for name in ("imavatar", "insta"):
        write_cameras(track, tmp_path / "both", name)
    with pytest.raises(MarotteError, match="insta and imavatar: name the file, or the format"):
        format_of(tmp_path / "both")
    assert read_cameras(tmp_path / "both", "imavatar").unit == 4
    assert read_cameras(tmp_path / "both" / "transforms.json").unit == 1


def test_names_and_options_that_are_unknown(track, tmp_path):
    with pytest.raises(MarotteError, match=r"no camera format is called 'inst': did you mean 'insta'\?"):
        write_cameras(track, tmp_path / "x", "inst")
    write_cameras(track, tmp_path / "out.json", "nerf")
    with pytest.raises(MarotteError, match="did you mean 'video'"):
        read_cameras(tmp_path / "out.json", vidio=(3, 4))
    for size in ("big", (0, 5), (1,)):
        with pytest.raises(MarotteError, match="size is"):
            read_cameras(tmp_path / "out.json", size=size)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "nerf"),  # ours says so
        ({"marotte": None, "aabb_scale": 4}, "nerf"),
        ({"marotte": None, "x_fov": 20.0}, "insta"),
        ({"marotte": None, "integer_depth_scale": 0.001}, "insta"),
        ({"marotte": None}, "nerf"),  # the head is in front when read so
        ({"marotte": None, "fl_x": None}, "nerf"),
    ],
)
def test_nerf_and_insta_are_told_apart_by_what_only_they_have(track, tmp_path, change, expected):
    path = tmp_path / "transforms.json"
    write_cameras(track, path, "nerf")
    table = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))
    assert format_of(path) == expected


def test_a_file_of_neither_is_insta_where_the_head_is_in_front_of_its_cameras(track, tmp_path):
    path = tmp_path / "transforms.json"
    write_cameras(track, path, "insta")
    table = json.loads(path.read_text())
    for key in ("integer_depth_scale", "x_fov", "y_fov"):
        del table[key]
    for frame in table["frames"]:
        for key in ("mesh_path", "exp_path", "seg_mask_path"):
            del frame[key]
    path.write_text(json.dumps(table))
    again = read_cameras(path)
    assert again.format == "insta" and "does not say whose axes" in again.notes[0]
    np.testing.assert_allclose(again.cameras[0].t, track.cameras[0].t, atol=1e-12)


def test_a_file_for_gaussian_talker_is_neither(tmp_path):
    frame = {"img_id": 0, "aud_id": 0, "transform_matrix": np.eye(4).tolist()}
    Path(tmp_path / "transforms_train.json").write_text(
        json.dumps({"focal_len": 1200, "cx": 256, "cy": 256, "frames": [frame]})
    )
    for name in ("insta", "nerf"):
        assert not load_format(name).recognises(tmp_path / "transforms_train.json")
