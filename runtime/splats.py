"""An avatar's Gaussians, wherever its folder has them: one npz of ours, or a published folder."""

from pathlib import Path

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.flame import FlameModel
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_files import read_splatting_avatar, write_splatting_avatar
from marotte.models.splatting_npz import read_splats
from marotte.runtime.avatar import Avatar


def avatar_splats(avatar: Avatar, head: FlameModel, variant: str | None = None) -> SplattingAvatar:
    """Return the Gaussians of an avatar, or of one of its variants, on its head model's mesh.

    Raises MarotteError for a variant that it has not, and for damaged files.
    """
    if variant is not None and variant not in avatar.variants:
        raise unknown_name(f"variant of avatar {avatar.name}", variant, avatar.variants)
    path = avatar.path / (avatar.splats if variant is None else avatar.variants[variant])
    if path.suffix != ".npz":
        return read_splatting_avatar(path)
    # Our own form leaves the canonical mesh out: it is the head at rest.
    return read_splats(path, head.v_template * np.float32(avatar.unit), head.faces)


def export_avatar(avatar: Avatar, out: str | Path, variant: str | None = None) -> Path:
    """Write an avatar's Gaussians as a published SplattingAvatar folder and return its iteration folder.

    Raises MarotteError where the avatar has none, or where something stands at `out` already.
    """
    out = Path(out)
    if not avatar.splats:
        raise MarotteError(f"avatar {avatar.name} has no Gaussians to export: it is drawn by {avatar.renderer}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MarotteError(f"{out} is there already: name a new folder")
    if not out.parent.is_dir():
        raise MarotteError(f"cannot write {out}: there is no folder {out.parent}")
    head = FlameModel.load(avatar.head_path, n_expression=avatar.expressions, basis=avatar.basis)
    return write_splatting_avatar(avatar_splats(avatar, head, variant), out)
