"""Pictures that are warped go with their cameras."""

from dataclasses import replace

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.affine import Affine2D
from marotte.runtime.camera import FACING, Camera
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.cameras.warp import NEEDS, PictureNeeds, fit_pictures, picture_map, warp_picture

POINTS = np.array([(-0.06, 0.05, 0.02), (0.05, 0.06, 0.0), (0.0, 0.0, 0.08), (0.03, -0.07, 0.03), (-0.04, -0.05, 0.0)])


def camera(cx=150.0, cy=120.0, fx=900.0, fy=900.0, size=(320, 240)):
    return Camera(FACING, np.array([0.0, 0, 1]), np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), *size)


def track(*cameras):
    return CameraTrack(cameras, tuple(map(str, range(len(cameras)))))


def dots(points, size, spread=2.5):
    """A black picture with a round, bright spot about each point."""
    x, y = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    picture = sum(250 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 2 / spread**2) for u, v in points)
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def centres(picture, near, reach):
    """The centre of brightness about each point."""
    found = []
    for u, v in near:
        left, top = int(u) - reach, int(v) - reach
        cut = picture[top : top + 2 * reach + 1, left : left + 2 * reach + 1].astype(float)
        y, x = np.mgrid[: cut.shape[0], : cut.shape[1]] + 0.5
        found.append((left + (x * cut).sum() / cut.sum(), top + (y * cut).sum() / cut.sum()))
    return np.array(found)


@pytest.mark.parametrize("name", sorted(NEEDS))
@pytest.mark.parametrize("fill", [False, True])
def test_dots_stay_where_the_new_camera_sees_them(name, fill):
    needs = NEEDS[name]
    # A lens that keeps the face in GAGAvatar's picture too.
    source = camera(fx=1500, fy=1500 if needs.focal else 1400)
    fit = fit_pictures(track(source), needs, fill=fill)
    assert needs.met_by(fit.track)
    new = fit.track.cameras[0]
    picture = warp_picture(dots(source.project(POINTS), (320, 240)), fit.maps[0], (new.width, new.height))
    expected = new.project(POINTS)
    inside = ((expected > 8) & (expected < np.array(picture.shape[1::-1]) - 8)).all(axis=1)
    assert inside.sum() >= 3
    assert (
        np.abs(centres(picture, expected[inside], reach=int(7 * max(fit.maps[0].scale_x, 1))) - expected[inside]).max()
        < 0.1
    )


@pytest.mark.parametrize("zoom", [0.3, 0.61, 1.0, 2.7])
def test_the_map_of_a_warp_is_exact(zoom):
    there = np.array([(80.2, 90.7), (200.4, 60.1), (150.0, 170.3)])
    to_new = Affine2D(zoom, 0.9 * zoom, 11.3, -4.6)
    size = (int(400 * zoom) + 30, int(300 * zoom) + 20)
    expected = to_new.apply(there)
    picture = warp_picture(dots(there, (320, 240), spread=5), to_new, size)
    assert np.abs(centres(picture, expected, reach=int(16 * max(zoom, 0.4))) - expected).max() < 0.1


def test_identity_is_identity():
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    assert np.array_equal(warp_picture(picture, Affine2D(), (60, 40)), picture)
    # The kernel itself, and not only the short cut.
    assert np.array_equal(warp_picture(picture, Affine2D(), (61, 40))[:, :60], picture)


def test_whole_pixels_move_as_they_are():
    picture = np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    moved = warp_picture(picture, Affine2D(1, 1, 5, -3), (60, 40))
    assert np.array_equal(moved[:37, 5:], picture[3:, :55])
    assert not moved[37:].any() and not moved[:, :5].any()


def test_two_warps_are_nearly_one():
    picture = dots(np.array([(80.0, 60.0), (190.0, 150.0)]), (320, 240), spread=12)
    first, second = Affine2D(1.3, 1.3, -20, 5), Affine2D(0.8, 0.8, 7, 3)
    twice = warp_picture(warp_picture(picture, first, (400, 320)), second, (300, 250))
    once = warp_picture(picture, second @ first, (300, 250))
    assert np.abs(twice.astype(int) - once.astype(int)).max() <= 2


def test_shrinking_does_not_alias():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    small = warp_picture(stripes, Affine2D(0.25, 0.25), (16, 16))
    assert np.abs(small[:, 2:-2].astype(int) - 128).max() <= 2


def test_a_constant_stays_constant_up_to_its_edge():
    flat = np.full((30, 30), 200, np.uint8)
    picture = warp_picture(flat, Affine2D(1.7, 1.7, 10.5, 10.5), (80, 80))
    assert (picture[12:60, 12:60] == 200).all()
    assert abs(int(picture[30, 10]) - 100) <= 1, "half of this pixel is covered"
    assert (picture[:10] == 0).all() and (picture[63:] == 0).all()


def test_the_map_between_two_poses_is_refused():
    with pytest.raises(MarotteError, match="differ in R or t"):
        picture_map(camera(), replace(camera(), t=np.array([0.1, 0, 1])))
    assert picture_map(camera(), camera().scaled(4)) == Affine2D()


def test_fit_says_what_is_kept_and_what_is_black():
    fit = fit_pictures(track(camera(cx=170)), NEEDS["gaussian-talker"])
    zoom = 160 / 170
    assert fit.kept == pytest.approx(1)
    assert fit.empty == pytest.approx(1 - zoom**2)
    assert fit.track.cameras[0].K[0, 0] == pytest.approx(900 * zoom)
    full = fit_pictures(track(camera(cx=170)), NEEDS["gaussian-talker"], fill=True)
    assert full.empty == pytest.approx(0)
    assert full.kept == pytest.approx((150 / 160) ** 2)


def test_one_focal_length_for_all_cameras():
    fit = fit_pictures(track(camera(fx=900, fy=880), camera(fx=1000, fy=1000)), NEEDS["gaussian-talker"])
    assert len({value for c in fit.track.cameras for value in (c.K[0, 0], c.K[1, 1])}) == 1


def test_gagavatar_zooms_about_the_principal_point():
    source = camera(cx=267.4, cy=243.2, fx=2339, fy=2339, size=(512, 512))
    fit = fit_pictures(track(source), NEEDS["gagavatar"])
    assert fit.maps[0].scale_x == pytest.approx(3072 / 2339)
    assert 512 / fit.maps[0].scale_x == pytest.approx(389.83, abs=0.01)
    assert np.allclose(fit.maps[0].apply((267.4, 243.2)), 256)


def test_what_cannot_be():
    with pytest.raises(MarotteError, match="--fill"):
        fit_pictures(track(camera(cx=-20)), NEEDS["3dgs"], fill=True)
    with pytest.raises(MarotteError, match="512x512"):
        fit_pictures(track(camera()), NEEDS["gagavatar"], (256, 256))
    with pytest.raises(MarotteError, match="square"):
        fit_pictures(track(camera()), PictureNeeds(square=True), (256, 200))
    with pytest.raises(MarotteError, match="bytes"):
        warp_picture(np.zeros((4, 4)), Affine2D(), (4, 4))
