"""Which point of one head's face is which of another's, and where a moved one belongs there."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import Embedding
from marotte.runtime.transfer.landmarks import EYE_CORNERS, INSIDE, SEAMS, Marks, face_marks
from marotte.runtime.transfer.regions import regions
from marotte.runtime.transfer.surface import posed, skin
from marotte.runtime.transfer.warp import similarity, warp

# Openings of the jaw at which lips are compared, radians. Faces are laid on each other with the source's at `_APART`,
# where upper and lower lip cannot be taken for each other.
OPENINGS = np.linspace(0, 0.4, 9)
_APART = 0.2
# In widths between the eyes' outer corners: what a similarity may miss the landmarks by before they cannot be of the
# same points, and how far a warped point may be from the other face to count.
_MISFIT, _FAR = 0.12, 0.05
# Where upper and lower edge of a seam are compared, as shares of the way from corner to corner.
_ALONG_SEAM = np.linspace(0.1, 0.9, 13)


@dataclass(frozen=True, eq=False)
class Correspondence:
    """P points of the source's skin and the same ones on the target's, at rest.

    source, target: where they lie. regions: rows of the points of each region, by name. weights: [P] the areas that
    they stand for, metres squared. seams: by name, rows (upper [M], lower [M]) of points that face each other; they
    have no area. moved: takes points [..., 3] near the source's face to the target's, metres. method: how they were
    found, in words. exact: whether it is one mesh. jaw_gain: as in `Transfer`.
    """

    source: Embedding
    target: Embedding
    regions: dict[str, np.ndarray]
    weights: np.ndarray
    seams: dict[str, tuple[np.ndarray, np.ndarray]]
    moved: Callable[[np.ndarray], np.ndarray]
    method: str
    exact: bool
    jaw_gain: float


def correspond(source: FlameModel, target: FlameModel) -> Correspondence:
    """Return the correspondence of two heads: vertex by vertex on one mesh, else through their landmarks.

    Raises MarotteError where a head lacks landmarks, or has others than the face's.
    """
    if np.array_equal(source.faces, target.faces) and len(source.v_template) == len(target.v_template):
        return _same_mesh(source, target)
    return _through_landmarks(source, target)


def _same_mesh(source: FlameModel, target: FlameModel) -> Correspondence:
    # One person's head in both bases: identity is not a matter of expression.
    source = replace(source, v_template=target.v_template)
    skins = skin(target)
    try:
        marks: Marks | None = face_marks(target)
    except MarotteError:
        marks = face_marks(source) if source.landmarks else None
    if marks is None:
        found = {"face": np.flatnonzero(np.abs(skins.normals).max(axis=1) > 0)}
        seams: dict[str, tuple[Embedding, Embedding]] = {}
    else:
        points = marks.points(skins.vertices, target.faces)
        found = _on_skin(regions(skins.vertices, points), skins.normals)
        seams = _seams(target, marks, 0.0)
    vertices = np.concatenate(list(found.values()))
    corner = _corners(target.faces, len(target.v_template))[vertices]
    where, rows = _joined(Embedding(corner // 3, np.eye(3)[corner % 3]), [e for pair in seams.values() for e in pair])
    gain = 1.0 if "lips" not in seams else _jaw_gain(source, target, seams["lips"], seams["lips"], lambda x: x)
    return Correspondence(
        source=where,
        target=where,
        regions=_rows(found),
        weights=_areas(skins.vertices, skins.faces, vertices, len(where.faces)),
        seams=_pairs(seams, rows),
        moved=lambda x: x,
        method="the same mesh",
        exact=True,
        jaw_gain=gain,
    )


def _through_landmarks(source: FlameModel, target: FlameModel) -> Correspondence:
    marks = face_marks(source), face_marks(target)
    common = np.intersect1d(marks[0].numbers, marks[1].numbers)
    marks = marks[0].only(common), marks[1].only(common)
    loose = ~np.isin(common, INSIDE)
    opening = _matching_opening(source, target, marks)
    (rest_s, open_s), (rest_t, open_t) = (
        (skin(source), skin(source, _APART if opening else 0.0)),
        (skin(target), skin(target, opening)),
    )

    def points(which: int, vertices: np.ndarray) -> np.ndarray:
        return np.array(list(marks[which].points(vertices, (source, target)[which].faces).values()))

    at_rest = points(0, rest_s.vertices), points(1, rest_t.vertices)
    fit = similarity(at_rest[0][~loose], at_rest[1][~loose])
    corners = [int(np.flatnonzero(common == n)[0]) for n in EYE_CORNERS]
    size = float(np.linalg.norm(np.subtract(*at_rest[1][corners])))
    if fit.rms > _MISFIT * size:
        raise MarotteError(
            f"the landmarks of the {source.basis} and the {target.basis} head differ by {1000 * fit.rms:.0f} mm after "
            "alignment: they are not of the same points; get landmark_embedding.npy of this very mesh"
        )
    opened = warp(points(0, open_s.vertices), points(1, open_t.vertices), loose)
    found = regions(rest_s.vertices, marks[0].points(rest_s.vertices, source.faces))
    found = _on_skin(found, rest_s.normals)
    vertices = np.concatenate(list(found.values()))
    place, apart, cosine = open_t.closest(opened(open_s.vertices[vertices]), open_s.normals[vertices] @ fit.R.T)
    good = (apart < _FAR * size) & (cosine > 0.25)
    kept = {name: index[np.isin(index, vertices[good])] for name, index in found.items()}
    if len(kept["lips"]) < 0.5 * len(found["lips"]) or len(kept["lids"]) < 0.5 * len(found["lids"]):
        raise MarotteError(
            f"the lips and lids of the {source.basis} and the {target.basis} head cannot be laid on each other: "
            "are their landmarks of this very mesh?"
        )
    corner = _corners(source.faces, len(source.v_template))[vertices[good]]
    seams_s, seams_t = _seams(source, marks[0], _APART if opening else 0.0), _seams(target, marks[1], opening)
    where, rows = _joined(Embedding(corner // 3, np.eye(3)[corner % 3]), [e for pair in seams_s.values() for e in pair])
    there, _ = _joined(Embedding(place.faces[good], place.bary[good]), [e for pair in seams_t.values() for e in pair])
    moved = warp(*at_rest, loose)
    return Correspondence(
        source=where,
        target=there,
        regions=_rows(kept),
        weights=_areas(rest_s.vertices, rest_s.faces, vertices[good], len(where.faces)) * fit.scale**2,
        seams=_pairs(seams_s, rows),
        moved=moved,
        method=f"{len(common)} landmarks",
        exact=False,
        jaw_gain=_jaw_gain(source, target, seams_s["lips"], seams_t["lips"], moved) if opening else 1.0,
    )


def _matching_opening(source: FlameModel, target: FlameModel, marks: tuple[Marks, Marks]) -> float:
    """Return the opening at which the target's lips part as far, in mouth widths, as the source's at `_APART`.

    0 where one of them does not open its mouth with its jaw; then both stay at rest.
    """
    wanted = _gap_in_widths(source, marks[0], np.array([0, _APART]))[1]
    angles = np.linspace(0, 0.6, 13)
    there = _gap_in_widths(target, marks[1], angles)
    if wanted < 0.1 or there.max() < 0.1:
        return 0.0
    return float(np.interp(wanted, np.maximum.accumulate(there), angles))


def _gap_in_widths(model: FlameModel, marks: Marks, angles: np.ndarray) -> np.ndarray:
    gaps = []
    for vertices in posed(model, angles):
        points = marks.points(vertices, model.faces)
        gaps.append(np.linalg.norm(points[62] - points[66]) / np.linalg.norm(points[48] - points[54]))
    return np.array(gaps) - gaps[0]


def _seams(model: FlameModel, marks: Marks, opening: float) -> dict[str, tuple[Embedding, Embedding]]:
    """Return the two edges of each seam, without its corners, found with the jaw open."""
    skins = skin(model, opening)
    points = marks.points(skins.vertices, model.faces)
    found = {}
    for name, edges in SEAMS.items():
        lines = [_between_corners(np.array([points[n] for n in edge if n in points])) for edge in edges]
        upper, lower = (skins.closest(line, np.zeros_like(line))[0] for line in lines)
        found[name] = upper, lower
    return found


def _between_corners(edge: np.ndarray) -> np.ndarray:
    """Return points [M, 3] along an edge [N, 3], evenly spaced along the line through its ends, without these."""
    way = edge[-1] - edge[0]
    along = (edge - edge[0]) @ way / (way @ way)
    return np.stack([np.interp(_ALONG_SEAM, along, axis) for axis in edge.T], axis=1)


def _jaw_gain(
    source: FlameModel,
    target: FlameModel,
    seam_s: tuple[Embedding, Embedding],
    seam_t: tuple[Embedding, Embedding],
    moved: Callable[[np.ndarray], np.ndarray],
) -> float:
    """Return the factor on the jaw's opening with which the target's lips part as the source's do, least squares."""
    there = np.linspace(0, 2 * OPENINGS[-1], 17)
    upper, lower = (moved(e.points(posed(source, OPENINGS), source.faces)) for e in seam_s)
    wanted = np.linalg.norm(upper - lower, axis=-1).mean(axis=1)
    upper, lower = (e.points(posed(target, there), target.faces) for e in seam_t)
    had = np.linalg.norm(upper - lower, axis=-1).mean(axis=1)
    if had[-1] - had[0] < 0.1 * (wanted[-1] - wanted[0]):
        return 1.0  # this jaw opens no mouth; expression must
    angles = np.interp(wanted - wanted[0], np.maximum.accumulate(had - had[0]), there)
    return float(angles @ OPENINGS / (OPENINGS @ OPENINGS))


