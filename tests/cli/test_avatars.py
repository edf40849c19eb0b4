"""`marotte avatars`: list, show, check."""

import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.arkit import ACTIONS
from marotte.runtime.avatar import load_avatar
from marotte.runtime.cli import run
from marotte.runtime.contact_sheet import COLUMNS, contact_sheet, poses


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
    names = [name for name, _, _ in poses("arkit52")]
    assert all(any(name.startswith(action) for name in names) for action in ACTIONS)
    assert len(set(names)) == len(names)
    assert any(name == "expression 9: +2" for name, _, _ in poses("flame2020"))


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
        assert changed > 4, poses("arkit52")[index][0]  # below its name each picture differs from the neutral one


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
