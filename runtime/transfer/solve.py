"""Two heads to the linear map between their bases.

Each unit of the source moves its face; the same points of the target should move alike. What they do is carried
through a smooth warp of one face to the other, so that lips that meet here meet there, and the target's coefficients
are found by least squares, ridge included, with lips counting most and the gaps between lips and between lids counted
once more on their own.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding
from marotte.models.flame_lbs import JOINTS
from marotte.models.rotations import rotvec_to_matrix
from marotte.runtime.arkit import ACTIONS
from marotte.runtime.transfer.correspondence import Correspondence, correspond
from marotte.runtime.transfer.regions import WEIGHTS
from marotte.runtime.transfer.transfer import Bounds, Residual, Transfer

# Actions that a face's expression never asks for: gaze and jaw have their own channels, no FLAME has a tongue.
_NOT_ASKED = ("eyeLook", "jawLeft", "jawRight", "jawOpen", "tongueOut")

# How much all gaps of a seam count, beside the regions.
_SEAM_WEIGHTS = {"lips": 8.0, "left lid": 2.0, "right lid": 2.0}
# A coefficient that moves the face less than this a unit is not worth one: metres, weighted mean. Correspondence by
# landmarks is never exact, and what it misses must not be made up for by large coefficients.
_RIDGE, _RIDGE_EXACT = 0.02e-3, 1e-9
# A jaw is asked for last: this many times a coefficient's price for a rotation of `_JAW_STEP` radians.
_JAW_PRICE, _JAW_STEP = 10.0, 0.05


def solve(source: FlameModel, target: FlameModel) -> Transfer:
    """Return the transfer from a source head's basis to a target head's.

    Both are heads in metres; they may have any meshes and identities, and need landmarks unless they share a mesh.
    Raises MarotteError where they cannot be laid on each other.
    """
    pairs = correspond(source, target)
    used = np.flatnonzero(np.any(source.expression_dirs != 0, axis=(0, 1)))
    rest = _at(pairs.source, source.v_template, source.faces)
    shifts = _columns_at(pairs.source, source.expression_dirs[..., used], source.faces)
    aims = np.stack([pairs.moved(rest + shift) for shift in np.moveaxis(shifts, -1, 0)], axis=-1)
    aims -= pairs.moved(rest)[..., None]
    directions = np.concatenate([target.expression_dirs, _jaw_directions(target)], axis=-1)
    can = _columns_at(pairs.target, directions, target.faces)
    allowed = _allowed(target)
    can[..., ~allowed] = 0

    weights = _point_weights(pairs)
    gram, mixed = np.zeros((can.shape[-1],) * 2), np.zeros((can.shape[-1], len(used)))
    for weight, have, want in _rows_of(pairs, weights, can, aims):
        left = (have * weight).T
        gram += left @ have
        mixed += left @ want
    price = np.full(len(gram), (_RIDGE_EXACT if pairs.exact else _RIDGE) ** 2)
    price[-3:] *= (_JAW_PRICE / _JAW_STEP) ** 2
    price[~allowed] = 1.0
    gram[np.diag_indices_from(gram)] += price
    width = source.expression_dirs.shape[-1]
    full = np.zeros((len(gram), width))
    full[:, used] = np.linalg.solve(gram, mixed)
    transfer = Transfer(
        source=source.basis,
        target=target.basis,
        method=pairs.method,
        expression=full[:-3],
        jaw=full[-3:],
        jaw_gain=pairs.jaw_gain,
        own_lids=target.eyelid_fields is not None,
        lids=_shutting(pairs, target),
        bounds=_bounds(gram, mixed, used, width) if target.basis == "arkit52" else None,
        residuals=(),
    )
    return replace(transfer, residuals=_residuals(transfer, pairs, weights, can, aims, used))


def _allowed(target: FlameModel) -> np.ndarray:
    """Return which of the coefficients, the jaw's three last, may be used."""
    allowed = np.any(target.expression_dirs != 0, axis=(0, 1))
    if target.basis == "arkit52":
        allowed[[k for k, name in enumerate(ACTIONS) if name.startswith(_NOT_ASKED)]] = False
    return np.append(allowed, (True,) * 3)


