"""What `marotte cameras show` says."""

from fractions import Fraction

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.camera import FACING, Camera
from marotte.runtime.cameras import FORMATS
from marotte.runtime.cameras.plot import plot
from marotte.runtime.cameras.summary import CONVENTIONS, orbit, rows, summarise, up_axis
from marotte.runtime.cameras.track import CameraTrack, Crop
from marotte.runtime.head import HeadState


def turned(yaw, pitch=0.0, unit=1.0):
    """A camera a metre and a half from the origin, `yaw` degrees to the face's left, `pitch` above it."""
    a, e = np.radians((yaw, pitch))
    place = 1.5 * unit * np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])
    forward = -place / np.linalg.norm(place)
    right = np.cross(forward, (0, 1, 0))
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    K = np.array([[2339, 0, 267.4], [0, 2339, 243.2], [0, 0, 1]])
    return Camera(R, -R @ place, K, 512, 512, "tracked:512", unit)


def track(*cameras, **more):
    return CameraTrack(cameras, tuple(f"{i:05d}" for i in range(len(cameras))), **more)


def test_figures():
    facts = summarise(track(turned(-20, 5), turned(0), turned(30, -10)))
    assert facts.count == 3 and facts.up == "+y"
    assert facts.distance.low == pytest.approx(1.5) == facts.distance.high
    assert (facts.azimuth.low, facts.azimuth.high) == pytest.approx((-20, 30))
    assert (facts.elevation.low, facts.elevation.high) == pytest.approx((-10, 5))
    # The worked example of the reference: half of it is 6.246 degrees.
    assert facts.fov_x.low == pytest.approx(12.492, abs=1e-3)
    assert facts.offset_x.low == pytest.approx(11.4) and facts.offset_y.low == pytest.approx(-12.8)
    assert facts.turn == pytest.approx(51.7, abs=0.5)


def test_a_frontal_camera_is_at_azimuth_0():
    frontal = Camera(FACING, np.array([0, 0, 2.0]), turned(0).K, 512, 512)
    facts = summarise(track(frontal))
    assert facts.azimuth.low == pytest.approx(0) and facts.elevation.low == pytest.approx(0)


def test_a_world_with_z_up():
    z_up = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # z up and -y in front, in FLAME's axes
    cameras = [turned(yaw, 10) for yaw in (0, 90, 180, 270)]
    cameras = [Camera(c.R @ z_up, c.t, c.K, 512, 512) for c in cameras]
    assert up_axis(tuple(cameras)) == "+z"
    facts = summarise(track(*cameras))
    assert (facts.azimuth.low, facts.azimuth.high) == pytest.approx((0, 270))
    assert facts.elevation.low == pytest.approx(10) == facts.elevation.high


def test_upside_down_shows():
    flipped = Camera(np.diag([-1.0, -1, 1]) @ turned(0).R, turned(0).t, turned(0).K, 512, 512)
    assert up_axis((flipped,)) == "-y"


def test_azimuths_do_not_jump():
    azimuth, _ = orbit(np.array([turned(yaw).centre for yaw in range(0, 720, 30)]), "+y")
    assert np.diff(azimuth) == pytest.approx(30)


def test_the_lines_say_what_there_is():
    still = np.zeros((2, 3), np.float32)
    head = HeadState(
        np.ones(300, np.float32),
        np.ones((2, 100), np.float32),
        still,
        still,
        still + 1,
        np.zeros((2, 6), np.float32),
        np.zeros((2, 2), np.float32),
        still,
    )
    crop = Crop((1920, 1080), (370, 1494, 1, 1079), (0, 23), (512, 512))
    lines = rows(
        track(turned(0, unit=4), turned(9, unit=4), crop=crop, head=head, fps=Fraction(25), notes=("beware",)), "title"
    )
    text = dict(lines)
    assert "1.500 FLAME units" in text["distance"] and text["unit"].startswith("4 ")
    assert "1124x1078" in text["crop"] and "0.455516" in text["crop"] and "0 and 23" in text["crop"]
    assert "shape (300), expression (100), jaw" in text["came with it"]
    assert "+11.4, -12.8" in text["principal point"] and "12.49 x 12.49" in text["field of view"]
    assert text["cameras"] == "2 (00000 to 00001), 25 frames a second"
    assert lines[-1] == ("note", "beware")


def test_every_format_has_its_convention_in_words():
    assert set(CONVENTIONS) == set(FORMATS)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_plot(tmp_path, suffix):
    crop = Crop((1920, 1080), (370, 1494, 1, 1079), (0, 23), (512, 512))
    plot(track(*(turned(yaw) for yaw in range(0, 90, 2)), crop=crop), tmp_path / f"rig{suffix}")
    assert (tmp_path / f"rig{suffix}").stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == [f"rig{suffix}"]


def test_a_single_camera_plots(tmp_path):
    plot(track(turned(0)), tmp_path / "rig.png")
    with pytest.raises(MarotteError, match=r"rig\.bmp"):
        plot(track(turned(0)), tmp_path / "rig.bmp")
