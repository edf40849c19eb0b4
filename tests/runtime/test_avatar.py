"""An avatar is a folder: what its avatar.toml may say, and what is said when it is wrong."""

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marotte.errors import MarotteError
from marotte.runtime.avatar import SHIPPED, Avatar, avatar_folders, load_avatar

GOOD = """
name = "mine"
renderer = "mesh"
basis = "arkit52"
head = "head.npz"
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write avatar.toml of an avatar called mine, under $MAROTTE_AVATARS."""
    monkeypatch.setenv("MAROTTE_AVATARS", str(tmp_path / "avatars"))
    folder = tmp_path / "avatars" / "mine"
    folder.mkdir(parents=True)

    def write(text: str = GOOD) -> Path:
        (folder / "avatar.toml").write_text(text, encoding="utf-8")
        return folder

    return write


def test_the_demo_avatar_is_there_and_whole():
    avatar = load_avatar("demo")
    assert avatar.path == SHIPPED / "demo" == avatar_folders()["demo"]
    assert avatar.basis == "arkit52" and avatar.head_path.is_file()
    assert {"head", "bust"} <= avatar.framings.keys()
    assert avatar == load_avatar(SHIPPED / "demo") and len(avatar.sha256) == 64


def test_by_name_by_folder_and_beside_the_shipped_ones(own, tmp_path, monkeypatch):
    folder = own()
    assert load_avatar("mine") == load_avatar(folder) == load_avatar(str(folder))
    assert {"demo", "mine"} <= avatar_folders().keys()
    monkeypatch.delenv("MAROTTE_AVATARS")
    assert "mine" not in avatar_folders()
    monkeypatch.setenv("MAROTTE_AVATARS", str(tmp_path / "nowhere"))
    assert "demo" in avatar_folders()


def test_everything_that_it_may_say(own):
    own(
        GOOD
        + 'title = "Mine"\nexpressions = 50\nunit = 4\nhead_rotation = "camera"\npivot = [0, 0.1, 0]\n'
        + 'size = [320, 240]\nfps = 29.97\nbackground = "black"\nfuture = "of a newer version"\n'
        + "[framing.head]\ntarget = [0, 0, 1]\ndistance = 2\nheight = 0.5\n"
    )
    avatar = load_avatar("mine")
    assert (avatar.title, avatar.expressions, avatar.unit, avatar.size) == ("Mine", 50, 4, (320, 240))
    assert avatar.fps == Fraction(30000, 1001) and avatar.head_rotation == "camera"
    camera = avatar.framing("head").camera(200, 100)
    ahead = camera.R @ np.array([0, 0, 1]) + camera.t
    assert ahead == pytest.approx([0, 0, 2]) and (camera.width, camera.height) == (200, 100)
    with pytest.raises(MarotteError, match="framing of avatar mine is called 'hedd': did you mean 'head'"):
        avatar.framing("hedd")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("arkit52", "arkit51"), "basis of avatar mine is called 'arkit51': did you mean 'arkit52'"),
        (GOOD + 'head_rotation = "nek"', "head_rotation of avatar mine is called 'nek': did you mean 'neck'"),
        (GOOD.replace('name = "mine"', ""), r"avatar\.toml is incomplete.*'name'"),
        (GOOD.replace('"mesh"', "3"), r"avatar\.toml .*wrong entry: renderer = 3"),
        (GOOD + 'expressions = "all"', "wrong entry: expressions = 'all'"),
        (GOOD + "unit = [1]", r"wrong entry: unit = \[1\]"),
        (GOOD + "unit = -4", "wrong entry: unit = -4"),
        (GOOD + "unit = nan", "wrong entry: unit = nan"),
        (GOOD + "expressions = -1", "wrong entry: expressions = -1"),
        (GOOD + "expression_level = -0.5", "wrong entry: expression_level = -0.5"),
        (GOOD + "pivot = [0, inf, 0]", "wrong entry: pivot"),
        (GOOD + "size = [0, 512]", r"wrong entry: size = \[0, 512\]"),
        (GOOD + "[framing.head]\ntarget = [0, 0, 0]\nheight = 1\ndistance = -1", "wrong entry: framing head"),
        (GOOD + "size = [512]", "wrong entry"),
        (GOOD + "size = 512", "wrong entry"),
        (GOOD + "fps = 0", "frame rate 0"),
        (GOOD + 'files = ["head.npz"]', "wrong entry: files"),
        (GOOD + "[framing.head]\ntarget = [0, 0]\ndistance = 1\nheight = 1", "wrong entry"),
        (GOOD + "[framing.head]\ntarget = [0, 0, 0]\nheight = 1", "wrong entry: .*distance"),
        (GOOD + '[framing.head]\ntarget = [0, 0, 0]\nheight = "tall"\ndistance = 1', "wrong entry: .*tall"),
        (GOOD + 'framing = "head"', "wrong entry"),
        ("name = mine", r"avatar\.toml is not valid TOML: .*line 1"),
        ("", r"avatar\.toml is incomplete"),
    ],
)
def test_entries_that_are_wrong(own, text, words):
    own(text)
    with pytest.raises(MarotteError, match=words) as caught:
        load_avatar("mine")
    assert "mine" in str(caught.value) and "\n" not in str(caught.value)


def test_a_toml_that_is_no_text(own):
    (own() / "avatar.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MarotteError, match=r"avatar\.toml is not valid TOML"):
        load_avatar("mine")


def test_files_are_those_that_it_describes(own):
    folder = own()
    (folder / "head.npz").write_bytes(b"a head")
    digest = hashlib.sha256(b"a head").hexdigest()
    own(GOOD + f'[files]\n"head.npz" = "{digest}"\n')
    before = load_avatar("mine")
    (folder / "head.npz").write_bytes(b"a hEad")
    with pytest.raises(MarotteError, match=r"mine: .*head\.npz is not the file that avatar\.toml describes"):
        load_avatar("mine")
    (folder / "head.npz").unlink()
    with pytest.raises(MarotteError, match=r"mine lacks its file .*head\.npz: import or install it again"):
        load_avatar("mine")
    changed = Avatar("mine", folder, "mesh", "arkit52", files={"head.npz": "0" * 64})
    assert changed.sha256 != before.sha256


@pytest.mark.parametrize("name", ["dmo", "Demo", "demo1"])
def test_the_nearest_name(name):
    with pytest.raises(MarotteError, match=f"no avatar is called '{name}': did you mean 'demo'.*known are demo"):
        load_avatar(name)


def test_places_without_an_avatar(tmp_path):
    with pytest.raises(MarotteError, match=r"has no avatar\.toml, so it is not an avatar"):
        load_avatar(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(MarotteError, match="no avatar is called"):
        load_avatar(tmp_path / "file")
    (tmp_path / "avatar.toml").mkdir()
    with pytest.raises(MarotteError, match=r"has no avatar\.toml"):
        load_avatar(tmp_path)