def _at(where: Embedding, field: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return a field [V, 3] at the embedding's points, [P, 3] float64."""
    return where.points(np.asarray(field, np.float64)[None], faces)[0]


def _columns_at(where: Embedding, fields: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return K fields [V, 3, K] at the embedding's points, [P, 3, K] float64."""
    out = np.zeros((len(where.faces), *fields.shape[1:]))
    for corner, share in zip(faces[where.faces].T, where.bary.T, strict=True):
        out += fields[corner] * share[:, None, None].astype(np.float64)
    return out


def _jaw_directions(model: FlameModel) -> np.ndarray:
    """Return [V, 3, 3], how far vertices move for a radian of each component of the jaw's rotation, about rest."""
    turns = np.zeros((6, JOINTS, 3), np.float32)
    for axis in range(3):
        turns[2 * axis, 2, axis], turns[2 * axis + 1, 2, axis] = _JAW_STEP, -_JAW_STEP
    vertices = np.asarray(model.posed(rotvec_to_matrix(turns)).vertices, np.float64)
    return np.moveaxis((vertices[::2] - vertices[1::2]) / (2 * _JAW_STEP), 0, -1)


def _point_weights(pairs: Correspondence) -> np.ndarray:
    """Return weights [P] that sum to each region's."""
    weights = np.zeros_like(pairs.weights)
    for name, rows in pairs.regions.items():
        weights[rows] = WEIGHTS.get(name, 1.0) * pairs.weights[rows] / max(pairs.weights[rows].sum(), 1e-30)
    return weights


def _rows_of(
    pairs: Correspondence, weights: np.ndarray, can: np.ndarray, aims: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield the equations as (weights [N, 1], have [N, K], want [N, S]): of points, then of gaps."""
    yield np.repeat(weights, 3)[:, None], can.reshape(-1, can.shape[-1]), aims.reshape(-1, aims.shape[-1])
    for name, (upper, lower) in pairs.seams.items():
        have, want = can[upper] - can[lower], aims[upper] - aims[lower]
        each = np.full((3 * len(upper), 1), _SEAM_WEIGHTS[name] / len(upper))
        yield each, have.reshape(-1, have.shape[-1]), want.reshape(-1, want.shape[-1])


def _shutting(pairs: Correspondence, target: FlameModel) -> np.ndarray:
    """Return [2, E], the share of each lid's gap that a unit of each coefficient closes; [2, 0] without landmarks."""
    if not pairs.seams:
        return np.zeros((2, 0))
    rest = _at(pairs.target, target.v_template, target.faces)
    moves = _columns_at(pairs.target, target.expression_dirs, target.faces)
    rows = []
    for name in ("left lid", "right lid"):
        upper, lower = pairs.seams[name]
        gap = rest[upper] - rest[lower]
        length = np.linalg.norm(gap, axis=1)
        rows.append(-np.einsum("px,pxk->k", gap / length[:, None], moves[upper] - moves[lower]) / length.sum())
    return np.stack(rows)


def _bounds(gram: np.ndarray, mixed: np.ndarray, used: np.ndarray, width: int) -> Bounds:
    scale = 1 / np.sqrt(np.diag(gram))
    full = np.zeros((len(gram), width))
    full[:, used] = mixed * scale[:, None]
    scaled = gram * np.outer(scale, scale)
    return Bounds(scaled, full, scale, float(1 / np.linalg.eigvalsh(scaled)[-1]))


def _residuals(
    transfer: Transfer,
    pairs: Correspondence,
    weights: np.ndarray,
    can: np.ndarray,
    aims: np.ndarray,
    used: np.ndarray,
) -> tuple[Residual, ...]:
    """Return what the transfer, limits included, does not reproduce of units alone; FLAME's in both directions."""
    signs = (1.0,) if transfer.source == "arkit52" else (1.0, -1.0)
    found = []
    for slot, sign in product(used, signs):
        unit = np.zeros(transfer.expression.shape[1])
        unit[slot] = sign
        found.append(np.concatenate(transfer.coefficients(unit)))
    aimed = np.repeat(aims, len(signs), axis=-1) * np.tile(signs, len(used))  # [P, 3, units]
    missed = (can.reshape(-1, can.shape[-1]) @ np.transpose(found)).reshape(aimed.shape) - aimed
    squared = (missed**2).sum(axis=1).T, (aimed**2).sum(axis=1).T  # [units, P] each
    lines = []
    for name, rows in (*pairs.regions.items(), ("all", np.arange(len(weights)))):
        share = weights[rows] / max(weights[rows].sum(), 1e-30)
        left, all_of_it = ((part[:, rows] @ share).mean() for part in squared)
        largest = squared[0][:, rows].max(initial=0)
        lines.append(
            Residual(
                name,
                float(left / all_of_it) if all_of_it else 0.0,
                1e3 * float(np.sqrt(left)),
                1e3 * float(np.sqrt(largest)),
            )
        )
    return tuple(lines)
