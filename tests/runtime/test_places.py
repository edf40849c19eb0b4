"""Where things are kept that can be made again."""

import sys
from pathlib import Path

import pytest

from marotte.runtime.places import cache_folder


@pytest.mark.parametrize(
    ("platform", "variable", "value", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "/x", "/x"),
        ("linux", "XDG_CACHE_HOME", "relative", "home/.cache"),
        ("darwin", "XDG_CACHE_HOME", "", "home/Library/Caches"),
        ("win32", "LOCALAPPDATA", "/l", "/l"),
    ],
)
def test_the_users_cache(monkeypatch, platform, variable, value, expected):
    monkeypatch.delenv("MAROTTE_CACHE", raising=False)
    monkeypatch.delenv("MAROTTE_TRANSFERS", raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, value)
    assert cache_folder("transfers") == Path(expected) / "marotte" / "transfers"


def test_named_places(monkeypatch):
    monkeypatch.setenv("MAROTTE_CACHE", "/cache")
    monkeypatch.setenv("MAROTTE_EXPANDED", "/elsewhere")
    assert cache_folder("identities") == Path("/cache/identities")
    assert cache_folder("expanded") == Path("/elsewhere")
