"""An avatar's head and its Gaussians, wherever its folder has them: one npz of ours, or a published folder."""

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.flame import FlameModel
from marotte.models.safe_files import read_any
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_files import read_splatting_avatar
from marotte.models.splatting_npz import read_splats
from marotte.runtime.avatar import Avatar


def avatar_head(avatar: Avatar) -> FlameModel:
    """Return an avatar's head model, without its identity. Raises MarotteError where it has none or it is damaged."""
    if not avatar.head:
        raise MarotteError(f"avatar {avatar.name} names no head model: add head = ... to its avatar.toml")
    lids = tuple(avatar.path / name for name in avatar.eyelids)
    return FlameModel.load(
        avatar.head_path,
        n_expression=avatar.expressions,
        basis=avatar.basis,
        landmarks=[avatar.path / name for name in avatar.landmarks],
        masks=avatar.path / avatar.masks if avatar.masks else None,
        eyelids=(lids[0], lids[1]) if lids else None,
    )


def avatar_identity(avatar: Avatar) -> np.ndarray | None:
    """Return the identity coefficients [S] that are baked into an avatar's head; None where it has none.

    They are in an npy, or in an npz under `shape` or alone. Raises MarotteError where the file holds no identity.
    """
    if not avatar.shape:
        return None
    path = avatar.path / avatar.shape
    content = read_any(path)
    if isinstance(content, dict):
        content = content.get("shape", next(iter(content.values())) if len(content) == 1 else None)
    if not isinstance(content, np.ndarray) or content.dtype.kind not in "iuf" or not np.isfinite(content).all():
        raise MarotteError(f"{path} holds no identity: it must be an npy of finite numbers, or an npz with 'shape'")
    return content.reshape(-1).astype(np.float32)


def avatar_person(avatar: Avatar) -> FlameModel:
    """Return an avatar's head model with its identity in it, in metres. Raises MarotteError as the two above."""
    head, identity = avatar_head(avatar), avatar_identity(avatar)
    return head if identity is None else head.baked(identity, 1.0)


def avatar_splats(avatar: Avatar, head: FlameModel, variant: str | None = None) -> SplattingAvatar:
    """Return the Gaussians of an avatar, or of one of its variants, on its head model's mesh.

    Raises MarotteError for a variant that it has not, for an avatar without any, and for damaged files.
    """
    if variant is not None and variant not in avatar.variants:
        raise unknown_name(f"variant of avatar {avatar.name}", variant, avatar.variants)
    if not avatar.splats:
        raise MarotteError(f"avatar {avatar.name} has no Gaussians: it is drawn by {avatar.renderer}")
    path = avatar.path / (avatar.splats if variant is None else avatar.variants[variant])
    if path.suffix != ".npz":
        return read_splatting_avatar(path)
    # Our own form leaves the canonical mesh out: it is the head at rest.
    return read_splats(path, head.v_template * np.float32(avatar.unit), head.faces)
