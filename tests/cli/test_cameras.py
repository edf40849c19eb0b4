"""`marotte cameras`: show, convert, crop, turntable, plot."""

import hashlib
import json
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from marotte.runtime.camera import FACING, Camera
from marotte.runtime.cameras import FORMATS, read_cameras, write_cameras
from marotte.runtime.cameras.crop_chain import crop_frame, tracker_crop
from marotte.runtime.cameras.formats.facelift import turntable
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.cli import run
from marotte.runtime.frames import Frames
from marotte.runtime.video.probe import read_frames
from marotte.runtime.video.provenance import Provenance
from marotte.runtime.video.sink import open_sink

VIDEO = (320, 240)
BOX = (61, 241, 0, 160)
POINTS = np.array([(-0.06, 0.05, 0.02), (0.05, 0.06, 0.0), (0.0, 0.0, 0.08), (0.03, -0.07, 0.03), (-0.04, -0.05, 0.0)])


@pytest.fixture
def scene(tmp_path):
    """A tracker's folder of 3 frames with its box, and the frames of the video: spots where the face's points are."""
    K = np.array([[700.0, 0, 165], [0, 700, 96], [0, 0, 1]])
    cameras = [Camera(FACING, np.array([0.01 * i, 0.0, 1.0]), K, *VIDEO, "video") for i in range(3)]
    crop = tracker_crop(BOX, VIDEO, 128)
    tracked = tuple(camera.through(crop.affine, 128, 128, "tracked:128") for camera in cameras)
    write_cameras(CameraTrack(tracked, ("00000", "00001", "00002"), crop=crop), tmp_path / "tracker", "metrical")
    (tmp_path / "frames").mkdir()
    for index, camera in enumerate(cameras):
        Image.fromarray(picture(camera)).save(tmp_path / "frames" / f"{index + 1:05d}.png")
    return tmp_path


