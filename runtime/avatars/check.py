"""Is an avatar's folder whole, and do its head and its Gaussians belong together? And what is it, in words."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.runtime.avatar import Avatar, check_hash
from marotte.runtime.avatars.fit import EXACT, NEAR, check_topology
from marotte.runtime.avatars.mesh_fit import fit_mesh
from marotte.runtime.splats import avatar_head, avatar_identity, avatar_splats


def check_avatar(avatar: Avatar) -> list[str]:
    """Return what was found right, one line for each thing.

    All files are hashed, also the large ones that are not at every start. Raises MarotteError where one is not as
    avatar.toml says, or where head and Gaussians do not fit.
    """
    for name in avatar.files:
        check_hash(avatar, name)
    found = [f"{len(avatar.files)} files as described"]
    if not avatar.head or not avatar.splats:
        return found
    head = avatar_head(avatar)
    splats = avatar_splats(avatar, head)
    check_topology(splats, head, avatar.head_path)
    found.append(f"{len(splats)} Gaussians on the {len(splats.faces)} faces of {Path(avatar.head).name}")
    if (avatar.path / avatar.splats).is_dir():
        found.append(_check_fit(avatar, head, splats))
    return found


def _check_fit(avatar: Avatar, head: FlameModel, splats: SplattingAvatar) -> str:
    """Return how well the head gives the canonical mesh, in some pose."""
    shape = avatar_identity(avatar)
    identity = np.zeros(0, np.float32) if shape is None else shape
    try:
        distance = fit_mesh(head, splats.canonical, avatar.unit, identity).distance / avatar.unit
    except MarotteError:
        return "the mesh is too small to tell whether the head gives it"
    if distance > NEAR:
        raise MarotteError(
            f"avatar {avatar.name}: its head, identity and unit {avatar.unit:g} do not give its canonical mesh in any "
            f"pose (up to {1000 * distance:.3g} mm off): import it again with the files that it was trained with"
        )
    return f"its canonical mesh is the head's, to {1e6 * distance:.2g} um{'' if distance <= EXACT else ', not exactly'}"


def summary(avatar: Avatar) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of what a person wants to know of an avatar, without reading its large files."""
    yield "folder", str(avatar.path)
    yield "sha256", avatar.sha256
    yield "drawn by", avatar.renderer
    level = f", mean |coefficient| in training {avatar.expression_level:.3f}" if avatar.expression_level else ""
    yield "expressions", f"{avatar.expressions} of {avatar.basis}{level}"
    yield "head motion", f"to the {avatar.head_rotation}"
    yield "unit", f"{avatar.unit:g} world units a metre"
    rate = f", {float(avatar.fps):g} fps" if avatar.fps else ""
    yield "picture", f"{avatar.size[0]}x{avatar.size[1]}{rate} on {avatar.background}; {_framings(avatar)}"
    if avatar.variants:
        yield "variants", ", ".join(avatar.variants)
    for name in ("subject", "consent", "licence", "origin"):
        if getattr(avatar, name):
            yield name, getattr(avatar, name)


def _framings(avatar: Avatar) -> str:
    return f"framings {', '.join(avatar.framings)}" if avatar.framings else "no framing"
