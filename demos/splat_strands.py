"""Small strands on the face: brows, lashes, and the lines between the teeth."""

import numpy as np
from bake_regions import BROW_LINE, BROW_WIDTH
from splat_hair import scalp_of
from splat_head import Head, Points, linear, step, unit
from splat_layer import Layer, joined, strands
from splat_light import Finish, Openness, display, lit
from splat_paint import Look, cloth_normals
from splat_regions import neckline

UPPER_EDGES = np.array([0.0, 0.0084, 0.0150, 0.0224])  # metres along the row from its middle
LOWER_EDGES = np.array([0.0, 0.0054, 0.0112, 0.0178])


def brows(head: Head, look: Look, count: int) -> Layer:
    """Brow hairs: upright near the nose, then swept outward, the upper ones down and the lower ones up."""
    rng = np.random.default_rng(41)
    middle = head.plain[head.faces].mean(1)
    near = (head.material == "skin") & (middle[:, 2] > 0.05) & (middle[:, 1] > 0.025) & (middle[:, 1] < 0.06)
    scalp = scalp_of(head, near, 20_000)
    side = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    # More hairs in the brow's body than at its ends.
    u = (np.arange(count) // 2 + rng.random(count)) / ((count + 1) // 2)
    x = BROW_LINE[0, 0] - 0.001 + (BROW_LINE[-1, 0] - BROW_LINE[0, 0] + 0.001) * u
    line, half = (np.interp(x, BROW_LINE[:, 0], values) for values in (BROW_LINE[:, 1], BROW_WIDTH))
    v = np.clip(rng.normal(0, 0.42, count), -0.9, 0.9)
    target = np.stack([side * x, line + 1.05 * half * v], axis=1)
    gap = ((scalp.plain[None, :, :2] - target[:, None]) ** 2).sum(2)
    chosen = gap.argmin(1)
    where, normal = scalp.where.taken(chosen), scalp.normals[chosen]
    slope = np.interp(x, BROW_LINE[:-1, 0], np.diff(BROW_LINE[:, 1]) / np.diff(BROW_LINE[:, 0]))
    upright = step(0.020, 0.0135, x) * 1.2 + 0.22 - 0.45 * v * step(0.014, 0.022, x) - 0.20 * step(0.03, 0.05, x)
    along = np.stack([side, slope + upright + rng.normal(0, 0.14, count), np.zeros(count)], axis=1)
    along = unit(along - normal * (along * normal).sum(1, keepdims=True))
    length = 0.0015 * (1 - 0.35 * step(0.042, 0.054, x)) * rng.uniform(0.75, 1.2, count)
    tone = rng.uniform(0.7, 1.5, count)[:, None]
    colour = display((0.60 * look.hair[0] + 0.14 * look.hair[1]) * tone)
    opacity = (
        min(0.5 * (960 / count) ** 0.4, 0.9)
        * (0.55 + 0.45 * step(0.0125, 0.021, x))
        * (1 - 0.35 * step(0.046, 0.054, x))
    )
    sizes = np.stack([length, np.full(count, 0.00013 * (960 / count) ** 0.5)], axis=1)
    lift = 0.0003 + 0.0005 * rng.random(count)
    return strands(head, where, along, sizes, colour, opacity, lift, "brows")


def lashes(head: Head, look: Look, count: int) -> Layer:
    """Lashes on the mesh's lash strips, each from the lid's rim outward."""
    rng = np.random.default_rng(42)
    strip = np.flatnonzero(head.material == "lashes")
    corners = head.points[head.faces[strip]]
    side = (corners[:, :, 0].mean(1) < 0).astype(int)
    reach = np.linalg.norm(corners - head.eye_centres[side][:, None], axis=2)
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.linalg.norm(np.cross(one, two), axis=1)
    upper = corners[:, :, 1].mean(1) > head.eye_centres[side][:, 1] - 0.001
    # Along a strip its distance from the eyeball grows: the gradient on the face is the way of the lash.
    edges = np.stack([one, two], axis=1)
    rises = np.stack([reach[:, 1] - reach[:, 0], reach[:, 2] - reach[:, 0]], axis=1)
    gradient = np.einsum("fkc,fk->fc", np.swapaxes(np.linalg.pinv(edges), 1, 2), rises)
    weight = np.cumsum(area * np.where(upper, 1.0, 0.5))
    pick = np.searchsorted(weight, (np.arange(count) + rng.random(count)) * weight[-1] / count)
    pick = np.minimum(pick, len(strip) - 1)
    bary = rng.dirichlet([1, 1, 1], count)
    base = np.sort(np.unique(np.round(reach, 5)))[0]
    out = np.clip(((reach[pick] * bary).sum(1) - base) / 0.006, 0, 1)
    along = unit(gradient[pick]) + rng.normal(0, 0.10, (count, 3))
    size = np.where(upper[pick], 0.00085, 0.00050)
    sizes = np.stack([size, np.where(upper[pick], 0.000095, 0.00007) * (780 / count) ** 0.5], axis=1)
    colour = display(np.tile(0.35 * look.hair[0] + linear(24, 18, 16), (count, 1)))
    opacity = np.where(upper[pick], 0.75, 0.30) * (1 - 0.75 * out)
    return strands(head, Points(strip[pick], bary), along, sizes, colour, opacity, np.zeros(count), "lashes")


def hem(head: Head, look: Look) -> Layer:
    """A cord along the shirt's neck, so that its edge is a line and not a row of discs."""
    ends, owner = neckline(head)
    bary = 0.5 * (head.faces[owner][:, :, None] == ends[:, None, :]).sum(2)
    where = Points(owner, bary)
    along = head.points[ends[:, 1]] - head.points[ends[:, 0]]
    normals = unit(head.at(cloth_normals(head), where))
    count = len(owner)
    finish = Finish(np.full(count, 0.1), np.zeros(count), np.full(count, 0.9))
    light = Openness(np.full(count, 0.8), np.full(count, 0.8))
    colour = display(lit(np.tile(1.1 * look.rib, (count, 1)), head.at(head.points, where), normals, light, finish))
    sizes = np.stack([0.6 * np.linalg.norm(along, axis=1), np.full(count, 0.0009)], axis=1)
    return strands(head, where, along, sizes, colour, np.full(count, 0.97), np.full(count, 0.0009), "cloth")


def tooth_lines(head: Head) -> Layer:
    """Dark lines between the front teeth, which are one piece in the mesh."""
    layers = []
    for row, edges, height in (("teeth_upper", UPPER_EDGES, -0.0430), ("teeth_lower", LOWER_EDGES, -0.0520)):
        own = head.mask(row)[head.faces[:, 0]]
        scalp = scalp_of(head, own, 8000)
        front = scalp.normals[:, 2] > 0.1
        for edge in (*edges, *-edges[1:]):
            for step_up in (-1, 0, 1):
                # Along a bow of about 30 mm radius.
                target = np.array([0.030 * np.sin(edge / 0.030), height + 0.0021 * step_up])
                gap = ((scalp.plain[:, :2] - target) ** 2).sum(1) + 1.0 * ~front
                at = np.array([gap.argmin()])
                shade = display(np.array([[0.16, 0.10, 0.07]]) * (1 - abs(edge) / 0.05))
                sizes = np.array([[0.0012, 0.00013]])
                up, lift = np.array([[0.0, 1.0, 0.0]]), np.array([0.0002])
                layers.append(strands(head, scalp.where.taken(at), up, sizes, shade, np.array([0.5]), lift, "teeth"))
    return joined(layers)
