"""`marotte motion A --against B`, and motion written as ARTalk's .pt."""

import json
import pickle
from fractions import Fraction

import numpy as np
import pytest

from marotte.drivers.playback import Playback
from marotte.runtime.cli import run
from marotte.runtime.motion import Motion
from marotte.runtime.motion_files import read_motion, save_motion
from marotte.runtime.offline import drive


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Motions a and b in arkit52, f and g in FLAME's basis; nothing in the store of assets."""
    monkeypatch.setenv("MAROTTE_ASSETS", str(tmp_path / "store"))
    monkeypatch.delenv("ARTALK_ASSET_DIR", raising=False)
    seconds = np.arange(60) / 25
    for name, basis, late in (
        ("a", "arkit52", 0.08),
        ("b", "arkit52", 0),
        ("f", "flame2020", 0),
        ("g", "flame2020", 0.04),
    ):
        codes = np.zeros((60, 106), np.float32)
        codes[:, 103] = 0.12 + 0.1 * np.sin(7 * (seconds - late)) * np.sin(4 * (seconds - late))
        save_motion(tmp_path / f"{name}.npz", Motion(codes, Fraction(25), basis))
    return tmp_path


def test_the_figures_are_printed(files, capsys):
    assert run(["motion", str(files / "a.npz"), "--against", str(files / "b.npz")]) == 0
    told = capsys.readouterr().out
    for words in ("(LVE)", "(FDD", "mouth opening (lips' gap): difference", "lag +80.", "mask `lips`", "jitter"):
        assert words in told


def test_json(files, capsys):
    assert run(["motion", str(files / "g.npz"), "--against", str(files / "f.npz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["dimensions"]) == 106 and found["lag_ms"] == pytest.approx(40, abs=3)
    assert found["lip_vertex_error_mm2"] is None and any("--head" in note for note in found["notes"])


def test_flames_head_is_taken_from_the_assets(files, capsys):
    model = {
        "v_template": np.eye(4, 3),
        "f": np.array([[0, 1, 2], [1, 2, 3]], np.uint32),
        "shapedirs": np.zeros((4, 3, 400)),
        "posedirs": np.zeros((4, 3, 36)),
        "J_regressor": np.full((5, 4), 0.25),
        "weights": np.full((4, 5), 0.2),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]]),
    }
    (files / "generic_model.pkl").write_bytes(pickle.dumps(model, 2))
    (files / "FLAME_masks.pkl").write_bytes(pickle.dumps({"face": np.arange(4), "lips": np.array([1, 2])}, 2))
    assert run(["assets", "add", str(files)]) == 0
    assert run(["motion", str(files / "g.npz"), "--against", str(files / "f.npz")]) == 0
    told = capsys.readouterr().out
    assert (
        "mask `lips`, 2 vertices" in told and "generic_model.pkl has neither masks nor landmarks for an upper" in told
    )


def test_definitions(capsys):
    with pytest.raises(SystemExit):
        run(["motion", "--definitions"])
    told = capsys.readouterr().out
    assert "lip_vertex_error: LVE in mm^2" in told and "upper_face_deviation: FDD" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.npz", "--against", "f.npz"], "in arkit52, the second in flame2020"),
        (["a.npz", "--against", "gone.npz"], "there is no motion file gone.npz"),
        (["f.npz", "--against", "g.npz", "--head", "demo"], "the head demo is in arkit52"),
        (["a.npz", "--against", "b.npz", "--head", "dmo"], "did you mean 'demo'"),
        (["a.npz", "--against", "b.npz", "--head", "a.npz"], "is not a FLAME model"),
        (["a.npz", "--json"], "--against"),
    ],
)
def test_mistakes(files, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(files)
    assert run(["motion", *arguments]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint and complaint.count("\n") == 1


def test_drive_refuses_a_tensor_of_another_basis(desk):
    sound = desk.sound()
    done = desk.run("drive", sound, "-o", "m.pt")
    assert done.code == 2 and len(done.complaints) == 1
    assert "m.pt cannot hold arkit52" in done.complaints[0] and not (desk.folder / "m.pt").exists()
    done = desk.run("drive", sound, "-o", "m.txt")
    assert done.code == 2 and "m.txt must end in .npz or .pt" in done.complaints[0]


def test_drive_writes_artalks_tensor(files, desk):
    motion = read_motion(files / "f.npz").motion
    made = drive(desk.sound(seconds=2.4), desk.folder / "m.pt", driver=Playback(motion=motion))
    read = read_motion(desk.folder / "m.pt")
    assert np.array_equal(read.motion.codes, made.codes) and np.array_equal(made.codes, motion.codes)
    assert read.about == {"assumed basis": "flame2020", "assumed fps": "25"}


def test_a_rate_is_said_of_the_bare_array_alone(files, capsys):
    with np.load(files / "f.npz") as saved:
        np.save(files / "bare.npy", saved["codes"])
    for first, second in (("bare.npy", "f.npz"), ("f.npz", "bare.npy")):
        assert run(["motion", str(files / first), "--fps", "50", "--against", str(files / second), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["fps"] == (50 if first == "bare.npy" else 25)
    assert run(["motion", str(files / "f.npz"), "--fps", "50", "--against", str(files / "g.npz")]) == 2


def test_no_lag_has_no_sign_of_its_own(files, capsys):
    assert run(["motion", str(files / "f.npz"), "--against", str(files / "f.npz")]) == 0
    assert "lag +0.0 ms" in capsys.readouterr().out
