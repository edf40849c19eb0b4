"""A frame of metrical-tracker as a GAGAvatar: camera, zoom and matte, held to the tracked picture."""

import shutil

import numpy as np
import pytest
from PIL import Image

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.runtime.affine import Affine2D
from marotte.runtime.avatars.entry import read_source
from marotte.runtime.avatars.fit_picture import outline_mask
from marotte.runtime.avatars.given import Given
from marotte.runtime.avatars.kinds import import_avatar
from marotte.runtime.cameras import read_cameras
from marotte.runtime.cameras.formats.gagavatar import gagavatar_to_opencv
from marotte.runtime.tracked_frames import take

KIND = "gagavatar"


@pytest.fixture
def frames(standin, tmp_path):
    """The tracker's folder, which a test may damage, with FLAME beside it."""
    shutil.copytree(standin / "metrical", tmp_path / "p/q/r/take")
    shutil.copy(standin / "FLAME_with_eye.pt", tmp_path / "p/q/r")
    return tmp_path / "p/q/r/take"


def brought(frames, entry="00001", **given):
    return import_avatar(frames, Given(entry=entry, name="t", replace=True, **given), kind=KIND)


def posed(frames, index):
    """Return FLAME and the head [V, 3] of a frame, in metres."""
    track = read_cameras(frames, "metrical")
    flame = FlameModel.load(frames.parent / "FLAME_with_eye.pt", basis="flame2020")
    state = take(track.head, [index])
    head = HeadEvaluator(flame, state.shape, 1.0)
    return flame, head.vertices(state.expression, state.full_pose)[0], track.cameras[index]


def test_the_camera_is_the_trackers_with_a_zoom(frames, store):
    done = brought(frames)
    entry = read_source(done.avatar.path / "source.npz")
    _, vertices, tracked = posed(frames, 1)
    camera = gagavatar_to_opencv(entry.transform_matrix)
    np.testing.assert_allclose(camera.t, 5 * tracked.t, rtol=1e-6)
    scale = 3072 / tracked.K[0, 0]
    zoom = Affine2D(scale, scale, *(256 - scale * tracked.K[:2, 2]))
    np.testing.assert_allclose(camera.project(5 * vertices), zoom.apply(tracked.project(vertices)), atol=1e-3)
    # What FLAME's eyes, mouth and chin are on is the picture of it: the head fills it as in published crops.
    assert "experimental" in done.avatar.origin and any("experimental" in note for note in done.notes)
    assert dict(done.facts)["zoom"].startswith("x1.313") and (done.avatar.path / "fit.png").is_file()


def test_the_outline_lies_on_the_picture(frames, store):
    """The tracked picture is FLAME's own silhouette; the entry must show it where FLAME is in GAGAvatar's camera."""
    flame, vertices, tracked = posed(frames, 2)
    drawn = outline_mask(tracked, vertices, flame.faces)
    Image.fromarray(np.rint(255 * drawn).astype(np.uint8)).save(frames / "mask/00002.png")
    Image.new("RGB", (512, 512), "white").save(frames / "input/00002.png")
    entry = read_source(brought(frames, "2").avatar.path / "source.npz")
    expected = outline_mask(gagavatar_to_opencv(entry.transform_matrix), 5 * vertices, flame.faces)
    seen = entry.image[0]
    assert 0.2 < expected.mean() < 0.8
    apart = seen[1:-1, 1:-1] - expected[1:-1, 1:-1]  # the tracked picture ends nowhere near
    # An edge pixel's share changes by what the edge is moved: nowhere by half a pixel, a shift of one shows all around.
    assert (np.abs(apart) > 0.5).mean() < 1e-5
    assert (np.abs(seen[1:] - expected[:-1]) > 0.5).mean() > 1e-3
    assert (np.abs(seen[:, 1:] - expected[:, :-1]) > 0.5).mean() > 1e-3
    other = outline_mask(tracked, vertices, flame.faces)  # as it is without the zoom
    assert (np.abs(seen - other) > 0.5).mean() > 0.05


def test_the_fit_is_shown(frames, store):
    avatar = brought(frames).avatar
    sheet = np.asarray(Image.open(avatar.path / "fit.png")).astype(int)
    assert sheet.shape == (1024, 1024, 3)
    magenta = (sheet == (255, 70, 200)).all(axis=-1)
    flame, vertices, _ = posed(frames, 1)
    entry = read_source(avatar.path / "source.npz")
    edge = outline_mask(gagavatar_to_opencv(entry.transform_matrix), 5 * vertices, flame.faces) > 0.5
    inside = edge[1:-1, 1:-1] & edge[:-2, 1:-1] & edge[2:, 1:-1] & edge[1:-1, :-2] & edge[1:-1, 2:]
    shown = magenta.reshape(512, 2, 512, 2).any(axis=(1, 3))
    # But for a pixel at a corner or two, whose twice as large form has no border.
    assert (shown[1:-1, 1:-1] != (edge[1:-1, 1:-1] & ~inside)).sum() <= 3


def test_mattes(frames, store, tmp_path):
    with_mask = brought(frames)
    assert "mask beside" in dict(with_mask.facts)["matte"]
    best = read_source(with_mask.avatar.path / "source.npz").image
    shutil.move(frames / "mask", tmp_path / "elsewhere")
    named = brought(frames, mask=tmp_path / "elsewhere/00001.png")
    np.testing.assert_array_equal(read_source(named.avatar.path / "source.npz").image, best)
    matted = frames / "matted"
    matted.mkdir()
    picture = Image.open(frames / "input/00001.png").convert("RGBA")
    picture.putalpha(Image.open(tmp_path / "elsewhere/00001.png"))
    picture.save(matted / "00001.png")
    found = brought(frames)
    assert dict(found.facts)["matte"] == str(matted / "00001.png")
    np.testing.assert_array_equal(read_source(found.avatar.path / "source.npz").image, best)
    shutil.rmtree(matted)
    plain = brought(frames)
    assert any("no matte was found" in note for note in plain.notes)
    image = read_source(plain.avatar.path / "source.npz").image
    face = (slice(None), slice(150, 400), slice(180, 330))
    np.testing.assert_allclose(image[face], best[face], atol=1.01 / 255)  # inside it is the same picture
    assert not image[:, 100, :40].any()  # beside the head there is nothing
    Image.new("L", (64, 64)).save(tmp_path / "small.png")
    with pytest.raises(MarotteError, match=r"--mask .* has 64x64 pixels, the tracked picture has 512x512"):
        brought(frames, mask=tmp_path / "small.png")


def test_which_frame(frames, store):
    with pytest.raises(MarotteError, match=r"holds 3 frames: name one with --entry.*00000, 00001, 00002"):
        import_avatar(frames, kind=KIND)
    with pytest.raises(MarotteError, match=r"frame of .*00007"):
        brought(frames, "00007")
    one, two = (read_source(brought(frames, name).avatar.path / "source.npz") for name in ("1", "00001.png"))
    np.testing.assert_array_equal(one.image, two.image)
    assert import_avatar(frames / "checkpoint/00002.frame", Given(data=frames / "input"), kind=KIND)
    with pytest.raises(MarotteError, match="or take one of its frames with --as gagavatar"):
        import_avatar(frames)


def test_pictures(frames, store):
    Image.new("RGBA", (256, 256)).save(frames / "input/00001.png")
    with pytest.raises(MarotteError, match="picture of 00001 has 256x256 pixels, its camera is for 512x512"):
        brought(frames)
    shutil.rmtree(frames / "input")
    with pytest.raises(MarotteError, match=r"not beside its frames .* --data FOLDER"):
        brought(frames)
