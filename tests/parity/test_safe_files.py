"""Every file that the published systems wrote is read, with the shapes that the specifications state."""

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.models.safe_files import read_any, read_npy_object, read_npz, read_pickle, read_torch


@pytest.mark.reference_files("**/*.frame", "**/*.pt", "**/*.pth", "**/*.pkl", "**/*.npy", without="malicious_*")
def test_every_file_is_read(reference_file):
    assert read_any(reference_file) is not None


@pytest.mark.reference_files("**/*.npz")
def test_npz_files_are_read_as_numpy_reads_them(reference_file):
    ours = read_npz(reference_file)
    with np.load(reference_file, allow_pickle=False) as archive:
        assert set(ours) == set(archive.files)
        for name in archive.files:
            np.testing.assert_array_equal(ours[name], archive[name])


@pytest.mark.reference_files("cameras/fixtures/**/*.frame")
def test_frame(reference_file):
    frame = read_torch(reference_file)
    assert {k: v.shape[1:] for k, v in frame["flame"].items()} == {
        "exp": (100,),
        "shape": (300,),
        "tex": (140,),
        "sh": (9, 3),
        "eyes": (12,),
        "eyelids": (2,),
        "jaw": (6,),
    }
    assert {k: v.shape for k, v in frame["opencv"].items()} == {"R": (1, 3, 3), "t": (1, 3), "K": (1, 3, 3)}
    assert frame["camera"]["R"].shape == (1, 6) and frame["camera"]["R"].dtype == np.float32
    assert frame["img_size"].dtype == np.int64 and frame["img_size"].shape == (2,)
    assert isinstance(frame["frame_id"], str) and len(frame["frame_id"]) == 5 and type(frame["global_step"]) is int
    np.testing.assert_allclose(frame["opencv"]["R"][0] @ frame["opencv"]["R"][0].T, np.eye(3), atol=1e-5)


@pytest.mark.reference_files("cameras/fixtures/**/bbox.pt")
def test_bbox(reference_file):
    box = read_torch(reference_file)
    assert box.shape == (4,) and box.dtype == np.int64 and box[0] < box[1] and box[2] < box[3]


@pytest.mark.reference_files("cameras/fixtures/**/tracked.pt")
def test_tracked(reference_file):
    shapes = {"transform_matrix": (3, 4), "shapecode": (300,), "expcode": (100,), "posecode": (6,), "eyecode": (6,)}
    for entry in read_torch(reference_file).values():
        assert {k: entry[k].shape for k in shapes} == shapes
        # The image's tensor is expanded from few numbers (stride 0): more elements than its storage has.
        assert entry["bbox"].shape == (4,) and entry["image"].shape == (3, 512, 512)


@pytest.mark.reference_files("**/track_params.pt")
def test_track_params(reference_file):
    track = read_torch(reference_file)
    frames = len(track["exp"])
    assert track["id"].shape == (1, 100) and track["focal"].shape == (1,)
    assert track["exp"].shape == (frames, 79) and track["euler"].shape == track["trans"].shape == (frames, 3)
    assert track["vertices"].shape[::2] == (frames, 3)


@pytest.mark.reference_files("cameras/fixtures/mammal/*.pkl")
def test_mammal_cameras(reference_file):
    cameras = read_pickle(reference_file)
    for camera in cameras.values() if isinstance(cameras, dict) else cameras:
        assert {k: camera[k].shape for k in "KRT"} == {"K": (3, 3), "R": (3, 3), "T": (3,)}


@pytest.mark.reference_files("gaussiantalker/**/deformation.pth")
def test_state_dict(reference_file):
    state = read_torch(reference_file)
    assert all(isinstance(value, np.ndarray) for value in state.values())
    table = read_torch(reference_file.with_name("deformation_table.pth"))
    assert table.dtype == bool and len(table) == len(read_torch(reference_file.with_name("deformation_accum.pth")))


@pytest.mark.reference_files("**/malicious_*")
def test_malicious_files_are_refused_and_run_nothing(reference_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for read in (read_any, read_pickle, read_torch, read_npy_object, read_npz):
        with pytest.raises(MarotteError):
            read(reference_file)
    with pytest.raises(MarotteError, match="refused") as caught:
        read_any(reference_file)
    assert str(reference_file) in str(caught.value)
    assert not list(tmp_path.iterdir())
