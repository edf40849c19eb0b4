"""What the doctor reads and writes: mended files, pictures, and files that nobody can read."""

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.cameras.doctor import diagnose
from marotte.runtime.cameras.doctor.mend import write_mended


@pytest.mark.parametrize(
    ("form", "fault"),
    [("insta", "fov_half_angle"), ("nerf", "yz_flipped"), ("imavatar", "scale4_missing"), ("3dgs", "r_transposed"),
     ("facelift", "resize_missing"), ("mammal", "c2w_as_w2c"), ("metrical", "frame_shift"),
     ("pytorch3d", "principal_point_dropped"), ("gaussian-talker", "degrees_for_radians"),
     ("gagavatar", "p3d_row_column_swapped")],
)  # fmt: skip
def test_mended_files_are_healthy(tmp_path, form, fault, puzzle):
    puzzle(tmp_path / "in", 5, form, [fault])
    found = diagnose(tmp_path / "in")
    (tmp_path / "out").mkdir()
    suffix = found.reading.path.suffix
    write_mended(found, tmp_path / "out" / f"mended{suffix}")
    for name in ("landmarks.npz", "puzzle.json"):
        (tmp_path / "out" / name).write_bytes((tmp_path / "in" / name).read_bytes())
    healed = diagnose(tmp_path / "out" / f"mended{suffix}", tmp_path / "in" / "landmarks.npz")
    if fault == "frame_shift":  # the cameras that were pushed out of the file are lost
        assert np.allclose(healed.reading.R[2:-2], found.mended.R[2:-2], atol=1e-6)
    else:
        assert healed.healthy
    with pytest.raises(MarotteError, match="already there"):
        write_mended(found, tmp_path / "out" / f"mended{suffix}")


def test_a_format_that_cannot_hold_the_mended_lens_says_so(tmp_path, puzzle):
    puzzle(tmp_path, 2, "gagavatar", ["principal_point_dropped"])
    found = diagnose(tmp_path)
    assert found.mend.endswith("--to facelift")
    with pytest.raises(MarotteError, match="cannot hold the mended lens"):
        write_mended(found, tmp_path / "out.pt")
    write_mended(found, tmp_path / "out.json", "facelift")
    assert diagnose(tmp_path / "out.json", tmp_path / "landmarks.npz", format="facelift").healthy


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "transforms.json").write_text("{"), "not valid JSON"),
        (lambda f: (f / "transforms.json").write_text('{"frames": [{"transform_matrix": [[1]]}]}'), "transform_matrix"),
        (lambda f: np.savez(f / "landmarks.npz", points3d=np.zeros((4, 3))), "lacks points2d"),
        (
            lambda f: np.savez(f / "landmarks.npz", points3d=np.zeros((4, 3)), points2d=np.zeros((2, 5, 2))),
            "must agree",
        ),
        (lambda f: (f / "transforms.json").unlink(), "holds no camera file"),
    ],
)
def test_unreadable_files_are_one_line(tmp_path, change, words, puzzle):
    puzzle(tmp_path, 1, "insta", [])
    change(tmp_path)
    with pytest.raises(MarotteError, match=words) as caught:
        diagnose(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_overlay_shows_both_sides(tmp_path, puzzle):
    from PIL import Image

    puzzle(tmp_path, 3, "insta", ["yz_flipped"])
    np.save(tmp_path / "mesh.npy", np.random.default_rng(0).uniform(-0.1, 0.1, (500, 3)))
    diagnose(tmp_path, overlay=tmp_path / "over.png", mesh=tmp_path / "mesh.npy")
    with Image.open(tmp_path / "over.png") as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    assert min(picture.size) >= 900
    red, green = (colours[:, i] > 2 * colours[:, 1 - i] for i in (0, 1))
    assert red.sum() > 200 and green.sum() > 200
