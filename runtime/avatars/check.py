"""Is an avatar's folder whole, and do its head and its Gaussians belong together? And what is it, in words."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.runtime.avatar import NO_BASIS, Avatar, check_hash
from marotte.runtime.avatars.entry import read_source
from marotte.runtime.avatars.fit import EXACT, NEAR, check_topology
from marotte.runtime.avatars.gagavatar import FIT, check_flame, network_file
from marotte.runtime.avatars.gagavatar import RENDERER as GAGAVATAR
from marotte.runtime.avatars.mesh_fit import fit_mesh
from marotte.runtime.avatars.talker import RENDERER as TALKER
from marotte.runtime.avatars.talker import check_talker
from marotte.runtime.splats import avatar_head, avatar_identity, avatar_splats


def check_avatar(avatar: Avatar) -> list[str]:
    """Return what was found right, one line for each thing.

    All files are hashed, also the large ones that are not at every start. Raises MarotteError where one is not as
    avatar.toml says, or where head and Gaussians do not fit.
    """
    for name in avatar.files:
        check_hash(avatar, name)
    found = [f"{len(avatar.files)} files as described"]
    if avatar.renderer == GAGAVATAR:
        return [*found, *_check_gagavatar(avatar), _check_network(avatar)]
    if avatar.renderer == TALKER:
        return [*found, *check_talker(avatar)]
    if avatar.network:
        found.append(_check_network(avatar))
    if not avatar.head or not avatar.splats:
        return found
    head = avatar_head(avatar)
    splats = avatar_splats(avatar, head)
    check_topology(splats, head, avatar.head_path)
    found.append(f"{len(splats)} Gaussians on the {len(splats.faces)} faces of {Path(avatar.head).name}")
    if (avatar.path / avatar.splats).is_dir():
        found.append(_check_fit(avatar, head, splats))
    return found


def _check_gagavatar(avatar: Avatar) -> list[str]:
    """Return what was found right of a tracked picture and the head that goes with it."""
    entry = read_source(avatar.path / avatar.source)
    head = avatar_head(avatar)
    check_flame(avatar.head_path, head)
    identity = avatar_identity(avatar)
    if identity is None or not np.array_equal(identity, entry.shapecode):
        raise MarotteError(
            f"avatar {avatar.name}: {avatar.shape or 'shape'} and the shapecode in {avatar.source} are two identities: "
            "import it again"
        )
    distance = float(entry.transform_matrix[2, 3])
    note = ", black all over" if entry.empty else ""
    return [
        f"{entry.name}: 512x512{note}, {distance:.3g} units away",
        f"{len(head.v_template)} vertices for as many Gaussians",
    ]


def _check_network(avatar: Avatar) -> str:
    """Return where the network is, or how to get it. Raises MarotteError where it is another than the published."""
    path, why = network_file(avatar, hashed=True)
    if why and path.exists():
        raise MarotteError(f"avatar {avatar.name}: {why}")
    return f"its network {why or f'is {path}'}"


def check_measurable(avatar: Avatar, what: str) -> None:
    """Raise MarotteError where an avatar cannot be held to tracked frames. what: the command."""
    if avatar.renderer == GAGAVATAR:
        fit = avatar.path / FIT
        shown = f"; how FLAME lies on its picture is in {fit}" if fit.is_file() else ""
        raise MarotteError(
            f"`marotte avatars {what}` holds an avatar to the recording that it was trained on; {avatar.name} was made "
            f"of one picture by {avatar.renderer}, with a camera of its own{shown}"
        )
    if avatar.basis == NO_BASIS:
        raise MarotteError(
            f"`marotte avatars {what}` poses a head by tracked frames; {avatar.name} is moved by sound alone "
            f"({avatar.renderer}): render a part of its recording and compare that"
        )


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
    for name in ("network", "source", "recording", "features"):
        if getattr(avatar, name):
            yield name, getattr(avatar, name)
    level = f", mean |coefficient| in training {avatar.expression_level:.3f}" if avatar.expression_level else ""
    spoken = (
        "none of its own: sound moves it" if avatar.basis == NO_BASIS else f"{avatar.expressions} of {avatar.basis}"
    )
    yield "expressions", f"{spoken}{level}"
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
