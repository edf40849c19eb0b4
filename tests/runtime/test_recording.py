"""A GaussianTalker's recording: what is read of its folder, and every way in which it can be wrong."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.models.safe_files import read_torch, read_torch_entries
from marotte.models.torch_writer import write_torch
from marotte.runtime.recording import camera_of, euler_of, read_recording


@pytest.fixture
def data(trained_talker, tmp_path) -> Path:
    return Path(shutil.copytree(trained_talker / "data", tmp_path / "data"))


def refusal(folder, frames="all") -> str:
    with pytest.raises(MarotteError) as caught:
        read_recording(folder, frames)
    text = str(caught.value)
    assert "\n" not in text
    return text


def edit(path: Path, **entries) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_frames_of_each_split(data):
    train, val, both = (read_recording(data, frames) for frames in ("train", "val", "all"))
    assert train.ids == tuple(range(10)) and val.ids == val.sounds == (10, 11) and both.ids == tuple(range(12))
    np.testing.assert_array_equal(both.euler[10:], val.euler)
    assert (both.width, both.height) == (32, 24) and len(both) == len(both.cameras) == 12 and not both.notes
    np.testing.assert_array_equal(both.blinks, np.minimum(np.arange(12) * 0.25, 2) / 2)
    assert both.blinks.dtype == np.float64 and both.euler.dtype == both.translation.dtype == np.float32
    (data / "transforms_train.json").unlink()
    assert read_recording(data).ids == (10, 11)


def test_frames_keep_the_order_and_repeats_of_their_file(data):
    edit(data / "transforms_val.json", frames=[{"img_id": 11}, {"img_id": 3, "aud_id": 7}, {"img_id": 11}])
    val, both = read_recording(data, "val"), read_recording(data)
    assert val.ids == (11, 3, 11) and val.sounds == (11, 7, 11)
    np.testing.assert_array_equal(val.euler, both.euler[[10, 3, 10]])
    np.testing.assert_array_equal(val.torso(1), both.torso(3))


def test_behind_is_the_torso_over_the_plain_background(data):
    recording = read_recording(data, "val")
    torso, plain = recording.torso(1), recording.plain()
    assert torso.shape == (24, 32, 4) and plain.shape == (24, 32, 3) and torso.dtype == plain.dtype == np.uint8
    alpha = torso[..., 3:] / 255
    expected = torso[..., :3] / 255 * alpha + plain / 255 * (1 - alpha)
    np.testing.assert_allclose(recording.behind(1), expected, atol=2e-7)
    assert recording.behind(1).dtype == np.float32


def test_without_torsos_the_background_is_alone_and_a_note_says_so(data):
    shutil.rmtree(data / "torso_imgs")
    recording = read_recording(data)
    assert not recording.has_torsos and "branch torso" in recording.notes[0]
    assert not recording.torso(0).any()
    np.testing.assert_array_equal(recording.behind(0), recording.plain() / np.float32(255))


def test_a_fused_cloud_is_left_alone_and_named(data):
    (data / "fused.ply").touch()
    assert "fused.ply" in read_recording(data).notes[0]


def test_euler_angles_come_back_from_the_camera():
    for euler in np.random.default_rng(0).uniform(-1.4, 1.4, (20, 3)):
        camera = camera_of(euler, np.array([0.1, 0.2, -7.0]), 90.0, 32, 24)
        np.testing.assert_allclose(euler_of(camera.R), euler, atol=1e-12)
        assert camera.unit == 10 and camera.t[2] == 7 and camera.K[0, 2] == 16 and camera.K[1, 2] == 12


def test_the_mesh_of_each_frame_is_not_read(data, monkeypatch):
    path = data / "track_params.pt"
    whole = dict(read_torch(path))
    whole["vertices"] = np.zeros((12, 300000), np.float32)
    write_torch(path, whole)
    read = []
    from marotte.models.safe_torch import ZipMembers

    plain = ZipMembers.read
    monkeypatch.setattr(ZipMembers, "read", lambda self, name: read.append(name) or plain(self, name))
    assert set(read_torch_entries(path, ("euler", "trans", "absent"))) == {"euler", "trans"}
    assert sum(name.startswith("archive/data/") for name in read) == 2
    assert len(read_recording(data)) == 12


def test_a_track_in_the_older_form_of_torch(data):
    torch = pytest.importorskip("torch")
    path = data / "track_params.pt"
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in read_torch(path).items()}
    before = read_recording(data)
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(read_recording(data).euler, before.euler)
    torch.save(torch.zeros(3), path)
    assert "not a dict" in refusal(data)


def test_nothing_is_unpickled(data):
    class Evil:
        def __reduce__(self):
            return print, ("ran",)

    (data / "track_params.pt").write_bytes(pickle.dumps({"euler": Evil()}))
    assert "track_params.pt" in refusal(data)


def test_missing_torsos_are_counted_when_it_opens(data):
    for i in (3, 4, 11):
        (data / "torso_imgs" / f"{i}.png").unlink()
    text = refusal(data)
    assert "torso_imgs/3.png is missing, and 2 more" in text
    assert "torso_imgs/11.png is missing:" in refusal(data, "val")


@pytest.mark.parametrize("kind", ["size", "RGB", "noise"])
def test_torsos_of_another_kind_are_named_when_it_opens(data, kind):
    for i in (10, 11):
        path = data / "torso_imgs" / f"{i}.png"
        if kind == "noise":
            path.write_bytes(b"not a picture")
        else:
            Image.new("RGB" if kind == "RGB" else "RGBA", (32, 24) if kind == "RGB" else (31, 24)).save(path)
    text = refusal(data)
    assert {"size": "31x24", "RGB": "expected RGBA", "noise": "not a picture"}[kind] in text
    assert "10.png" in text and "1 more" in text


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"cx": 15.75}, "no lens"),
        ({"focal_len": 0.0}, "no lens"),
        ({"focal_len": "wide"}, "focal_len"),
        ({"frames": []}, "at least one frame"),
        ({"frames": [{"aud_id": 1}]}, "img_id"),
        ({"frames": [{"img_id": -1}]}, "img_id"),
        ({"frames": [{"img_id": 12}]}, "has 12 frames, but"),
        ({"cx": 20.0}, "pictures of 40x24"),
    ],
)
def test_a_split_that_is_wrong(data, edits, said):
    edit(data / "transforms_val.json", **edits)
    assert said in refusal(data)


def test_absent_files_are_named(data):
    assert "not there" in refusal(data / "nowhere")
    for name in ("bc.jpg", "au.csv", "track_params.pt"):
        held = (data / name).read_bytes()
        (data / name).unlink()
        assert name in refusal(data)
        (data / name).write_bytes(held)
    (data / "transforms_val.json").unlink()
    assert "take --frames train" in refusal(data, "val")
    (data / "transforms_train.json").unlink()
    assert "not the folder of a tracked recording" in refusal(data)
    assert "val" in refusal(data, "test")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"euler": None}, "lacks euler"),
        ({"trans": None}, "lacks trans"),
        ({"euler": np.zeros((5, 3), np.float32), "trans": np.zeros((5, 3), np.float32)}, "has 5 frames"),
        ({"trans": np.zeros((5, 3), np.float32)}, "expected [12, 3]"),
        ({"euler": np.full((12, 3), np.nan, np.float32)}, "NaN"),
    ],
)
def test_a_track_that_is_wrong(data, entries, said):
    path = data / "track_params.pt"
    track = {**read_torch(path), **entries}
    write_torch(path, {name: array for name, array in track.items() if array is not None})
    assert said in refusal(data)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frame, AU45_c\n1, 0\n", "no column AU45_r"),
        ("", "no column AU45_r"),
        ("frame, AU45_r\n1, 0.5\n", "has 1 rows"),
        ("frame, AU45_r\n1, 0.5\n2, shut\n", "line 3: AU45_r is 'shut'"),
        ("frame, AU45_r\n1, nan\n", "line 2"),
        ("frame, AU45_r\n1\n", "line 2: AU45_r is ''"),
    ],
)
def test_blinks_that_are_wrong(data, text, said):
    (data / "au.csv").write_text(text)
    assert said in refusal(data)


def test_blinks_by_a_name_without_the_blank(data):
    before = read_recording(data).blinks
    text = (data / "au.csv").read_text().replace(", ", ",")
    (data / "au.csv").write_text("\ufeff" + text)
    np.testing.assert_array_equal(read_recording(data).blinks, before)


def test_a_background_of_another_size(data):
    Image.new("RGB", (32, 25)).save(data / "bc.jpg")
    assert "32x25 pixels" in refusal(data)


def test_pictures_that_change_after_it_opened(data):
    recording = read_recording(data)
    (data / "torso_imgs" / "0.png").unlink()
    with pytest.raises(MarotteError, match=r"0\.png"):
        recording.torso(0)
