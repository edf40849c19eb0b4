"""`marotte.render` from Python: the report, progress, objects in place of names, errors, sameness."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

import marotte
from marotte.drivers.acoustic import Acoustic
from marotte.drivers.playback import Playback
from marotte.errors import MarotteError, MarotteWarning
from marotte.renderers.mesh import MeshRenderer
from marotte.runtime.avatar import SHIPPED, load_avatar
from marotte.runtime.motion import Motion
from marotte.runtime.offline import drive
from marotte.runtime.video.probe import probe
from marotte.runtime.video.provenance import read_provenance

SIZE = (64, 48)
DEMO = Path(__file__).parents[2] / "demos" / "speech.wav"


@pytest.fixture
def sound(tmp_path) -> Path:
    path = tmp_path / "speech.wav"
    speech, _ = soundfile.read(DEMO, dtype="float32", start=8000, frames=9600)
    soundfile.write(path, speech, 16000)
    return path


def pictures(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def motion(frames: int = 15, **options) -> Motion:
    codes = np.zeros((frames, 106))
    codes[:, 103] = np.linspace(0, 0.3, frames)
    return Motion(codes, Fraction(25), options.pop("basis", "arkit52"), **options)


def test_the_report_and_the_progress(sound, tmp_path):
    seen = []
    report = marotte.render(
        sound, tmp_path / "f.mp4", size=SIZE, fps=30, progress=lambda done, total: seen.append((done, total))
    )
    assert (report.path, report.frames, report.fps, report.size) == (tmp_path / "f.mp4", 18, 30, SIZE)
    assert isinstance(report.fps, Fraction) and report.seconds == pytest.approx(0.6)
    assert report.approximations == ()
    assert report.wall_seconds > 0 and report.speed == pytest.approx(report.seconds / report.wall_seconds)
    assert seen[-1] == (18, 18) and [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert {total for _, total in seen} == {18}


def test_text_paths_and_sizes(sound, tmp_path):
    report = marotte.render(str(sound), str(tmp_path / "f.mp4"), size="64x48", avatar=str(SHIPPED / "demo"))
    assert report.size == SIZE and report.path == tmp_path / "f.mp4" and report.frames == 15


def test_objects_in_place_of_names(sound, tmp_path):
    """Pictures are those that the names give."""

    def shot(name: str, **options) -> np.ndarray:
        marotte.render(sound, f"{tmp_path}/{name}/", size=SIZE, **options)
        return pictures(tmp_path / name)

    named = shot("names", avatar="demo", driver="acoustic", renderer="mesh")
    assert np.ptp(named.astype(int), axis=0).max() > 0
    objects = shot("objects", avatar=load_avatar("demo"), driver=Acoustic(), renderer=MeshRenderer())
    assert np.array_equal(named, objects)
    assert np.array_equal(shot("once"), shot("again")), "two renders differ"
    assert not np.array_equal(named, shot("seed", seed=9)), "the seed changes nothing"
    assert not np.array_equal(named, shot("still", idle=0)), "idle life does not show"

    played = shot("played", motion=motion(), idle=0)
    assert np.array_equal(played, shot("player", driver=Playback(motion()), idle=0))
    assert np.array_equal(played, shot("driven", motion=motion(), driver="playback", idle=0))
    assert read_provenance(tmp_path / "player").driver == "playback"


def test_a_film_is_the_same_twice(sound, tmp_path):
    films = [tmp_path / name for name in ("one.mp4", "two.mp4")]
    for film in films:
        marotte.render(sound, film, size=SIZE, threads=1)
    assert films[0].read_bytes() == films[1].read_bytes()


def test_a_silent_film_of_a_motion(tmp_path):
    report = marotte.render(None, tmp_path / "f.mp4", motion=motion(20), size=SIZE)
    assert report.frames == 20 and probe(tmp_path / "f.mp4").audio_rate is None
    for nothing in ({}, {"motion": motion(0)}, {"driver": "acoustic"}):
        with pytest.raises(MarotteError, match="without a sound file there must be a motion"):
            marotte.render(None, tmp_path / "g.mp4", size=SIZE, **nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["f.mp4"]


def test_an_approximation_is_reported(sound, tmp_path):
    out = tmp_path / "f.mp4"
    report = marotte.render(sound, out, motion=motion(basis="flame2023"), basis_approx="jaw+head", size=SIZE)
    assert report.approximations == read_provenance(out).approximations == ("flame2023 on arkit52: jaw+head",)
    with pytest.raises(MarotteError, match=r"flame2023, avatar demo has arkit52.*flame2023\.pkl"):
        marotte.render(sound, tmp_path / "g.mp4", motion=motion(basis="flame2023"), size=SIZE)


def test_a_motion_that_ends_early_is_noted(sound, tmp_path):
    with pytest.warns(MarotteWarning, match=r"ends after 0\.20 s, the sound after 0\.60 s"):
        marotte.render(sound, tmp_path / "f.mp4", motion=motion(5), size=SIZE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": "big"}, "'big' is not a number of pixels: give 512"),
        ({"size": "-64"}, "'-64' is not a number"),
        ({"size": (64, 9000)}, "64x9000 is not between 1x1 and 8192x8192"),
        ({"size": 0}, "0x0 is not between"),
        ({"fps": 0}, "frame rate 0 is not between"),
        ({"fps": "fast"}, "frame rate fast"),
        ({"fps": float("nan")}, "frame rate nan"),
        ({"start": 3}, r"start 3 s is beyond the end of .*: it lasts 0\.600 s"),
        ({"start": -1}, "start -1 is not a time"),
        ({"start": float("nan")}, "start nan is not a time"),
        ({"duration": 0}, "duration 0 is not a time"),
        ({"duration": float("inf")}, "duration inf is not a time"),
        ({"background": "sky blue pink"}, "'sky blue pink' is neither a colour"),
        ({"background": "transparent"}, "cannot be transparent: .webm"),
        ({"framing": "busd"}, "framing of avatar demo is called 'busd': did you mean 'bust'"),
        ({"head_motion": 7}, "head motion 7 is not between 0"),
        ({"head_motion": float("nan")}, "head motion nan"),
        ({"expressiveness": -1}, "expressiveness -1 is not between 0 and 3"),
        ({"idle": float("nan")}, "idle nan is not between 0"),
        ({"idle": -1}, "idle -1 is not between 0"),
        ({"jaw": "up"}, "jaw 'up' is unknown: use full or pitch"),
        ({"basis_approx": "all"}, r"'all' is unknown: use jaw\+head"),
        ({"head_rotation": "feet"}, "'feet' cannot be placed: use root, neck, camera"),
        ({"driver": "playback"}, "--motion FILE"),
        ({"driver": "acustic"}, "did you mean 'acoustic'"),
        ({"renderer": "mash"}, "did you mean 'mesh'"),
        ({"avatar": "dmo"}, "did you mean 'demo'"),
        ({"avatar": ""}, "avatar"),
        ({"motion": "missing.npz"}, r"no motion file missing\.npz"),
    ],
)
def test_wrong_options_say_so_and_leave_nothing(sound, tmp_path, options, words):
    with pytest.raises(MarotteError, match=words) as caught:
        marotte.render(sound, tmp_path / "f.mp4", **({"size": SIZE} | options))
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["speech.wav"]


def test_a_progress_callback_that_raises(sound, tmp_path):
    """Whoever wants to stop raises; the half film goes."""

    def stop(done: int, total: int | None) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        marotte.render(sound, tmp_path / "f.mp4", size=SIZE, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["speech.wav"]


def test_drive(sound, tmp_path):
    seen = []
    made = drive(sound, progress=lambda done, total: seen.append((done, total)))
    assert (len(made), made.fps, made.basis) == (30, 50, "arkit52") and made.jaw[:, 0].max() > 0.05
    assert seen[-1][1] == 30 and seen[-1][0] <= 30
    smooth = drive(sound, smooth=True, start=0.1, duration=0.4)
    assert len(smooth) == 20
    with pytest.raises(MarotteError, match=r"must end in \.npz"):
        drive(sound, tmp_path / "m.npy")
    with pytest.raises(MarotteError, match="there is no folder"):
        drive(tmp_path / "missing.wav", tmp_path / "missing" / "m.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(MarotteError, match="is a folder"):
        drive(sound, tmp_path / "folder.npz")


def test_only_render_is_lazy():
    with pytest.raises(AttributeError, match="'rendr'"):
        marotte.rendr  # noqa: B018


def test_an_output_never_replaces_its_own_input(sound, tmp_path):
    marotte.render(sound, tmp_path / "f.mp4", size=SIZE)
    before = (tmp_path / "f.mp4").read_bytes()
    with pytest.raises(MarotteError, match="is what is read"):
        marotte.render(tmp_path / "f.mp4", tmp_path / "." / "f.mp4", size=SIZE)
    assert (tmp_path / "f.mp4").read_bytes() == before
