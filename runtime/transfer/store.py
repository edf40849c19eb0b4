"""Solved transfers, kept in the user's cache folder so that the next start has them at once."""

import hashlib
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, fields

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding
from marotte.models.plain_files import packed_npz
from marotte.models.safe_files import read_npz
from marotte.runtime.places import cache_folder
from marotte.runtime.transfer.transfer import Bounds, Residual, Transfer

# Goes up whenever the method would find another map for the same heads.
VERSION = 1

_ARRAYS = ("v_template", "faces", "expression_dirs", "pose_dirs", "joint_regressor", "skinning_weights")
_TEXTS = ("source", "target", "method")


def solved(source: FlameModel, target: FlameModel) -> Transfer:
    """Return the transfer from one head to another, from the cache or else solved and kept there.

    A cache that is damaged, or that cannot be written, costs the seconds that solving takes, no more.
    Raises MarotteError where the heads cannot be laid on each other.
    """
    path = cache_folder("transfers") / f"{_key(source, target)}.npz"
    with suppress(MarotteError, KeyError, TypeError, ValueError, IndexError):
        return _unpacked(read_npz(path), (source, target))
    from marotte.runtime.transfer.solve import solve

    transfer = solve(source, target)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, so that two that solve at once do not write into each other's file.
        handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(packed_npz(_packed(transfer)))
            os.replace(part, path)
        finally:
            with suppress(OSError):
                os.unlink(part)
    return transfer


def _key(source: FlameModel, target: FlameModel) -> str:
    digest = hashlib.sha256(f"transfer {VERSION}".encode())
    for model in (source, target):
        marks = model.landmarks
        embeddings = [] if marks is None else [(f.name, getattr(marks, f.name)) for f in fields(marks)]
        arrays = [(name, getattr(model, name)) for name in _ARRAYS]
        for name, value in embeddings:
            parts = (value.faces, value.bary) if isinstance(value, Embedding) else (value,)
            arrays += [(f"{name}{k}", part) for k, part in enumerate(parts) if part is not None]
        digest.update(f"{model.basis} {model.parents} {model.eyelid_fields is not None}".encode())
        for name, array in arrays:
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _packed(transfer: Transfer) -> dict[str, np.ndarray]:
    arrays = {name: np.array(getattr(transfer, name)) for name in _TEXTS}
    arrays |= {name: getattr(transfer, name) for name in ("expression", "jaw", "lids")}
    arrays["jaw_gain"], arrays["own_lids"] = np.array(transfer.jaw_gain), np.array(transfer.own_lids)
    arrays["regions"] = np.array([r.region for r in transfer.residuals])
    arrays["residuals"] = np.array([(r.unexplained, r.rms_mm, r.largest_mm) for r in transfer.residuals])
    if transfer.bounds is not None:
        arrays |= {f"bounds_{name}": np.array(value) for name, value in asdict(transfer.bounds).items()}
    return arrays


def _unpacked(content: dict[str, np.ndarray], heads: tuple[FlameModel, FlameModel]) -> Transfer:
    """Return the transfer of a file; raise one of many errors where it is not one for these heads."""
    source, target = (model.expression_dirs.shape[-1] for model in heads)
    bounds = None
    if "bounds_gram" in content:
        bounds = Bounds(
            gram=_shaped(content["bounds_gram"], (target + 3, target + 3)),
            mixed=_shaped(content["bounds_mixed"], (target + 3, source)),
            scale=_shaped(content["bounds_scale"], (target + 3,)),
            step=float(content["bounds_step"]),
        )
    figures = zip(content["regions"].tolist(), content["residuals"].tolist(), strict=True)
    lids = content["lids"]
    return Transfer(
        **{name: str(content[name]) for name in _TEXTS},
        expression=_shaped(content["expression"], (target, source)),
        jaw=_shaped(content["jaw"], (3, source)),
        jaw_gain=float(content["jaw_gain"]),
        own_lids=bool(content["own_lids"]),
        lids=_shaped(lids, (2, target) if lids.size else (2, 0)),
        bounds=bounds,
        residuals=tuple(Residual(str(name), *map(float, row)) for name, row in figures),
    )


def _shaped(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
        raise ValueError("not what was written")
    return array
