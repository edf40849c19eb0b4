"""Published files: what is there, what is not, and what only looks like it."""

import errno
import os
import sys
from pathlib import Path

import pytest

from marotte.errors import MarotteError
from marotte.runtime import assets
from marotte.runtime.assets import asset_path, catalogue, examine, select
from marotte.runtime.places import data_folder

WEIGHTS, STYLE = b"weights" * 5000, b"style" * 3000


# --- the manifest that is shipped ---


def test_the_manifest_is_that_of_the_published_files():
    known = catalogue()
    assert len(known) == 25 and known["ARTalk_wav2vec.pt"].bytes == 1959150898
    for asset in known.values():
        assert (asset.bytes is None) == (asset.sha256 is None) and asset.licence and asset.needed_by
        assert asset.group in ("artalk", "gagavatar", "styles", "flame")
        assert bool(asset.repo) == (asset.group != "flame")
    assert known["GAGAvatar/GAGAvatar.pt"].url == (
        "https://huggingface.co/xg-chu/GAGAvatar/resolve/main/assets/GAGAvatar.pt"
    )
    assert {a.name for a in select(["artalk"])} == {"ARTalk_wav2vec.pt", "config.json"}
    assert len(select(["all", "artalk"])) == 25
    with pytest.raises(MarotteError, match=r"'ARTalk_wav2vec\.p'.*did you mean 'ARTalk_wav2vec\.pt'"):
        select(["ARTalk_wav2vec.p"])


def test_places(monkeypatch, tmp_path):
    monkeypatch.delenv("MAROTTE_ASSETS", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for platform, variable, value, expected in [
        ("linux", "XDG_DATA_HOME", str(tmp_path / "x"), tmp_path / "x"),
        ("linux", "XDG_DATA_HOME", "relative", tmp_path / ".local" / "share"),
        ("darwin", "XDG_DATA_HOME", "", tmp_path / "Library" / "Application Support"),
        ("win32", "LOCALAPPDATA", str(tmp_path / "l"), tmp_path / "l"),
    ]:
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setenv(variable, value)
        assert data_folder("assets") == expected / "marotte" / "assets"
    monkeypatch.setenv("MAROTTE_ASSETS", str(tmp_path / "named"))
    assert data_folder("assets") == tmp_path / "named"


# --- what is there ---


def test_what_is_missing_is_named_with_the_mend(room):
    assert examine(room.net).state == "missing"
    with pytest.raises(
        MarotteError, match=r"net\.pt is not in .* \(needed by: driver net\).*assets fetch net\.pt.*resolve/main/net"
    ):
        asset_path("net.pt")
    with pytest.raises(MarotteError, match=r"register at https://flame.*assets add PATH"):
        asset_path("generic_model.pkl")
    with pytest.raises(MarotteError, match=r"no asset is called 'net\.p'"):
        asset_path("net.p")


def test_a_style_is_selected_as_the_driver_takes_it(monkeypatch):
    assert [asset.name for asset in select(["happy_0"])] == ["style_motion/happy_0.pt"]


def test_a_file_is_hashed_once_and_again_when_it_changes(room, monkeypatch):
    room.store.mkdir()
    path = room.store / "net.pt"
    path.write_bytes(WEIGHTS)
    hashed = []
    real = assets.sha256
    monkeypatch.setattr(assets, "sha256", lambda *a: hashed.append(a) or real(*a))
    assert asset_path("net.pt") == path and asset_path("net.pt") == path and len(hashed) == 1
    path.write_bytes(WEIGHTS[:-1] + b"!")
    os.utime(path, ns=(1, 1))
    with pytest.raises(
        MarotteError, match=r"net\.pt is not net\.pt as published: its sha256 is .*assets fetch net\.pt"
    ):
        asset_path("net.pt")
    # A change that keeps size and time is found by hashing again.
    path.write_bytes(WEIGHTS)
    asset_path("net.pt")
    stamp = path.stat().st_mtime_ns
    path.write_bytes(WEIGHTS[:-1] + b"!")
    os.utime(path, ns=(stamp, stamp))
    assert examine(room.net, hashed=True, again=True).state == "wrong"


def test_large_files_are_not_hashed_to_list_them(room, monkeypatch):
    monkeypatch.setattr(assets, "_HASHED_AT_ONCE", 10)
    room.store.mkdir()
    (room.store / "net.pt").write_bytes(WEIGHTS)
    assert examine(room.net).state == "unverified"
    assert asset_path("net.pt") and examine(room.net).state == "present"


def test_artalks_own_folder_is_read_and_never_written(room, monkeypatch):
    own = room.given
    room.give("style_motion/glad.pt", STYLE)
    room.give("net.pt", WEIGHTS[:9])
    monkeypatch.setenv("ARTALK_ASSET_DIR", str(own))
    before = sorted(own.rglob("*"))
    assert asset_path("style_motion/glad.pt") == own / "style_motion" / "glad.pt"
    with pytest.raises(MarotteError, match=r"net\.pt is cut short: it has 9 bytes, net\.pt has 35000"):
        asset_path("net.pt")
    room.store.mkdir(exist_ok=True)
    (room.store / "net.pt").write_bytes(WEIGHTS)
    assert asset_path("net.pt") == room.store / "net.pt"
    assert sorted(own.rglob("*")) == before


def test_what_is_no_readable_file(room, monkeypatch):
    (room.store / "net.pt").mkdir(parents=True)
    with pytest.raises(MarotteError, match=r"net\.pt is no file"):
        asset_path("net.pt")
    (room.store / "net.pt").rmdir()
    (room.store / "net.pt").symlink_to(room.given / "gone")
    with pytest.raises(MarotteError, match=r"net\.pt is a link to a file that is gone"):
        asset_path("net.pt")
    (room.store / "net.pt").unlink()
    (room.store / "net.pt").write_bytes(WEIGHTS)

    real = Path.open

    def refuse(path, *mode, **options):
        if path.name == "net.pt":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *mode, **options)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MarotteError, match=r"cannot be read .*Permission denied"):
        asset_path("net.pt")


def test_a_damaged_record_is_no_obstacle(room):
    room.store.mkdir()
    (room.store / "net.pt").write_bytes(WEIGHTS)
    for text in ("{", "[]", '{"x": 3}'):
        (room.store / ".verified.json").write_text(text)
        assert asset_path("net.pt")
