"""What is to be compared, as users write it: `--arm NAME=AVATAR,key=value,...`, or tables of a TOML file."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.compare.model import Arm

# A name becomes a file's.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_FILM = "video:"
MOST_ARMS = 9
MOST_SEED = 2**32 - 1

_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise ValueError
    return _TRUTH[text.lower()]


def _seed(value: Any) -> int:
    number = int(value)
    if not 0 <= number <= MOST_SEED:
        raise ValueError
    return number


def _plain(value: Any) -> Any:
    return value


# Of an arm itself; the options of `marotte.render` that an arm may have of its own, and how they read; and options of
# drivers and renderers, by their own names or, where both have one, behind `renderer.`.
_OWN = ("avatar", "driver", "renderer", "motion", "video")
_RENDER = {
    "variant": str,
    "rasterizer": str,
    "device": str,
    "framing": str,
    "background": str,
    "motion_basis": str,
    "motion_fps": str,
    "jaw": str,
    "head_motion": float,
    "expressiveness": float,
    "fix_pose": _truth,
    "smooth": _truth,
    "idle": float,
    "seed": _seed,
    "basis_approx": str,
    "head_rotation": str,
    "flame": str,
}
_DRIVER = {
    "articulation": float,
    "smile": float,
    "happy": float,
    "sad": float,
    "style": str,
    "latency": str,
    "precision": str,
    "compile": _truth,
    "weights": str,
}
_RENDERER = {
    "noise": str,
    "watermark": str,
    "pose": str,
    "features": str,
    "normalise": str,
    "renderer.precision": str,
    "renderer.compile": _truth,
}
# Of a whole comparison, by the names of `marotte.runtime.compare.run.compare`'s arguments.
_SETTINGS = {
    "audio": str,
    "out": str,
    "reference": str,
    "reference_landmarks": str,
    "text": str,
    "fps": _plain,
    "size": _plain,
    "start": float,
    "duration": float,
    "title": str,
    "seed": _seed,
    "lpips": _truth,
    "cost": _truth,
    "replace": _truth,
}
KEYS = (*_OWN, *_RENDER, *_DRIVER, *_RENDERER)
_FORM = "write NAME=AVATAR,key=value,... as in mesh=demo,renderer=mesh"


@dataclass(frozen=True)
class Plan:
    """A comparison as a TOML file says it. settings: of the whole, by the names of `marotte compare`'s options."""

    arms: tuple[Arm, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_arm(text: str) -> Arm:
    """Return the arm of one `--arm`. Raises MarotteError."""
    name, equals, rest = text.partition("=")
    if not equals or not rest:
        raise MarotteError(f"--arm {text!r} names no avatar: {_FORM}")
    first, *pairs = rest.split(",")
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not value:
            raise MarotteError(f"--arm {text!r}: {pair!r} is no key=value: {_FORM}")
        if key in values:
            raise MarotteError(f"--arm {text!r} says {key} twice: say it once")
        values[key.strip()] = value
    if first.startswith(_FILM):
        values["video"] = first.removeprefix(_FILM)
    elif first:
        values["avatar"] = first
    return make_arm(name, values)


def make_arm(name: str, values: Mapping[str, Any]) -> Arm:
    """Return an arm of texts or values by key. Raises MarotteError that names the arm, the key and the value."""
    if not _NAME.fullmatch(name):
        raise MarotteError(
            f"the arm {name!r} cannot give a file its name: use up to 40 letters, digits, '.', '_', '-', the first a "
            "letter or digit"
        )
    own: dict[str, Any] = {}
    options: dict[str, Any] = {"render": {}, "driver_options": {}, "renderer_options": {}}
    for key, value in values.items():
        if key in _OWN:
            own[key] = _read(f"the arm {name}", key, value, str)
            continue
        for place, known in (("render", _RENDER), ("driver_options", _DRIVER), ("renderer_options", _RENDERER)):
            if key in known:
                options[place][key.removeprefix("renderer.")] = _read(f"the arm {name}", key, value, known[key])
                break
        else:
            raise unknown_name(f"key of the arm {name}", key, KEYS)
    if "video" in own and (others := [key for key in values if key != "video"]):
        raise MarotteError(
            f"the arm {name} is a film that is there already: {others[0]} does nothing to it, leave it out"
        )
    if "motion" in own and "driver" in own:
        raise MarotteError(f"the arm {name} has a motion and a driver, which makes one: leave out either")
    return Arm(name, **own, **options)


def read_plan(path: str | Path) -> Plan:
    """Return what a TOML file says: settings at its top, a table [arms.NAME] for each arm. Raises MarotteError.

    Relative names of files in it are of the file's own folder, where they are there.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise MarotteError(
            f"{path} cannot be read as TOML ({reason}): give a file with a table [arms.NAME] each"
        ) from None
    tables = content.pop("arms", None)
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise MarotteError(f"{path} names no arms: give it a table [arms.NAME] for each")
    if unknown := next((key for key in content if key not in _SETTINGS), None):
        raise unknown_name(f"setting of {path}", unknown, list(_SETTINGS))
    folder = Path(path).parent
    settings = {key: _read(str(path), key, value, _SETTINGS[key]) for key, value in content.items()}
    arms = [make_arm(name, _beside(folder, table)) for name, table in tables.items()]
    return Plan(tuple(arms), _beside(folder, settings))


def check_arms(arms: Sequence[Arm]) -> None:
    """Raise MarotteError where these cannot be compared: none, too many, or two of one name."""
    if not arms:
        raise MarotteError(f"there is nothing to compare: give --arm for each, {_FORM}")
    if len(arms) > MOST_ARMS:
        raise MarotteError(f"{len(arms)} arms are more than the {MOST_ARMS} that one picture can show: compare fewer")
    names = [arm.name.lower() for arm in arms]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MarotteError(f"two arms are called {twice}: give each a name of its own")


def _beside(folder: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table in which names of files that lie beside the TOML file are whole paths."""
    found = {}
    for key, value in table.items():
        here = isinstance(value, str) and key in _FILES and (folder / value).exists()
        found[key] = str(folder / value) if here else value
    return found


_FILES = (
    "avatar",
    "video",
    "motion",
    "flame",
    "background",
    "weights",
    "style",
    "watermark",
    "features",
    "audio",
    "reference",
    "reference_landmarks",
    "text",
)


def _read(where: str, key: str, value: Any, kind: Any) -> Any:
    """Return a value of its kind, of a text or of TOML."""
    try:
        if kind is _truth:
            return value if isinstance(value, bool) else _truth(str(value))
        if isinstance(value, bool) or not isinstance(value, str | int | float | Fraction):
            raise ValueError
        if kind is _seed and isinstance(value, float):
            raise ValueError
        return kind(value)
    except (ValueError, TypeError):
        words = {
            float: "a number",
            _plain: "a number",
            str: "a name",
            _seed: f"a whole number from 0 to {MOST_SEED}",
            _truth: "true or false",
        }[kind]
        raise MarotteError(f"{where}: {key} = {value!r} is not {words}") from None
