"""The Gaussians of a head: at rest as the point cloud has them, and moved, a frame each.

Raw means as stored: logarithms of scales, quaternions of any length, logits of opacities. The network moves the raw
attributes; what a rasterizer takes comes after.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from marotte.errors import MarotteError
from marotte.models.ply import read_ply_vertices, write_ply_vertices
from marotte.models.splatting_files import gaussian_columns

_REST = 45  # numbers of the higher SH coefficients, channel by channel
_FAMILIES = {"f_dc": 3, "f_rest": _REST, "scale": 3, "rot": 4}
_SHORTEST = 1e-12


@dataclass(frozen=True, eq=False)
class Canonical:
    """P Gaussians at rest, raw, float32.

    xyz: [P, 3] in the tracker's world. log_scales: [P, 3]. quats_wxyz: [P, 4], of any length. opacity_logits: [P].
    sh: [P, 16, 3], coefficient before channel.
    """

    xyz: Tensor
    log_scales: Tensor
    quats_wxyz: Tensor
    opacity_logits: Tensor
    sh: Tensor

    def __len__(self) -> int:
        return len(self.xyz)

    def to(self, device: str | torch.device) -> "Canonical":
        """Return the same on a device."""
        return Canonical(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True, eq=False)
class Deformed:
    """P Gaussians in B frames, raw: [B, P, ...] of what Canonical has. What does not move is an expanded view.

    attention: [B, layers, P, 4], how much each Gaussian listens to sound, eye, camera and the null token; None unless
    asked for.
    """

    xyz: Tensor
    log_scales: Tensor
    quats_wxyz: Tensor
    opacity_logits: Tensor
    sh: Tensor
    attention: Tensor | None = None

    def activated(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return what a rasterizer takes: means, scales, unit quaternions (w, x, y, z), opacities [B, P], sh."""
        return (
            self.xyz,
            self.log_scales.exp(),
            functional.normalize(self.quats_wxyz, dim=-1, eps=_SHORTEST),
            self.opacity_logits.sigmoid(),
            self.sh,
        )


def read_canonical(path: str | Path) -> Canonical:
    """Return the Gaussians in a `point_cloud.ply`, on the CPU; properties go by name, others are ignored.

    Raises MarotteError where one is missing or not finite, or the colours are not of SH degree 3.
    """
    columns = read_ply_vertices(path)
    rest = sum(name.startswith("f_rest_") for name in columns)
    if rest != _REST:
        found = f"{path} has {rest} 'f_rest_*', expected {_REST} (SH degree 3)"
        raise MarotteError(f"{found}: it is not a point cloud of GaussianTalker")
    families = {name: [f"{name}_{i}" for i in range(count)] for name, count in _FAMILIES.items()}
    names = {"xyz": list("xyz"), "opacity": ["opacity"], **families}
    missing = [name for family in names.values() for name in family if name not in columns]
    if missing:
        raise MarotteError(f"{path} lacks {', '.join(missing[:4])}: it is not a point cloud of GaussianTalker")
    count = len(columns["x"])
    if not count:
        raise MarotteError(f"{path} has no Gaussians: train, or copy it again")
    raw = {
        family: np.stack([_finite(path, name, columns[name]) for name in members], axis=1)
        for family, members in names.items()
    }
    # Channel by channel in the file: all of red's coefficients, then green's, then blue's.
    higher = raw["f_rest"].reshape(count, 3, _REST // 3).transpose(0, 2, 1)
    sh = np.concatenate([raw["f_dc"][:, None], higher], axis=1)
    arrays = (raw["xyz"], raw["scale"], raw["rot"], raw["opacity"][:, 0], sh)
    return Canonical(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))


def write_canonical(path: Path, canonical: Canonical) -> None:
    """Write the published layout: binary little endian, 62 columns. Raises MarotteError where it cannot be written."""
    arrays = {field.name: getattr(canonical, field.name).detach().cpu().numpy() for field in fields(canonical)}
    write_ply_vertices(path, gaussian_columns(means=arrays.pop("xyz"), **arrays))


def _finite(path: str | Path, name: str, column: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        floats = column.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(floats))
    if len(bad):
        raise MarotteError(
            f"{path} has {name!r} {float(column[bad[0]])} at {bad[0]} ({len(bad)} such): numbers must be finite; "
            "train again or take an earlier iteration"
        )
    return floats
