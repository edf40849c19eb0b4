"""The results of a comparison as plain data: what results.json holds and the report is made of."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from marotte.runtime.compare.cast import Member
from marotte.runtime.compare.definitions import SMALL
from marotte.runtime.compare.grid import Grid
from marotte.runtime.compare.model import Arm, Definition, Take, Value
from marotte.runtime.compare.play import DrawnPlayer, FilmPlayer, Player
from marotte.runtime.compare.shares import Facts

FORMAT = "marotte-compare-1"

_KINDS = {"own": "its own camera", "taken": "another arm's camera", "framing": "its avatar's camera", "film": "a film"}


@dataclass(frozen=True)
class Shown:
    """How an arm was shown: rule and words of its camera, words and numbers of its alignment."""

    rule: str
    camera: str
    alignment: Mapping[str, Any]


def arm_entry(player: Player, take: Take, shown: Shown, film: str | None, total: int) -> dict[str, Any]:
    """Return an arm for the results. film: its file's name, None where nothing was drawn."""
    drawn = player if isinstance(player, DrawnPlayer) else None
    member = drawn.member if drawn else None
    arm = member.arm if member else None
    failed = {"at": player.seconds, "why": player.failed} if player.failed and player.taken < total else None
    return {
        "name": player.name,
        "kind": "drawn" if drawn else "film",
        "words": words_of(player),
        "avatar": member.avatar.name if member else None,
        "renderer": member.renderer_name if member else None,
        "driver": member.driver_name if member else None,
        "basis": member.avatar.basis if member else None,
        "rasterizer": member.stream.rasterizer if member else None,
        "options": options_of(arm) if arm else {},
        "gaussians": member.stream.gaussian_count if member else None,
        "licence": (member.avatar.licence or "not said by its avatar.toml") if member else None,
        "subject": (member.avatar.subject or None) if member else None,
        "consent": (member.avatar.consent or None) if member else None,
        "camera": {"rule": shown.rule, "words": shown.camera},
        "alignment": dict(shown.alignment),
        "opening_by": take.opening_by,
        "opening_unit": take.opening_unit,
        "blink_by": take.blink_by,
        "head_by": take.head_by,
        "approximations": list(drawn.approximations) if drawn else [],
        "notes": list(drawn.notes if drawn else player.film.notes if isinstance(player, FilmPlayer) else ()),
        "video": film,
        "size": list(player.size),
        "frames": player.taken,
        "failed": failed,
    }


def words_of(player: Player) -> str:
    """Return in a line what an arm is."""
    if not isinstance(player, DrawnPlayer):
        assert isinstance(player, FilmPlayer)
        return f"the film {player.film.path.name}"
    member = player.member
    moved = member.arm.motion or f"driver {member.driver_name}"
    options = ", ".join(f"{key} {value}" for key, value in options_of(member.arm).items())
    count = member.stream.gaussian_count
    splats = f", {count:,} Gaussians" if count else ""
    return f"{member.avatar.name}, {moved}, {member.renderer_name}{splats}" + (f", {options}" if options else "")


def options_of(arm: Arm) -> dict[str, Any]:
    """Return an arm's options, as they were asked for."""
    return {**arm.render, **arm.driver_options, **arm.renderer_options}


def facts(player: Player, shown: Shown) -> Facts:
    """Return what an arm is, to be told from others."""
    if not isinstance(player, DrawnPlayer):
        return Facts(player.name, motion=words_of(player), model="a film's", renderer="a film", camera="the film's")
    member = player.member
    avatar, options = member.avatar, member.options
    heard = player.hears
    conditions = [f"idle life {options.idle.amount:g}, seed {options.idle.seed}"]
    conditions += [f"{key} {value}" for key, value in member.arm.render.items() if key in _CONDITIONS]
    return Facts(
        name=player.name,
        avatar=avatar.name if member.arm.avatar == avatar.name else f"{avatar.name} of {member.arm.avatar}",
        identity=avatar.subject,
        motion="its network's own" if heard else _moved_by(member),
        basis=avatar.basis,
        model=f"a network that hears for itself by {heard}" if heard else "a head model moved by the motion",
        renderer=member.renderer_name,
        rasterizer=member.stream.rasterizer or "none",
        gaussians=f"{member.stream.gaussian_count:,}" if member.stream.gaussian_count else "none",
        camera=_KINDS[shown.rule],
        crop=shown.alignment["words"] if shown.alignment["applied"] else "as it was drawn",
        background="the avatar's own picture" if options.background.own else f"#{bytes(member.colour).hex()}",
        conditions=", ".join(conditions),
        licence=avatar.licence,
    )


def _moved_by(member: Member) -> str:
    """Return what names an arm's motion: its file, or its driver with options."""
    options = (f"{key} {value}" for key, value in member.arm.driver_options.items())
    return member.arm.motion or " ".join([member.driver_name, *options])


_CONDITIONS = ("jaw", "head_motion", "expressiveness", "fix_pose", "smooth", "basis_approx", "head_rotation")


def figures_of(definitions: Sequence[Definition]) -> list[dict[str, Any]]:
    """Return the definitions as plain data, with the differences that are too small to matter: `small` in the figure's
    unit, `small_share` of the first arm's value."""
    small = (SMALL.get(definition.key, (0.0, 0.0)) for definition in definitions)
    return [
        {**asdict(definition), "small": absolute, "small_share": share}
        for definition, (absolute, share) in zip(definitions, small, strict=True)
    ]


def values_of(values: Mapping[str, Mapping[str, Value]], differences: bool = False) -> dict[str, Any]:
    """Return figures by arm and key as plain data; differences say whether they are sure."""
    return {
        arm: {
            key: plain({**asdict(value), **({"differs": value.differs} if differences else {})})
            for key, value in of_arm.items()
        }
        for arm, of_arm in values.items()
    }


def grid_entry(grid: Grid) -> dict[str, Any]:
    """Return where the arms' pictures are in the grid's film."""
    return {
        "file": "grid.mp4",
        "width": grid.width,
        "height": grid.height,
        "cells": [asdict(cell) for cell in grid.cells],
    }


def plain(value: Any) -> Any:
    """Return data that JSON can hold: numbers of numpy as Python's, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
