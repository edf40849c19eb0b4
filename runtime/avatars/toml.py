"""Write avatar.toml."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marotte.runtime.avatar import Avatar

FILE = "avatar.toml"
_TEXTS = ("name", "title", "renderer", "head", "shape", "splats", "network", "source", "recording", "features", "basis")
_LAST = ("head_rotation", "background", "licence", "subject", "consent", "origin")


def avatar_text(avatar: Avatar) -> str:
    """Return the text of an avatar's avatar.toml; reading it gives the same avatar."""
    lines = [_entry(name, getattr(avatar, name)) for name in _TEXTS if getattr(avatar, name)]
    lines += [_entry(name, getattr(avatar, name)) for name in ("expressions", "expression_level", "unit")]
    lines += [
        _entry(name, getattr(avatar, name)) for name in ("landmarks", "masks", "eyelids") if getattr(avatar, name)
    ]
    lines += [_entry("pivot", avatar.pivot), _entry("size", avatar.size)]
    if avatar.fps is not None:
        lines.append(_entry("fps", str(avatar.fps)))
    lines += [_entry(name, getattr(avatar, name)) for name in _LAST if getattr(avatar, name)]
    if avatar.variants:
        lines += ["", "[variants]", *(_entry(_key(name), file) for name, file in avatar.variants.items())]
    for name, framing in avatar.framings.items():
        values: Mapping[str, Any] = {
            "target": framing.target,
            "distance": framing.distance,
            "height": framing.height,
        }
        lines += ["", f"[framing.{_key(name)}]", *(_entry(key, value) for key, value in values.items())]
    lines += ["", "[files]", *(_entry(_key(name), digest) for name, digest in avatar.files.items())]
    return "\n".join(lines) + "\n"


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file below a folder by its name, with slashes."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _entry(name: str, value: Any) -> str:
    if isinstance(value, str):
        return f"{name} = {_text(value)}"
    if isinstance(value, tuple):
        return f"{name} = [{', '.join(_text(item) if isinstance(item, str) else _number(item) for item in value)}]"
    return f"{name} = {_number(value)}"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(round(float(value), 6))


def _key(name: str) -> str:
    return _text(name)


def _text(value: str) -> str:
    """Return a text as TOML has it: JSON's escapes, and DEL's, which JSON leaves as it is."""
    plain = value.encode("utf-8", "replace").decode()
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
