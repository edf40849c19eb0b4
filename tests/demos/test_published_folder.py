"""The stand-in for a trained avatar is in the published forms, and its pictures are what the avatar shows."""

import numpy as np
from PIL import Image

from marotte.models.flame import FlameModel
from marotte.models.splatting_files import read_splatting_avatar
from marotte.runtime.cameras import format_of, read_cameras


def test_the_folder_is_read_as_the_published_one_is(published):
    splats = read_splatting_avatar(published / "output/point_cloud/iteration_30000")
    flame = FlameModel.load(published / "flame/generic_model.pkl", n_shape=100, n_expression=50, basis="flame2020")
    track = read_cameras(published / "data")
    assert format_of(published / "data") == "imavatar" and len(track) == 6
    assert np.array_equal(splats.faces, flame.faces)
    baked = flame.baked(track.head.shape, track.unit)
    first = baked.imavatar(track.head.expression[:1], track.head.full_pose[:1]).vertices[0]
    assert np.abs(first - splats.canonical).max() < 1e-6  # written with 6 decimals


def test_the_two_bases_are_not_interchangeable(published):
    one, two = (
        FlameModel.load(published / f"flame/{name}", n_shape=0, basis=basis).expression_dirs
        for name, basis in (("generic_model.pkl", "flame2020"), ("flame2023.pkl", "flame2023"))
    )
    assert one.shape == two.shape
    assert np.linalg.norm(one - two) > 0.5 * np.linalg.norm(one)


def test_the_pictures_show_a_person_before_nothing(published):
    track = read_cameras(published / "data")
    for name in track.images:
        rgba = np.asarray(Image.open(published / "data" / name))
        assert rgba.shape == (192, 192, 4)
        assert (rgba[:8, :8] == (255, 255, 255, 0)).all()
        assert rgba[96, 96, 3] == 255 and rgba[96, 96, :3].mean() < 200
