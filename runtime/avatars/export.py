"""An avatar for others: the published folder, a plain 3DGS point cloud of one moment, our own npz, a `tracked.pt`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.models.ply import write_ply_vertices
from marotte.models.sh_turn import turn_sh
from marotte.models.splatting_avatar import VECTOR_FLOOR, SplattingAvatar, hamilton_product, unit
from marotte.models.splatting_files import CONFIG, gaussian_columns, write_splatting_avatar
from marotte.models.splatting_npz import Parts, read_splats, write_splats
from marotte.models.splatting_numba import SplattingEvaluator
from marotte.runtime.avatar import Avatar
from marotte.runtime.avatars.entry import read_source, write_tracked
from marotte.runtime.avatars.gagavatar import RENDERER as GAGAVATAR
from marotte.runtime.head import HeadState
from marotte.runtime.splats import avatar_head, avatar_identity, avatar_splats
from marotte.runtime.whole_file import check_place

# Of the plain form: many viewers read no other degree.
PLAIN_DEGREE = 3


def export_published(avatar: Avatar, out: str | Path, variant: str | None = None) -> Path:
    """Write an avatar's Gaussians as a published SplattingAvatar folder and return its iteration folder.

    What was imported leaves as it came, byte for byte. Raises MarotteError where the avatar has none, or where
    something stands at `out` already.
    """
    out = Path(out)
    _check_splats(avatar)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MarotteError(f"{out} is there already: name a new folder")
    if not out.parent.is_dir():
        raise MarotteError(f"cannot write {out}: there is no folder {out.parent}")
    head = avatar_head(avatar)
    splats = avatar_splats(avatar, head, variant)
    came = avatar.path / (avatar.variants[variant] if variant else avatar.splats)
    with _whole_folder(out) as stage:
        if came.is_dir() and (came.parents[1] / CONFIG).is_file():
            folder = stage / "point_cloud" / came.name
            shutil.copytree(came, folder)
            shutil.copyfile(came.parents[1] / CONFIG, stage / CONFIG)
        else:
            folder = write_splatting_avatar(splats, stage)
    return out / folder.relative_to(stage)


def export_tracked(avatar: Avatar, out: str | Path) -> Path:
    """Write a GAGAvatar's picture as a `tracked.pt` of one entry, and return the file: its arrays are as they came.

    Raises MarotteError where the avatar has none, and for a place that cannot be written.
    """
    out = Path(out)
    check_place(out)
    if not avatar.source or avatar.renderer != GAGAVATAR:
        raise MarotteError(f"avatar {avatar.name} has no tracked picture to export: it is drawn by {avatar.renderer}")
    if out.suffix != ".pt":
        raise MarotteError(f"{out} must end in .pt")
    write_tracked(out, read_source(avatar.path / avatar.source))
    return out


def export_npz(avatar: Avatar, out: str | Path, variant: str | None = None) -> tuple[Path, list[str]]:
    """Write an avatar's Gaussians as `marotte-splats-1`, and return the file and what that lost, in words.

    They are moved to the mesh of the head model at rest, which that form is on. Raises MarotteError.
    """
    out, head = _new_file(avatar, out, ".npz")
    rest = np.asarray(head.v_template * np.float32(avatar.unit), np.float32)
    moved = on_mesh(avatar_splats(avatar, head, variant), rest)
    write_splats(out, moved, Parts(np.zeros(len(moved), np.uint8), ("head",)))
    again = read_splats(out, rest, head.faces)
    scale = float(np.abs(again.log_scales - moved.log_scales).max())
    opacity = float(np.abs(again.opacities - moved.opacities).max())
    colour = float(np.abs(again.sh - moved.sh).max())
    return out, [
        f"kept in bytes: scales to {100 * np.expm1(scale):.1f} %, opacities to {opacity:.3f}, colours to {colour:.3f}"
    ]


def on_mesh(splats: SplattingAvatar, mesh: np.ndarray) -> SplattingAvatar:
    """Return the same Gaussians with another canonical mesh [V, 3] of the same faces.

    Areas' ratios multiply, so scales and centres follow a third mesh as before; rotations do as far as the averages
    at vertices do, exactly where neighbouring faces turn alike.
    """
    driven = splats.drive(mesh)
    ratios = driven.area_ratios[splats.face_ids][:, None]
    base = np.asarray(unit(np, driven.base_quats_wxyz, VECTOR_FLOOR))
    return replace(
        splats,
        rotations_wxyz=hamilton_product(base, splats.rotations_wxyz).astype(np.float32),
        log_scales=(splats.log_scales * ratios if splats.with_mesh_scaling else splats.log_scales).astype(np.float32),
        sh=turn_sh(splats.sh, base) if splats.colours_outside else splats.sh,
        canonical=np.asarray(mesh, np.float32),
    )


def export_plain(
    avatar: Avatar,
    out: str | Path,
    state: HeadState,
    *,
    variant: str | None = None,
    world_unit: float | None = None,
    degree: int = PLAIN_DEGREE,
) -> int:
    """Write the Gaussians of one moment as a plain 3DGS `.ply` and return how many there are.

    state: one frame. world_unit: of the file, per FLAME unit (1: metres); None is the avatar's own. degree: of the
    harmonics in the file; what is above the avatar's own is zero. Where colours turn with the mesh
    (`convert_SHs_python`), the harmonics are turned by each Gaussian's own turn, so that the file's world is one.
    Raises MarotteError for a degree below the avatar's, and for a place that cannot be written.
    """
    out, head = _new_file(avatar, out, ".ply")
    splats = avatar_splats(avatar, head, variant)
    if not splats.sh_degree <= degree <= PLAIN_DEGREE:
        raise MarotteError(
            f"avatar {avatar.name} has colours of SH degree {splats.sh_degree}: write that degree or more, up to "
            f"{PLAIN_DEGREE}, not {degree}"
        )
    factor = 1.0 if world_unit is None else world_unit / avatar.unit
    if not 0 < factor < np.inf:
        raise MarotteError(f"unit {world_unit} is no size: give world units a metre, above 0")
    mesh = _mesh(avatar, head, state)
    driven = SplattingEvaluator(splats).drive(mesh, np.zeros(3))
    sh = splats.sh
    if splats.colours_outside and splats.sh_degree:
        base = splats.drive(mesh).base_quats_wxyz
        sh = turn_sh(sh, unit(np, base, VECTOR_FLOOR))
    padded = np.zeros((len(splats), (degree + 1) ** 2, 3), np.float32)
    padded[:, : sh.shape[1]] = sh
    smallest = np.finfo(np.float32).tiny
    columns = gaussian_columns(
        means=driven.means * np.float32(factor),
        sh=padded,
        opacity_logits=splats.opacity_logits,
        log_scales=np.log(np.maximum(driven.scales, smallest)) + np.float32(np.log(factor)),
        quats_wxyz=driven.quats_wxyz,
    )
    write_ply_vertices(out, columns)
    return len(splats)


def _new_file(avatar: Avatar, out: str | Path, suffix: str) -> tuple[Path, FlameModel]:
    """Return the file that an avatar's Gaussians can be written to, and the head that they are on."""
    out = Path(out)
    check_place(out)
    if out.suffix != suffix:
        raise MarotteError(f"{out} must end in {suffix}")
    _check_splats(avatar)
    return out, avatar_head(avatar)


def _check_splats(avatar: Avatar) -> None:
    if not avatar.splats:
        raise MarotteError(f"avatar {avatar.name} has no Gaussians to export: it is drawn by {avatar.renderer}")


def _mesh(avatar: Avatar, head: FlameModel, state: HeadState) -> np.ndarray:
    """Return the driving mesh [V, 3] of a head state of one frame, in world units."""
    evaluator = HeadEvaluator(head, avatar_identity(avatar), avatar.unit)
    lids = state.eyelids if head.eyelid_fields is not None else None
    return evaluator.vertices(state.expression, state.full_pose, lids, state.translation)[0]


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `out`, an empty folder or none, when the block ends well."""
    stage = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        stage.mkdir()
        yield stage
        if out.is_dir():
            out.rmdir()
        os.replace(stage, out)
    except OSError as error:
        raise MarotteError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
