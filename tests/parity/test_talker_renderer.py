"""The GaussianTalker renderer's pieces against what the published code hands its rasterizer, for a whole small person.

`tiny/` is a person in the published layout; `expected.npz` has what comes of it, frame by frame of each split.
"""

from fractions import Fraction

import numpy as np
import pytest

from marotte.models.gaussian_talker.folder import find_model
from marotte.models.gaussian_talker.windows import context, read_windows
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.talker_poses import RecordedTrack
from marotte.renderers.talker_torsos import Torsos, put_under
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import SAMPLE_RATE, FeatureNeed
from marotte.runtime.join import FeatureJoin
from marotte.runtime.recording import read_recording

# Float32 sums in another order; seen with this code: network 3e-7, cameras 4e-7.
NETWORK, CAMERA = 5e-6, 2e-6
# Of each kind of frames: which split has their cameras, and which file their sound.
KINDS = {"train": ("train", "aud_ds.npy"), "val": ("val", "aud_ds.npy"), "custom": ("val", "custom.npy")}


@pytest.fixture(scope="module")
def tiny(reference):
    folder = reference / "gaussiantalker" / "tiny"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture(scope="module")
def expected(tiny):
    with np.load(tiny / "expected.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def recording(tiny, kind):
    return read_recording(tiny / "data", KINDS[kind][0])


@pytest.fixture(scope="module")
def windows(tiny, kind, recording):
    """The sequence of windows of a split: a custom file as it is, else those that the split's frames name."""
    stored = read_windows(tiny / "data" / KINDS[kind][1])
    return stored if kind == "custom" else stored[np.minimum(recording.sounds, len(stored) - 1)]


@pytest.fixture(scope="module")
def frames(expected, kind):
    return expected[f"{kind}3_index"]


@pytest.fixture(scope="module")
def poses(recording, frames):
    """What the renderer's recorded track shows at these frames' ticks."""
    track = RecordedTrack(recording)
    known = [track.frames(frame_ticks(i, i + 1, Fraction(25)))[0] for i in frames]
    assert known == list(frames)
    return [track.pose(i) for i in known]


def test_cameras(expected, kind, recording):
    for i, camera in enumerate(recording.cameras):
        settings = PublishedSettings.from_camera(camera)
        wanted = {
            "viewmatrix": expected[f"{kind}_world_view_transform"][i],
            "campos": expected[f"{kind}_camera_center"][i],
        }
        for name, value in wanted.items():
            np.testing.assert_allclose(getattr(settings, name), value, atol=CAMERA, err_msg=f"{name} of {i}")
        # Of the projection the published rasterizer reads x, y and w; ours leaves z, which nothing reads.
        projected = expected[f"{kind}_full_proj_transform"][i]
        scale = np.abs(projected).max()
        columns = [0, 1, 3]
        np.testing.assert_allclose(
            settings.projmatrix[:, columns], projected[:, columns], atol=CAMERA * scale, err_msg=f"projection of {i}"
        )
        tangents = np.tan(np.array([expected[f"{kind}_FoVx"][i], expected[f"{kind}_FoVy"][i]]) / 2)
        np.testing.assert_allclose((settings.tanfovx, settings.tanfovy), tangents, rtol=1e-6)


def test_what_reaches_the_rasterizer(tiny, expected, kind, recording, windows, frames, poses):
    torch = pytest.importorskip("torch")
    from marotte.renderers.talker_person import Heard, Person

    person = Person.load(find_model(tiny / "model"), recording, torch.device("cpu"), "float32")
    features = context(windows, frames).reshape(len(frames), 8, -1)
    heard = Heard.of(features, recording.blinks[frames], poses)
    splats = person.splats(heard)
    prefix = f"{kind}3_"
    np.testing.assert_array_equal(heard.audio.numpy(), expected[prefix + "audio"])
    np.testing.assert_array_equal(heard.eye.numpy(), expected[prefix + "eye"].reshape(-1))
    np.testing.assert_allclose(heard.cam12.numpy(), expected[prefix + "cam12"].reshape(-1, 12), atol=CAMERA)
    for ours, theirs in (
        ("means", "means3D"),
        ("sh", "shs"),
        ("opacities", "opacities"),
        ("scales", "scales"),
        ("quats_wxyz", "rotations"),
    ):
        value = getattr(splats, ours).numpy()
        np.testing.assert_allclose(
            value, expected[prefix + theirs].reshape(value.shape), atol=NETWORK, err_msg=f"{ours} of {kind}"
        )
    for i, pose in enumerate(poses):
        settings = PublishedSettings.from_camera(pose.camera)
        width, height = np.ravel(expected[prefix + "wh"])[:2]
        assert (settings.image_width, settings.image_height) == (width, height)
        np.testing.assert_allclose(settings.viewmatrix, expected[prefix + "viewmatrix"][i], atol=CAMERA)
        np.testing.assert_allclose(settings.campos, expected[prefix + "campos"][i], atol=CAMERA)
        tangents = np.reshape(expected[prefix + "tanfov"], (-1, 2))
        np.testing.assert_allclose(
            (settings.tanfovx, settings.tanfovy), tangents[i if len(tangents) > 1 else 0], rtol=1e-6
        )


def test_backgrounds(expected, kind, recording, poses):
    torsos = Torsos(recording, recording.width, recording.height)
    plain = torsos.plain.astype(np.float32) / np.float32(255)
    for i, pose in enumerate(poses):
        colour = np.zeros(plain.shape, np.float32)
        through = np.ones(plain.shape[:2], np.float32)
        put_under(colour, through, torsos.torso(pose.frame))
        wanted = expected[f"{kind}3_bg"][i].transpose(1, 2, 0)
        np.testing.assert_array_equal(colour + through[..., None] * plain, wanted)
        np.testing.assert_array_equal(recording.behind(pose.frame), wanted)


def test_windows_by_the_session(tiny):
    """What the session's join hands over at 25 fps is the published context, as far as that has eight windows."""
    from marotte.drivers.speech_windows import RecordedWindows

    windows = read_windows(tiny / "data" / "custom.npy")
    fps, count = Fraction(25), len(windows) + 1
    need = FeatureNeed("recorded-windows", 8, stride=2, before=4)
    join = FeatureJoin(RecordedWindows(tiny / "data" / "custom.npy"), need, fps)
    sound = np.zeros(int(SAMPLE_RATE * count / fps), np.float32)
    for start in range(0, len(sound), 1234):
        join.feed(sound[start : start + 1234])
    join.finish()
    heard = join.windows(0, count).reshape(count, 8, 29, 16)
    np.testing.assert_array_equal(heard, context(windows, np.arange(count)))
