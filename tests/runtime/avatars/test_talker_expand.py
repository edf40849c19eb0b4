"""The demo talker unpacked: the published folders, whole, once, and without torch."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from marotte.errors import MarotteError, MarotteWarning
from marotte.models.gaussian_talker import TalkerConfig, find_model
from marotte.models.ply import read_ply_vertices
from marotte.models.safe_files import read_torch
from marotte.runtime.avatar import SHIPPED, Avatar, load_avatar
from marotte.runtime.avatars.talker import talker_files
from marotte.runtime.avatars.talker_expand import expand
from marotte.runtime.avatars.toml import FILE, avatar_text, file_hashes
from marotte.runtime.recording import read_recording

FOLDER, WEIGHTS, FRAMES = SHIPPED / "demo-talker", "talker.safetensors", 6


def read(path):
    with safe_open(path, "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Avatar:
    """The demo talker with every so many frames of its track."""
    folder = tmp_path_factory.mktemp("avatars") / "short"
    folder.mkdir()
    arrays, notes = read(FOLDER / WEIGHTS)
    for name in list(arrays):
        if name.startswith("track."):
            arrays[name] = np.ascontiguousarray(arrays[name][:: len(arrays[name]) // FRAMES][:FRAMES])
    save_file(arrays, folder / WEIGHTS, notes)
    avatar = replace(load_avatar(FOLDER), name="short", path=folder, files=file_hashes(folder))
    (folder / FILE).write_text(avatar_text(avatar))
    return load_avatar(folder)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MAROTTE_EXPANDED", str(tmp_path / "expanded"))
    return tmp_path / "expanded"


@pytest.fixture(scope="module")
def folder(short, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAROTTE_EXPANDED", str(tmp_path_factory.mktemp("expanded")))
        with pytest.warns(MarotteWarning, match="unpacking avatar short"):
            yield expand(short)


def test_the_shipped_folder_is_small_and_described():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 8_000_000
    avatar = load_avatar("demo-talker")
    assert (avatar.renderer, avatar.basis, avatar.features) == ("gaussian-talker", "none", "marotte-phones")
    assert (avatar.licence, avatar.background, avatar.size, avatar.fps) == ("CC0-1.0", "own", (512, 512), 25)
    assert avatar.consent and avatar.subject and "train_demo_talker" in avatar.origin
    assert WEIGHTS in avatar.files and (FOLDER / "README.md").is_file()


def test_the_model_is_in_the_published_form_at_the_published_sizes(folder):
    model = find_model(folder / "model")
    assert model.iteration.name == "iteration_10000"
    entries = read_torch(model.deformation)
    assert len(entries) == 103 and sum(array.size for array in entries.values()) == 2_207_740
    config = TalkerConfig.from_entries({name: array.shape for name, array in entries.items()}, model.cfg_args)
    assert config == TalkerConfig(moves=frozenset({"xyz", "quats_wxyz"}))
    columns = read_ply_vertices(model.ply)
    assert len(columns) == 62 and 15_000 < len(columns["x"]) <= 20_000
    assert not any(columns[f"f_rest_{i}"].any() for i in range(45))


def test_the_recording_is_in_the_published_form(folder):
    recording = read_recording(folder / "data")
    assert len(recording) == FRAMES and (recording.width, recording.height) == (512, 512) and recording.has_torsos
    assert len(read_recording(folder / "data", "train")) == 10 * FRAMES // 11
    assert np.all(np.abs(recording.translation[:, 2] + 11) < 0.5)
    assert 0.03 < np.ptp(recording.euler[:, 1]) < 0.3
    # The head is in the picture, its chin above the torso's lower end.
    columns = read_ply_vertices(find_model(folder / "model").ply)
    at = recording.cameras[0].project(np.stack([columns[axis] for axis in "xyz"], axis=1))
    assert at.min() > 20 and 380 < at[:, 1].max() < 430


def test_torsos_reach_from_the_lower_edge_up_behind_the_chin(folder):
    recording = read_recording(folder / "data")
    for i in range(FRAMES):
        torso = recording.torso(i)
        assert (torso[-4:, 180:330, 3] > 250).all()  # the shirt, as far down as the picture goes
        assert (torso[370:420, 240:270, 3] > 250).all()  # the neck; the chin ends near row 405
        assert not torso[:250, :, 3].any() and not torso[:380, :60, 3].any()
    assert len({recording.torso(i).tobytes() for i in range(FRAMES)}) == FRAMES


def test_the_shipped_track_loops_smoothly_and_blinks():
    arrays, _ = read(FOLDER / WEIGHTS)
    euler, level = arrays["track.euler"], arrays["track.au45"]
    assert len(euler) == len(level) == 200
    steps = np.abs(np.diff(euler, axis=0)).max(1)
    assert steps.max() < 0.01 and max(steps[0], steps[-1]) < 0.2 * steps.max()  # rest where it turns round
    assert level.max() == 2 and (level > 1.5).sum() >= 4 and (level == 0).mean() > 0.8


def test_it_is_unpacked_once(short, store, monkeypatch):
    with pytest.warns(MarotteWarning, match="unpacking"):
        files = talker_files(short)
    assert files.model.parent == files.data.parent and files.model.parent.parent == store
    monkeypatch.setattr("marotte.runtime.avatars.talker_expand.create", None)
    assert talker_files(short) == files
    assert list(store.iterdir()) == [files.model.parent]
    assert {path.name for path in files.model.parent.iterdir()} == {"model", "data"}


@pytest.mark.filterwarnings("ignore::marotte.errors.MarotteWarning")
def test_two_at_once_do_not_clash(short, store):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(expand, [short, short])
    assert first == second and list(store.iterdir()) == [first]
    assert len(list((first / "data/torso_imgs").iterdir())) == FRAMES


def test_it_needs_no_torch(short, store):
    code = (
        "import sys, warnings; sys.modules['torch'] = None; warnings.simplefilter('ignore')\n"
        "from marotte.runtime.avatar import load_avatar\n"
        "from marotte.runtime.avatars.talker_expand import expand\n"
        f"print(expand(load_avatar({str(short.path)!r})))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Image.open(f"{out.stdout.strip()}/data/torso_imgs/0.png").mode == "RGBA"


def test_other_files_are_refused(short, store, tmp_path):
    (tmp_path / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(MarotteError, match="cannot be read"):
        expand(replace(short, path=tmp_path))
    save_file({"a": np.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(MarotteError, match="marotte-talker-1"):
        expand(replace(short, path=tmp_path))
    assert not store.exists()


@pytest.mark.filterwarnings("ignore::marotte.errors.MarotteWarning")
def test_a_place_that_cannot_be_written_is_named(short, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MAROTTE_EXPANDED", str(tmp_path / "file" / "under"))
    with pytest.raises(MarotteError, match="MAROTTE_EXPANDED"):
        expand(short)
