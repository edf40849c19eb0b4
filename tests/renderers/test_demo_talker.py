"""The demo talker against its teacher, the demo avatar: on speech, with the same cameras and torsos."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy import ndimage

from marotte.runtime.compiled import prepare

prepare()  # before torch: threads that spin would slow each other down
pytest.importorskip("torch", reason="torch is not installed")
DEMOS = Path(__file__).parents[2] / "demos"
sys.path.insert(0, str(DEMOS))

from talker_clips import hear  # noqa: E402
from talker_measure import Student, measure  # noqa: E402
from talker_teacher import ACTIONS, PIXEL, Teacher  # noqa: E402

from marotte.renderers.gaussians import Gaussians  # noqa: E402
from marotte.renderers.rasterizers import rasterize  # noqa: E402
from marotte.runtime.arkit import JAW_OPEN  # noqa: E402
from marotte.runtime.audio.source import open_audio  # noqa: E402
from marotte.runtime.avatar import SHIPPED, load_avatar  # noqa: E402
from marotte.runtime.avatars.talker_expand import expand  # noqa: E402

WEIGHTS = "talker.safetensors"
FROM, SECONDS = 5.6, 2.2  # of demos/speech.wav: "to it. Bob's mum may buy a big"


@pytest.fixture(scope="module")
def teacher():
    return Teacher()


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """The shipped network with every tenth frame of its track."""
    folder = tmp_path_factory.mktemp("short")
    with safe_open(SHIPPED / "demo-talker" / WEIGHTS, "numpy") as file:
        arrays, notes = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    tracks = {name: np.ascontiguousarray(array[::10]) for name, array in arrays.items() if name.startswith("track.")}
    save_file(arrays | tracks, folder / WEIGHTS, notes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAROTTE_EXPANDED", str(tmp_path_factory.mktemp("expanded")))
        with pytest.warns(UserWarning, match="unpacking"):
            return Student(expand(replace(load_avatar("demo-talker"), path=folder, files={WEIGHTS: "short"})))


@pytest.fixture(scope="module")
def clip():
    with open_audio(DEMOS / "speech.wav", start=FROM, duration=SECONDS) as source:
        sound = np.concatenate(list(source.blocks(16000)))[:, 0]
    return hear([sound])[0]


def silence(frames):
    return np.zeros((frames, 8, 29, 16), np.float32)


def test_it_looks_and_speaks_as_its_teacher(teacher, student, clip):
    figures = measure(teacher, student, [clip], every=9)
    assert figures.psnr.mean() >= 30 and figures.psnr.min() >= 28
    assert figures.mouth.mean() >= 28
    assert figures.aperture >= 0.9
    assert figures.lips < 1.0 and figures.lids < 0.7


def test_lids_follow_the_blink(teacher, student):
    eyes = np.linspace(0, 1, 6)
    means, _ = student.posed(silence(6), eyes, np.zeros(6, int))
    wanted, _ = teacher.posed(np.zeros((6, ACTIONS), np.float32), eyes.astype(np.float32))
    lashes = teacher.parts.ids == teacher.parts.names.index("lashes")
    apart = np.linalg.norm((means - wanted)[..., :2], axis=-1)[:, lashes].mean(1) / PIXEL
    travel = np.linalg.norm((wanted[-1] - wanted[0])[lashes, :2], axis=1).mean() / PIXEL
    assert travel > 4 and apart.max() < 0.7


def test_the_camera_changes_nothing(student):
    frames = np.arange(0, len(student.recording), 4)
    means, quats = student.posed(silence(len(frames)), np.zeros(len(frames)), frames)
    assert np.ptp(means, axis=0).max() / PIXEL < 0.3
    assert np.ptp(quats, axis=0).max() < 0.02


def test_nothing_shows_through_between_head_and_torso(teacher, student):
    """In the track's most turned frames, and with the jaw wide open."""
    recording = student.recording
    wide = np.zeros((2, ACTIONS), np.float32)
    wide[1, -3:] = 0.5 * JAW_OPEN
    means, quats = teacher.posed(wide, np.zeros(2, np.float32))
    for axis in range(3):
        for frame in (int(recording.euler[:, axis].argmin()), int(recording.euler[:, axis].argmax())):
            for mean, quat in zip(means, quats, strict=True):
                gaussians = Gaussians(
                    means=mean,
                    opacities=teacher.splats.opacities[teacher.head],
                    quats_wxyz=quat,
                    scales=np.exp(teacher.log_scales),
                    features=np.ones((len(mean), 1), np.float32),
                )
                head = 1 - rasterize(gaussians, recording.cameras[frame], backend="cpu").transmittance
                torso = recording.torso(frame)[..., 3] / 255
                cover = 1 - (1 - head) * (1 - torso)
                # Below, the shirt's shoulders are soft.
                inside = ndimage.binary_erosion(ndimage.binary_fill_holes(cover > 0.5), iterations=4)[:430]
                assert inside.sum() > 70_000 and cover[:430][inside].min() > 0.9
