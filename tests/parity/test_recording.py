"""A person's folder as published, through our own reading of it: cameras, blinks and what is behind the head.

Each folder of the reference that has `data` and `expected.npz` is one person. Custom sound shows the frames of `val`.
"""

import numpy as np
import pytest

from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.runtime.avatars.given import Given
from marotte.runtime.avatars.talker import import_talker, talker_files
from marotte.runtime.recording import euler_of, read_recording

PEOPLE = pytest.mark.reference_files("gaussiantalker/*/expected.npz")
# Rows of the published full projection that a rasterizer reads; ours has zeros for depth.
CLIP = [0, 1, 3]
NEAR, FAR = 0.01, 100.0


@PEOPLE
@pytest.mark.parametrize("run", ["train", "val", "custom"])
def test_every_frames_camera_and_eye(reference_file, run):
    with np.load(reference_file) as expected:
        wanted = {name.removeprefix(f"{run}_"): expected[name] for name in expected if name.startswith(f"{run}_")}
    recording = read_recording(reference_file.parent / "data", "train" if run == "train" else "val")
    assert len(recording) == len(wanted["R"])
    np.testing.assert_array_equal(recording.blinks, wanted["eye"])
    for i, camera in enumerate(recording.cameras):
        settings = PublishedSettings.from_camera(camera)
        np.testing.assert_allclose(camera.R.T, wanted["R"][i], atol=1e-6)
        np.testing.assert_allclose(camera.t, wanted["T"][i][0], atol=1e-6)
        np.testing.assert_allclose(2 * np.arctan(settings.tanfovx), wanted["FoVx"][i], rtol=1e-12)
        np.testing.assert_allclose(2 * np.arctan(settings.tanfovy), wanted["FoVy"][i], rtol=1e-12)
        np.testing.assert_allclose(settings.viewmatrix, wanted["world_view_transform"][i], atol=1e-6)
        full = wanted["full_proj_transform"][i][:, CLIP]
        np.testing.assert_allclose(settings.projmatrix[:, CLIP], full, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(settings.campos, wanted["camera_center"][i], rtol=1e-6, atol=1e-6)
        projection = np.diag([1 / settings.tanfovx, 1 / settings.tanfovy, FAR / (FAR - NEAR), 0])
        projection[2, 3], projection[3, 2] = -FAR * NEAR / (FAR - NEAR), 1
        # Saved transposed, for rows; ours has no third row, which no rasterizer reads.
        np.testing.assert_allclose(projection.T, wanted["projection_matrix"][i], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            settings.viewmatrix.astype(np.float64) @ projection.T[:, CLIP], settings.projmatrix[:, CLIP], atol=1e-5
        )
        np.testing.assert_allclose(euler_of(camera.R), euler_of(wanted["R"][i].T), atol=1e-5)


@PEOPLE
@pytest.mark.parametrize("run", ["train", "val", "custom"])
def test_what_is_behind_the_head(reference_file, run, tmp_path):
    """Read from the person's own folder, and from what an import keeps of it."""
    frames = "train" if run == "train" else "val"
    own = read_recording(reference_file.parent / "data", frames)
    given = Given(name="person", data=reference_file.parent / "data", frames=frames)
    done = import_talker(reference_file.parent / "model", given, store=tmp_path)
    kept = talker_files(done.avatar)
    with np.load(reference_file) as expected:
        for recording in (own, read_recording(kept.data, kept.frames)):
            for picture, i in zip(expected[f"{run}3_bg"], expected[f"{run}3_index"], strict=True):
                np.testing.assert_array_equal(recording.behind(int(i)), picture.transpose(1, 2, 0))
            np.testing.assert_array_equal(recording.blinks, expected[f"{run}_eye"])
