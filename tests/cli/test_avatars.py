"""`marotte avatars`: import, list, show, check, export, remove."""

import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from PIL import Image

from marotte.renderers.mesh import MeshRenderer
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.arkit import ACTIONS
from marotte.runtime.avatar import load_avatar
from marotte.runtime.cli import run
from marotte.runtime.contact_sheet import COLUMNS, TELLING, contact_sheet, poses


def test_list_and_show(capsys):
    assert run(["avatars", "list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("demo "))
    assert "arkit52" in line
    assert run(["avatars", "show", "demo"]) == 0
    told = capsys.readouterr().out
    assert load_avatar("demo").sha256 in told and 'name = "demo"' in told


def test_a_damaged_avatar_is_listed_as_such(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "avatar.toml").write_text("name = ")
    monkeypatch.setenv("MAROTTE_AVATARS", str(tmp_path))
    assert run(["avatars", "list"]) == 0
    assert "broken           cannot be used" in capsys.readouterr().out


def test_every_action_is_on_the_sheet():
    names = [pose.name for pose in poses("arkit52")]
    assert all(any(name.startswith(action) for name in names) for action in ACTIONS)
    assert len(set(names)) == len(names)
    assert "expression 9: +2" in [pose.name for pose in poses("flame2020")]


def test_the_sheet(tmp_path, capsys):
    path = tmp_path / "sheet.png"
    assert run(["avatars", "check", "demo", "--renderer", "mesh", "--size", "64", "-o", str(path)]) == 0
    sheet = np.asarray(Image.open(path)).astype(int)
    rows = -(-len(poses("arkit52")) // COLUMNS)
    assert sheet.shape == (rows * 64, COLUMNS * 64, 3)
    neutral = sheet[:64, :64]
    for index in range(1, len(poses("arkit52"))):
        top, left = index // COLUMNS * 64, index % COLUMNS * 64
        changed = np.abs(sheet[top : top + 64, left : left + 64] - neutral)[16:].max()
        assert changed > 4, poses("arkit52")[index].name  # below its name each picture differs from the neutral one


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "dmo"], "did you mean 'demo'"),
        (["check", "demo", "--framing", "hed"], "did you mean 'head'"),
        (["check", "demo", "--renderer", "mesh", "--size", "32", "-o", "nowhere/sheet.png"], "cannot write"),
    ],
)
def test_mistakes(arguments, words, capsys):
    assert run(["avatars", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_an_export_draws_the_same_picture(tmp_path, capsys):
    out = tmp_path / "exported"
    assert run(["avatars", "export", "demo", "--variant", "live", "-o", str(out)]) == 0
    iteration = capsys.readouterr().out.strip()
    demo = load_avatar("demo")
    again = replace(demo, splats=os.path.relpath(iteration, demo.path), variants={})
    renderer = SplattingAvatarRenderer()
    one = np.asarray(contact_sheet(demo, renderer, size=48, extra={"variant": "live"})).astype(int)
    other = np.asarray(contact_sheet(again, renderer, size=48)).astype(int)
    # The published mesh file has six decimals, and glued scales follow its areas.
    assert np.abs(one - other).mean() < 0.2 and np.abs(one - other).max() <= 24
    assert run(["avatars", "export", "demo", "-o", str(out)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_mesh_has_nothing_to_export(tmp_path, capsys):
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "avatar.toml").write_text('name = "plain"\nrenderer = "mesh"\nbasis = "arkit52"\n')
    assert run(["avatars", "export", str(plain), "-o", str(tmp_path / "out")]) == 2
    assert "no Gaussians to export" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def trained(published, tmp_path, monkeypatch):
    """A copy of a trained folder, to be damaged, with nothing else near it; and where what it needs lies."""
    for name, folder in (("AVATARS", "avatars"), ("ASSETS", "assets")):
        monkeypatch.setenv(f"MAROTTE_{name}", str(tmp_path / folder))
    monkeypatch.delenv("MAROTTE_FLAME", raising=False)
    model = tmp_path / "p" / "q" / "r" / "bala"
    shutil.copytree(published / "output", model)
    return model


def bring(published, model, *more):
    given = ["--flame", str(published / "flame/generic_model.pkl"), "--data", str(published / "data")]
    return run(["avatars", "import", str(model), *given, *more])


def test_from_the_folder_to_the_film(published, trained, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    about = ["--subject", "nobody", "--consent", "not needed", "--licence", "CC0"]
    assert bring(published, trained, *about, "--sheet", str(sheet)) == 0
    told = capsys.readouterr()
    assert not told.err and "Gaussians" in told.out and "--avatar bala" in told.out and "6 of 6 frames" in told.out
    avatar = load_avatar("bala")
    assert sheet.read_bytes() == (avatar.path / "contact-sheet.png").read_bytes()
    size = 192
    pictures = np.asarray(Image.open(sheet)).astype(int)
    rows = poses(avatar.basis)
    assert pictures.shape == (-(-len(rows) // COLUMNS) * size, COLUMNS * size, 3)
    neutral = pictures[:size, :size]
    # The whole head stands before the white of the training: free above and at both sides of the hair.
    # Below its name: hair ends above, and white is on both sides of the head.
    assert (neutral[: size // 2, :8][16:] > 250).all() and (neutral[: size // 2, -8:][16:] > 250).all()
    assert (neutral[:4, size // 2 :] > 250).all() and (neutral[40:150, size // 2] < 250).any(axis=-1).all()
    for index in range(1, len(rows)):
        top, left = index // COLUMNS * size, index % COLUMNS * size
        changed = np.abs(pictures[top : top + size, left : left + size] - neutral)[16:].max()
        assert changed > 16, rows[index].name
    assert run(["avatars", "list"]) == 0 and "bala" in capsys.readouterr().out
    assert run(["avatars", "show", "bala"]) == 0
    shown = capsys.readouterr().out
    assert "mean |coefficient| in training" in shown and 'consent = "not needed"' in shown
    assert run(["avatars", "check", "bala", "--size", "48", "-o", str(tmp_path / "c.png")]) == 0
    assert "canonical mesh is the head's" in capsys.readouterr().out
    out = tmp_path / "out"
    assert run(["avatars", "export", "bala", "-o", str(out)]) == 0
    for file in (p for p in trained.rglob("*") if p.is_file()):
        assert (out / file.relative_to(trained)).read_bytes() == file.read_bytes()
    assert run(["avatars", "export", "bala", "--to", "3dgs", "--jaw", "8", "-o", str(tmp_path / "a.ply")]) == 0
    assert run(["avatars", "export", "bala", "--to", "npz", "-o", str(tmp_path / "a.npz")]) == 0
    film = tmp_path / "film.mp4"
    motion = tmp_path / "m.npy"
    np.save(motion, np.zeros((3, 106), np.float32))
    soundfile.write(tmp_path / "s.wav", np.zeros(1600), 16000)
    played = ["--motion", str(motion), "--avatar", "bala", "--size", "64", "-o", str(film)]
    assert run(["render", str(tmp_path / "s.wav"), *played]) == 0
    assert film.stat().st_size > 500
    assert run(["avatars", "remove", "bala"]) == 2 and run(["avatars", "remove", "bala", "--yes"]) == 0
    assert run(["avatars", "show", "bala"]) == 2


def test_what_is_not_recorded_is_said(published, trained, capsys):
    assert bring(published, trained, "--renderer-check", "off") == 0
    told = capsys.readouterr().err
    assert "subject is not recorded" in told and "consent is not recorded" in told
    avatar = load_avatar("bala")
    assert avatar.consent == "not recorded" and not (avatar.path / "contact-sheet.png").exists()


def mesh_of_faces(model):
    path = model / "point_cloud/iteration_30000/embedding.obj"
    lines = path.read_text().split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith("f "))
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    path.write_text("\n".join(lines))


def embedding(name, change):
    def apply(model):
        path = model / "point_cloud/iteration_30000/embedding.json"
        table = json.loads(path.read_text())
        table[name] = change(table[name])
        path.write_text(json.dumps(table))

    return apply


def ply(change):
    def apply(model):
        path = model / "point_cloud/iteration_30000/point_cloud.ply"
        path.write_bytes(change(path.read_bytes()))

    return apply


DAMAGED = {
    "missing attribute": (ply(lambda d: d.replace(b"float opacity", b"float opaque_", 1)), "lacks opacity|opaque_"),
    "extra attribute": (ply(lambda d: d.replace(b"float nx", b"float id", 1)), "does not write: id"),
    "another degree": (ply(lambda d: d.replace(b"float nz", b"float f_rest_0", 1)), "f_rest_"),
    "fewer than said": (ply(lambda d: d[:-100]), "truncated"),
    "counts": (embedding("_rotation", lambda rows: rows[1:]), "belong together"),
    "indices": (embedding("sample_fidxs", lambda rows: [-1, *rows[1:]]), "from -1"),
    "nan": (embedding("sample_bary", lambda rows: [[float("nan")] * 3, *rows[1:]]), "'sample_bary' nan at 0, 0"),
    "topology": (mesh_of_faces, "another mesh topology"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_is_one_line(published, trained, tmp_path, case, capsys):
    change, words = DAMAGED[case]
    change(trained)
    assert bring(published, trained) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(words, line), line
    assert not (tmp_path / "avatars").exists()


def test_flame_2023_where_2020_was_used(published, trained, capsys):
    flame = ["--flame", str(published / "flame/flame2023.pkl"), "--renderer-check", "off"]
    assert run(["avatars", "import", str(trained), *flame]) == 0
    capsys.readouterr()  # without the data nothing shows it in this stand-in, which has one template for both
    given = ["--flame", str(published / "flame/flame2023.pkl"), "--data", str(published / "data"), "--replace"]
    assert run(["avatars", "import", str(trained), *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "another FLAME version" in line and "generic_model.pkl fits" in line


def test_without_flame(trained, capsys):
    assert run(["avatars", "import", str(trained)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "generic_model.pkl" in line and "flame.is.tue.mpg.de" in line and "--flame FILE" in line


def test_at_a_terminal_it_asks(published, trained, monkeypatch, capsys):
    asked = []

    def answer(question):
        asked.append(question)
        return {"FLAME": str(published / "flame/generic_model.pkl"), "whom": "Bala", "what": "all of it"}[
            next(word for word in ("FLAME", "whom", "what") if word in question)
        ]

    monkeypatch.setattr("marotte.runtime.cli.avatars_import._ask", answer)
    assert run(["avatars", "import", str(trained), "--renderer-check", "off"]) == 0
    avatar = load_avatar("bala")
    assert (avatar.subject, avatar.consent) == ("Bala", "all of it")
    assert len(asked) == 3 and "register at https://flame.is.tue.mpg.de" in asked[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["export", "demo", "--to", "3dgs", "-o", "a.obj"], "must end in .ply"),
        (["export", "demo", "--to", "npz", "--jaw", "3", "-o", "a.npz"], "--jaw is for --to 3dgs"),
        (["export", "demo", "--to", "3dgs", "--frame", "3", "-o", "a.ply"], "give --motion"),
        (["export", "demo", "--to", "3dgs", "--expression", "smile=1", "-o", "a.ply"], "no expression of avatar demo"),
        (["import", "nowhere"], "nowhere is not there"),
        (["import", ".", "--sheet", "no/where.png"], "there is no folder"),
        (["remove", "demo", "--yes"], "comes with Marotte"),
    ],
)
def test_more_mistakes(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["avatars", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_sheet_of_chosen_poses():
    seen = []
    sheet = contact_sheet(
        load_avatar("demo"),
        MeshRenderer(),
        size=32,
        chosen=("jaw 0.4", "head left 30"),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert sheet.size == (32 * COLUMNS, 32) and seen == [(1, 2), (2, 2)]
    assert {*TELLING} <= {pose.name for pose in poses("flame2020")}


def test_an_avatar_that_sound_alone_moves(tmp_path, capsys):
    folder = tmp_path / "heard"
    folder.mkdir()
    (folder / "avatar.toml").write_text('name = "heard"\nrenderer = "mesh"\nbasis = "none"\n')
    assert run(["avatars", "show", str(folder)]) == 0
    assert "none of its own: sound moves it" in capsys.readouterr().out
    for command in ("verify", "evaluate"):
        assert run(["avatars", command, str(folder), str(tmp_path)]) == 2
        assert "moved by sound alone" in capsys.readouterr().err
    assert run(["avatars", "check", str(folder), "-o", str(tmp_path / "s.png")]) == 2
    assert "names no network: it is drawn by mesh" in capsys.readouterr().err
