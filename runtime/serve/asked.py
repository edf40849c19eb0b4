"""What a client asks for, checked: names of what there is, numbers in range, and nothing that could be a path."""

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.avatar import avatar_folders, load_avatar
from marotte.runtime.background import Background
from marotte.runtime.clock import as_fps
from marotte.runtime.live.settings import LiveSettings
from marotte.runtime.registry import status
from marotte.runtime.serve.config import ServeConfig

SIZES = (256, 384, 512, 768)
RATES = (25, 30, 50, 60)
# What may be asked for, and changed while a session runs, with its range.
RANGES = {"expressiveness": (0.0, 3.0), "head_motion": (0.0, 1.0), "idle": (0.0, 2.0)}
CHANGING = ("expressiveness", "head_motion", "background")
_KNOWN = ("avatar", "variant", "driver", "size", "fps", "background", "seed", *RANGES)
_SIDES = (64, 2048)
_SIZE = re.compile(r"[0-9]{1,5}(x[0-9]{1,5})?")
_RATE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9}|/[0-9]{1,6})?")
_COLOUR = re.compile(r"#[0-9a-fA-F]{3}|#[0-9a-fA-F]{6}|[a-zA-Z]{3,24}")
# A driver that plays one file has nothing to play here.
_NOT_LIVE = ("playback",)


def drivers() -> list[str]:
    """Return the names of the drivers that can be used here. It imports them all."""
    return [name for name, why_not in status("driver").items() if not why_not and name not in _NOT_LIVE]


def usual_avatar(config: ServeConfig) -> str:
    """Return the name that clients know the configured avatar by, which may be a folder: never its path."""
    return load_avatar(config.session.avatar).name


def avatars(config: ServeConfig) -> list[dict[str, Any]]:
    """Return what a client may know of each avatar, the configured one included."""
    found, usual = [], usual_avatar(config)
    for name in dict.fromkeys([*avatar_folders(), usual]):
        try:
            avatar = load_avatar(config.session.avatar if name == usual else name)
        except MarotteError:
            continue
        told = {"name": name, "title": avatar.title or name, "renderer": avatar.renderer, "size": avatar.size}
        found.append(told | {"variants": list(avatar.variants)})
    return found


def settings_of(
    asked: Mapping[str, Any], config: ServeConfig, known_drivers: list[str], beside: LiveSettings | None = None
) -> LiveSettings:
    """Return a session's settings: the configured ones, or those of the session beside which it is to be, changed as
    asked. Raises MarotteError."""
    for name in asked:
        if name not in _KNOWN:
            raise unknown_name("setting of a session", str(name)[:40], _KNOWN)
        if beside and name in ("size", "fps"):
            raise MarotteError(f"{name} of two sessions side by side is that of the first: leave it out")
    settings = beside or config.session
    values: dict[str, Any] = {name: _number(name, asked[name], *RANGES[name]) for name in RANGES if name in asked}
    if "avatar" in asked:
        usual = asked["avatar"] == usual_avatar(config)
        values["avatar"] = config.session.avatar if usual else _one_of("avatar", asked["avatar"], avatar_folders())
    if "driver" in asked:
        values["driver"] = _one_of("driver", asked["driver"], known_drivers)
        values["driver_options"] = config.session.driver_options if values["driver"] == config.session.driver else {}
    if "seed" in asked:
        values["seed"] = _whole("seed", asked["seed"], 0, 2**31 - 1)
    if "background" in asked:
        values["background"] = background_of(asked["background"])
    if "size" in asked:
        values["width"], values["height"] = size_of(asked["size"], config.limits.pixels)
    if not beside:
        values["fps"] = fps_of(asked["fps"]) if "fps" in asked else config.fps or settings.fps
    changed = replace(settings, **values)
    if "variant" in asked:
        return with_variant(changed, config, _variant_of(asked["variant"], changed.avatar))
    same = beside is not None and beside.avatar == changed.avatar
    return changed if same else with_variant(changed, config, config.variant)


def with_variant(settings: LiveSettings, config: ServeConfig, variant: str | None) -> LiveSettings:
    """Return the settings with a variant, where the avatar has it; None: the avatar as it is."""
    avatar = load_avatar(settings.avatar)
    options = {} if avatar.name != load_avatar(config.session.avatar).name else dict(config.session.renderer_options)
    options.pop("variant", None)
    if variant and variant in avatar.variants:
        options["variant"] = variant
    return replace(settings, renderer_options=options)


def _variant_of(value: Any, avatar: str) -> str | None:
    """Return a variant's name, None for none. Raises MarotteError."""
    return None if value is None else _one_of("variant", value, list(load_avatar(avatar).variants))


def changes_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a running session's face is to be set to. Raises MarotteError."""
    for name in asked:
        if name not in CHANGING:
            raise unknown_name("setting that can change while a session runs", str(name)[:40], CHANGING)
    values: dict[str, Any] = {n: _number(n, asked[n], *RANGES[n]) for n in RANGES if n in asked}
    if "background" in asked:
        values["background"] = background_of(asked["background"])
    return values


def background_of(value: Any) -> Background:
    """Return a colour, or the avatar's own background; never a file. Raises MarotteError."""
    if value == "own":
        return Background(own=True)
    if not isinstance(value, str) or not _COLOUR.fullmatch(value):
        raise MarotteError(f"background {_short(value)} is neither a colour (steelblue, #8090a0) nor 'own'")
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(value)[:3]
    except ValueError:
        raise MarotteError(f"background {value!r} is no colour: give a name of CSS or #rrggbb") from None
    return Background(colour=(red / 255, green / 255, blue / 255))


def size_of(value: Any, most: int) -> tuple[int, int]:
    """Return width and height of `512`, `"640x480"` or `[640, 480]`. Raises MarotteError."""
    if isinstance(value, str):
        numbers = [int(side) for side in value.split("x")] if _SIZE.fullmatch(value) else []
    else:
        sides = value if isinstance(value, list) else [value]
        numbers = sides if all(type(side) is int for side in sides) else []
    if len(numbers) not in (1, 2):
        raise MarotteError(f"size {_short(value)} is neither 512 nor 640x480")
    width, height = numbers * (3 - len(numbers)) if len(numbers) == 1 else numbers
    least, largest = _SIDES
    if not (least <= width <= largest and least <= height <= largest) or width * height > most:
        raise MarotteError(f"size {_short(value)}: sides are {least} to {largest} pixels, pictures up to {most}")
    return width, height


def fps_of(value: Any) -> Fraction:
    """Return a frame rate. Raises MarotteError."""
    text = isinstance(value, str) and _RATE.fullmatch(value) and len(value) <= 16
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6
    if not text and not number:
        raise MarotteError(f"frame rate {_short(value)} is not a number: 25, 30, 60 or 30000/1001")
    return as_fps(value)


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MarotteError(f"{name} {_short(value)} is not a number")
    if not least <= value <= most:
        raise MarotteError(f"{name} {_short(value)} is not between {least:g} and {most:g}")
    return float(value)


def _whole(name: str, value: Any, least: int, most: int) -> int:
    number = _number(name, value, least, most)
    if number != int(number):
        raise MarotteError(f"{name} {_short(value)} is not a whole number")
    return int(number)


def _one_of(kind: str, value: Any, known: Any) -> str:
    if not isinstance(value, str) or value not in known:
        raise unknown_name(kind, str(value)[:40], known)
    return value


def _short(value: Any) -> str:
    return repr(value)[:60]
