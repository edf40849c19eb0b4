"""`marotte avatars`: list, show, check."""

import numpy as np
import pytest
from PIL import Image

from marotte.runtime.arkit import ACTIONS
from marotte.runtime.avatar import load_avatar
from marotte.runtime.cli import run
from marotte.runtime.contact_sheet import COLUMNS, poses


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