def picture(camera, spread=2.0):
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    spots = sum(250 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 2 / spread**2) for u, v in camera.project(POINTS))
    return np.repeat(np.clip(spots + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def offset(pixels, camera):
    """How far the spots in a picture are from where its camera sees the points."""
    zoom = camera.K[0, 0] / 700
    reach, worst = int(6 * max(zoom, 0.8)), 0.0
    for u, v in camera.scaled(1 / camera.unit).project(POINTS):
        left, top = int(u) - reach, int(v) - reach
        cut = pixels[top : top + 2 * reach + 1, left : left + 2 * reach + 1, 0].astype(float)
        y, x = np.mgrid[: cut.shape[0], : cut.shape[1]] + 0.5
        worst = max(worst, abs(left + (x * cut).sum() / cut.sum() - u), abs(top + (y * cut).sum() / cut.sum() - v))
    return worst


def state(folder):
    """Every file and what is in it."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


def marotte(*arguments):
    return run(["cameras", *map(str, arguments)])


def test_show(scene, capsys):
    assert marotte("show", scene / "tracker", "--video", "320x240") == 0
    told = capsys.readouterr().out
    for line in ("metrical", "3 (00000 to 00002)", "128x128", "180x160", "azimuth", "OpenCV axes"):
        assert line in told
    assert marotte("show", scene / "tracker", "--json") == 0
    table = json.loads(capsys.readouterr().out)
    assert table["count"] == 3 and table["format"] == "metrical" and table["sizes"] == [[128, 128]]


def test_plot(scene, tmp_path):
    assert marotte("plot", scene / "tracker", "--video", "320x240", "-o", tmp_path / "rig.png") == 0
    with Image.open(tmp_path / "rig.png") as rig:
        assert min(rig.size) > 500


@pytest.mark.parametrize("target", ["gagavatar", "gaussian-talker", "3dgs", "nerf"])
def test_pictures_go_with_their_cameras(scene, target, capsys):
    out = scene / "out"
    arguments = [
        *("convert", scene / "tracker", out, "--to", target),
        *("--video", "320x240", "--images", scene / "frames"),
    ]
    # GaussianTalker's face parameters cannot come from FLAME's, and 3DGS has no place for those.
    code = marotte(*arguments)
    if code:
        assert "cannot hold" in capsys.readouterr().err and not out.exists()
        assert marotte(*arguments, "--allow-loss") == 0
    told = capsys.readouterr()
    assert "3 pictures" in told.out and "pictures: x' =" in told.err
    track = read_cameras(out)
    pictures = sorted(path for path in out.rglob("*") if path.suffix in (".png", ".jpg"))
    assert len(track) == len(pictures) == 3
    for path, camera in zip(pictures, track.cameras, strict=True):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.shape[1::-1] == (camera.width, camera.height)
        # Files hold float32; JPEG adds a little to the spots.
        assert offset(pixels, camera) < (0.15 if path.suffix == ".jpg" else 0.1)


def test_gagavatar_holds_the_pictures_itself(scene):
    arguments = ["convert", scene / "tracker", scene / "out", "--to", "gagavatar", "--video", "320x240"]
    assert marotte(*arguments, "--images", scene / "frames", "--allow-loss") == 0
    track = read_cameras(scene / "out")
    image = np.moveaxis(np.asarray(track.extra["image"][0]), 0, -1)
    assert offset((255 * image).astype(np.uint8), track.cameras[0]) < 0.1


def test_a_loss_is_told_and_refused(scene, capsys):
    out = scene / "tracked.pt"
    assert marotte("convert", scene / "tracker", out, "--to", "gagavatar") == 2
    told = capsys.readouterr().err.splitlines()
    assert any(line.startswith("loses: principal point") for line in told)
    assert told[-1].startswith("marotte: ") and "--images" in told[-1] and "--allow-loss" in told[-1]
    assert not out.exists()
    assert marotte("convert", scene / "tracker", out, "--to", "gagavatar", "--allow-loss") == 0
    assert len(read_cameras(out)) == 3


def test_to_the_video_and_back(scene):
    assert marotte(*f"convert {scene}/tracker {scene}/full --to facelift --space video --video 320x240".split()) == 0
    full = read_cameras(scene / "full")
    assert (full.cameras[0].width, full.cameras[0].height) == VIDEO
    assert np.allclose(full.cameras[0].K, [[700, 0, 165], [0, 700, 96], [0, 0, 1]], atol=1e-4)
    box = scene / "tracker" / "bbox.pt"
    assert (
        marotte(*f"convert {scene}/full {scene}/again --to facelift --space tracked --size 256 --bbox {box}".split())
        == 0
    )
    again, first = read_cameras(scene / "again"), read_cameras(scene / "tracker")
    assert again.cameras[0].width == 256
    for one, other in zip(again.cameras, first.cameras, strict=True):
        assert np.abs(one.project(POINTS) / 2 - other.project(POINTS)).max() < 1e-4


def test_a_distance_scales_the_whole_rig(scene):
    assert marotte(*f"convert {scene}/tracker {scene}/out --to facelift --distance 2.7".split()) == 0
    track, before = read_cameras(scene / "out"), read_cameras(scene / "tracker")
    assert np.mean([np.linalg.norm(camera.centre) for camera in track.cameras]) == pytest.approx(2.7)
    assert np.allclose(track.cameras[0].scaled(1 / track.unit).t, before.cameras[0].t)


def test_crop_is_the_trackers(scene):
    arguments = ["--bbox", scene / "tracker" / "bbox.pt", "--size", "128"]
    assert marotte("crop", scene / "frames", scene / "cut", *arguments) == 0
    crop = tracker_crop(BOX, VIDEO, 128)
    for name in ("00001.png", "00002.png", "00003.png"):
        expected = crop_frame(np.asarray(Image.open(scene / "frames" / name)), crop)
        assert np.array_equal(np.asarray(Image.open(scene / "cut" / name)), expected)
    assert len(list((scene / "cut").iterdir())) == 3


@pytest.mark.parametrize("size", ["128", "96", "original"])
def test_cameras_move_with_the_crop(scene, size):
    arguments = ["--bbox", scene / "tracker" / "bbox.pt", "--size", size, "--cameras", scene / "tracker"]
    assert marotte("crop", scene / "frames", scene / "cut", *arguments, "--to", "facelift") == 0
    track = read_cameras(scene / "cut")
    expected = VIDEO if size == "original" else (int(size), int(size))
    for name, camera in zip(track.images, track.cameras, strict=True):
        assert (camera.width, camera.height) == expected
        assert offset(np.asarray(Image.open(scene / "cut" / name)), camera) < 0.1


def test_crop_of_a_film(scene):
    film = scene / "film.mp4"
    pictures = np.stack([np.asarray(Image.open(path)) for path in sorted((scene / "frames").iterdir())])
    ticks = np.arange(3, dtype=np.int64) * 1920
    with open_sink(film, width=320, height=240, fps=Fraction(25), provenance=Provenance("test")) as sink:
        sink.write(Frames(ticks, pictures))
    (scene / "bbox.pt").write_bytes((scene / "tracker" / "bbox.pt").read_bytes())
    assert marotte("crop", film, scene / "cut", "--size", "64") == 0
    crop = tracker_crop(BOX, VIDEO, 64)
    names = ("00001.png", "00002.png", "00003.png")
    for name, frame in zip(names, read_frames(film), strict=True):
        assert np.array_equal(np.asarray(Image.open(scene / "cut" / name)), crop_frame(frame, crop))


def test_a_box_of_landmarks(scene, capsys):
    landmarks = np.array([(140.0, 60.0), (176.0, 70.0), (150.0, 95.0)])
    np.savez(scene / "landmarks.npz", points2d=landmarks[None])
    arguments = ["--landmarks", scene / "landmarks.npz", "--size", "64"]
    assert marotte("crop", scene / "frames", scene / "cut", *arguments) == 0
    assert "box [113, 203, 32, 122]" in capsys.readouterr().out
    assert marotte("crop", scene / "frames", scene / "same", "--bbox", scene / "cut" / "bbox.pt", "--size", "64") == 0
    for name in ("00001.png", "00003.png"):
        assert (scene / "cut" / name).read_bytes() == (scene / "same" / name).read_bytes()


def test_turntable(tmp_path):
    arguments = ["--views", 6, "--distance", 3, "--fov", 40, "--elevation", 10, "--size", 256]
    assert marotte("turntable", tmp_path / "rig.json", *arguments) == 0
    track = read_cameras(tmp_path / "rig.json")
    for camera, expected in zip(track.cameras, turntable(40, 6, 256, 256, 3, 10).cameras, strict=True):
        assert np.allclose(camera.R, expected.R) and np.allclose(camera.K, expected.K)
        assert np.allclose(camera.t, expected.t) and camera.width == 256


def test_what_is_read_is_not_written_over(scene, capsys):
    data = scene / "data"
    assert marotte("convert", scene / "tracker", data, "--to", "insta") == 0
    before = state(scene)
    for source, out, target in (
        (data, data, "insta"),
        (data / "transforms.json", data, "nerf"),
        (data / "transforms.json", data / "transforms.json", "insta"),
        (data, data / "transforms.json", "nerf"),
        (data / "transforms.json", data / "other.json", "insta"),
    ):
        code = marotte("convert", source, out, "--to", target, "--allow-loss")
        if out.name != "other.json":
            assert code == 2, (source, out)
            assert "another" in capsys.readouterr().err
            assert state(scene) == before
    # A second run may replace what the first one wrote.
    for _ in range(2):
        assert marotte("convert", data, scene / "rig.json", "--to", "facelift") == 0


def test_pictures_are_not_guessed(scene, capsys):
    Image.fromarray(np.zeros((240, 320, 3), np.uint8)).save(scene / "frames" / "00004.png")
    arguments = ["convert", scene / "tracker", scene / "out", "--to", "nerf", "--video", "320x240"]
    assert marotte(*arguments, "--images", scene / "frames") == 2
    assert "4 pictures for 3 cameras" in capsys.readouterr().err
    assert not (scene / "out").exists()
    assert marotte(*arguments, "--images", scene / "frames", "--first", "1") == 0
    track = read_cameras(scene / "out")
    assert offset(np.asarray(Image.open(scene / "out" / track.images[0])), track.cameras[0]) < 0.1


def test_nothing_is_left_of_a_failed_run(scene, capsys):
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(scene / "frames" / "00003.png")
    before = state(scene)
    box = ["--bbox", scene / "tracker" / "bbox.pt"]
    assert marotte("crop", scene / "frames", scene / "cut", *box) == 2
    assert "100x100" in capsys.readouterr().err
    arguments = ["convert", scene / "tracker", scene / "out", "--to", "nerf", "--video", "320x240"]
    assert marotte(*arguments, "--images", scene / "frames") == 2
    assert "100x100" in capsys.readouterr().err
    assert state(scene) == before and not (scene / "out").exists() and not (scene / "cut").exists()


BAD = (
    ("show nothing-here", "nothing-here"),
    ("show {}/frames", "frames"),
    ("show {}/tracker --video huge", "huge"),
    ("show {}/tracker --format nerv", "did you mean 'nerf'"),
    ("convert {}/tracker {}/out.json --to", None),
    ("convert {}/tracker {}/out.json --to instant", "instant"),
    ("convert {}/tracker {}/no/where/out.json --to nerf --allow-loss", "no/where"),
    ("convert {}/tracker {}/frames --to metrical", "empty folder"),
    ("convert {}/tracker {}/out.json --to insta --images", "--images"),
    ("convert {}/tracker {}/out.json --to insta --space video", "--video"),
    ("crop {}/frames {}/cut", "--bbox"),
    ("crop {}/tracker {}/cut --bbox {}/tracker/bbox.pt", "no pictures"),
    ("crop {}/frames {}/tracker --bbox {}/tracker/bbox.pt", "empty folder"),
    ("crop {}/frames {}/cut --bbox {}/tracker/bbox.pt --size 64x32", "square"),
    ("crop {}/frames {}/cut --landmarks {}/tracker/bbox.pt", "landmarks"),
    ("turntable {}/rig.json --views 0", "views"),
    ("plot {}/tracker -o {}/rig.bmp", "rig.bmp"),
)


@pytest.mark.parametrize(("line", "named"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_code_2(scene, capsys, line, named):
    before = state(scene)
    if named is None:
        with pytest.raises(SystemExit) as stopped:
            marotte(*line.replace("{}", str(scene)).split())
        assert stopped.value.code == 2
        return
    assert marotte(*line.replace("{}", str(scene)).split()) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("marotte: ") and named in complaint and "internal" not in complaint
    assert state(scene) == before
    assert not [path for path in scene.iterdir() if path.name.endswith(".part")]


def test_help_names_every_format(capsys):
    with pytest.raises(SystemExit):
        marotte("convert", "--help")
    told = "".join(capsys.readouterr().out.split())
    assert all(name in told for name in FORMATS)


def test_doctor_is_the_same_command(scene, capsys):
    write_cameras(read_cameras(scene / "tracker"), scene / "insta.json", "insta")
    first = marotte("doctor", scene / "insta.json"), capsys.readouterr().out
    second = run(["doctor", str(scene / "insta.json")]), capsys.readouterr().out
    assert first == second and first[0] == 0
