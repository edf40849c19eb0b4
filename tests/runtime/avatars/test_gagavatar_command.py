"""`marotte avatars` with a GAGAvatar whose network is not here: all but drawing works, and says what to fetch."""

import numpy as np
import pytest
from PIL import Image

from marotte.models.safe_files import read_any
from marotte.runtime.avatar import load_avatar
from marotte.runtime.cli import run


@pytest.fixture
def basil(standin, store, capsys):
    """The avatar's name, imported by the command."""
    about = ["--subject", "nobody", "--consent", "not needed", "--licence", "CC0"]
    assert run(["avatars", "import", str(standin), "--entry", "basil.jpg", *about]) == 0
    told = capsys.readouterr()
    assert "--avatar basil" in told.out and "marotte assets fetch GAGAvatar/GAGAvatar.pt" in told.out
    # No torch, or no network here: each says so.
    assert told.err.count("no contact sheet") == 1 and "contact sheet  " not in told.out
    return "basil"


def test_looking_at_it(basil, capsys, tmp_path):
    assert run(["avatars", "list"]) == 0
    assert "basil            gagavatar          flame2020" in capsys.readouterr().out
    assert run(["avatars", "show", basil]) == 0
    shown = capsys.readouterr().out
    assert "network          GAGAvatar/GAGAvatar.pt" in shown and "source           source.npz" in shown
    assert run(["avatars", "check", basil, "-o", str(tmp_path / "sheet.png")]) == 0
    said = capsys.readouterr().out
    assert "basil.jpg: 512x512" in said and "no contact sheet" in said and not list(tmp_path.glob("sheet.png"))


def test_it_leaves_as_it_came(basil, standin, capsys, tmp_path):
    assert run(["avatars", "export", basil, "-o", str(tmp_path / "one.pt")]) == 0
    came = read_any(standin / "tracked.pt")["basil.jpg"]
    for name, value in read_any(tmp_path / "one.pt")["basil.jpg"].items():
        np.testing.assert_array_equal(value, came[name], err_msg=name)
    for wrong, words in (
        (["--to", "3dgs", "-o", str(tmp_path / "a.ply")], "no Gaussians to export"),
        (["--variant", "live", "-o", str(tmp_path / "a.pt")], "gagavatar has no variants"),
        (["--jaw", "3", "-o", str(tmp_path / "a.pt")], "--jaw is for --to 3dgs"),
    ):
        assert run(["avatars", "export", basil, *wrong]) == 2
        assert words in capsys.readouterr().err
    assert run(["avatars", "export", "demo", "--to", "gagavatar", "-o", str(tmp_path / "a.pt")]) == 2
    assert "no tracked picture to export" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "evaluate"])
def test_what_is_for_trained_avatars_says_so(basil, standin, capsys, command):
    assert run(["avatars", command, basil, str(standin)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"avatars {command}` holds an avatar to the recording" in line and "a camera of its own" in line


def test_removing_it(basil, store):
    assert run(["avatars", "remove", basil, "--yes"]) == 0 and not list(store.iterdir())


def test_a_frame_of_the_tracker(standin, store, capsys):
    arguments = ["avatars", "import", str(standin / "metrical"), "--as", "gagavatar", "--entry", "00002", "--name", "f"]
    assert run([*arguments, "--renderer-check", "off"]) == 0
    told = capsys.readouterr()
    assert "fit.png" in told.out and "experimental" in told.err and "x1.313" in told.out
    assert Image.open(load_avatar("f").path / "fit.png").size == (1024, 1024)
    assert run(["avatars", "verify", "f", str(standin / "metrical")]) == 2
    assert "fit.png" in capsys.readouterr().err


def test_a_sheet_that_was_asked_for_must_be_drawn(standin, store, capsys, tmp_path):
    arguments = ["avatars", "import", str(standin), "--entry", "basil.jpg", "--sheet", str(tmp_path / "s.png")]
    assert run(arguments) == 2
    assert (
        "gagavatar" in capsys.readouterr().err.lower()
        and not list(store.glob("*"))
        and not list(tmp_path.glob("*.png"))
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--unit", "5"], "--unit is for splatting-avatar, this is gagavatar"),
        (["--features", "deepspeech"], "--features is for gaussian-talker"),
        (["--config", "a.yaml"], "--config is for splatting-avatar and gaussian-talker"),
        (["--as", "splatting-avatar"], "--entry is for gagavatar"),
    ],
)
def test_options_of_others(standin, store, arguments, words, capsys):
    assert run(["avatars", "import", str(standin), "--entry", "basil.jpg", *arguments]) == 2
    assert words in capsys.readouterr().err
