"""Where Marotte keeps what a user gives it or has it fetch, and what it makes of that: a folder for each kind."""

import os
import sys
from pathlib import Path


def data_folder(kind: str) -> Path:
    """Return the folder for things of a kind ("assets", "avatars"), which need not exist yet.

    It is what the variable MAROTTE_<KIND> names; else marotte/<kind> in the user's data folder: $XDG_DATA_HOME or
    ~/.local/share, on macOS ~/Library/Application Support, on Windows %LOCALAPPDATA%.
    """
    named = os.environ.get(f"MAROTTE_{kind.upper()}")
    if named:
        return Path(named).expanduser()
    return _user_data() / "marotte" / kind


def cache_folder(kind: str) -> Path:
    """Return the folder for what can be made again ("transfers", "expanded"), which need not exist yet.

    It is what the variable MAROTTE_<KIND> names; else $MAROTTE_CACHE/<kind>; else marotte/<kind> in the user's cache
    folder: $XDG_CACHE_HOME or ~/.cache, on macOS ~/Library/Caches, on Windows %LOCALAPPDATA%.
    """
    if named := os.environ.get(f"MAROTTE_{kind.upper()}"):
        return Path(named).expanduser()
    if named := os.environ.get("MAROTTE_CACHE"):
        return Path(named).expanduser() / kind
    return _user_cache() / "marotte" / kind


def _user_data() -> Path:
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Application Support"
    given = os.environ.get("XDG_DATA_HOME", "")
    # The specification says that a relative folder there is to be ignored.
    return Path(given) if os.path.isabs(given) else home / ".local" / "share"


def _user_cache() -> Path:
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    given = os.environ.get("XDG_CACHE_HOME", "")
    return Path(given) if os.path.isabs(given) else home / ".cache"