def _on_skin(found: dict[str, np.ndarray], normals: np.ndarray) -> dict[str, np.ndarray]:
    there = np.abs(normals).max(axis=1) > 0
    return {name: index[there[index]] for name, index in found.items()}


def _corners(faces: np.ndarray, count: int) -> np.ndarray:
    """Return for each vertex [V] a corner of a face that is it: 3 times the face, plus which."""
    found = np.zeros(count, np.int64)
    found[faces.ravel()] = np.arange(faces.size)
    return found


def _joined(first: Embedding, more: list[Embedding]) -> tuple[Embedding, list[np.ndarray]]:
    """Return all embeddings as one, and the rows of each of the others in it."""
    faces, bary = [first.faces, *(e.faces for e in more)], [first.bary, *(e.bary for e in more)]
    ends = np.cumsum([len(part) for part in faces])
    rows = [np.arange(start, stop) for start, stop in pairwise(ends)]
    return Embedding(np.concatenate(faces), np.concatenate(bary)), rows


def _pairs(
    seams: dict[str, tuple[Embedding, Embedding]], rows: list[np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {name: (rows[2 * k], rows[2 * k + 1]) for k, name in enumerate(seams)}


def _rows(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the rows of each region's vertices among all regions' in a row."""
    ends = np.cumsum([0, *map(len, found.values())])
    return {name: np.arange(ends[k], ends[k + 1]) for k, name in enumerate(found)}


def _areas(vertices: np.ndarray, faces: np.ndarray, kept: np.ndarray, count: int) -> np.ndarray:
    """Return [count]: a third of the triangles' areas about each of the kept vertices, then zeros."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6
    around = np.bincount(faces.ravel(), np.repeat(area, 3), len(vertices))
    out = np.zeros(count)
    out[: len(kept)] = around[kept]
    return out
