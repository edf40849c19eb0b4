"""The demo avatar's haircut: strands that grow from the scalp along a combed field, several layers deep.

Each strand is a chain of long Gaussians. Its roots thin out across the hairline, so that skin shows between them there;
what lies below them is painted by `splat_paint`.
"""

from typing import NamedTuple

import numpy as np
from bake_regions import hair_depth
from scipy.spatial import cKDTree
from splat_head import Head, Points, mix, noise, step, unit
from splat_layer import Layer, strands
from splat_light import LIGHTS, VIEW_FROM, Openness, display
from splat_paint import Look
from splat_place import spread

SEGMENT, WIDTH = 0.0062, 0.00042  # metres of a strand for each Gaussian, and its standard deviation across
FULL = 15_600  # Gaussians of hair for which these hold; fewer are larger
PER_STRAND = 3.4  # Gaussians of a strand in the mean, by which roots are counted out
# Metres: of strands on top, at the sides, and at the hairline; of their rise off the surface.
TOP, SIDE, RIM = 0.034, 0.015, 0.008
BACK = 0.36  # light from behind, for turned heads
RISE_TOP, RISE_SIDE = 0.0050, 0.0022


class Scalp(NamedTuple):
    """A cloud of points of the head's surface: where they are, there and without identity, and which way is out."""

    where: Points
    points: np.ndarray
    plain: np.ndarray
    normals: np.ndarray
    tree: cKDTree


def scalp_of(head: Head, faces: np.ndarray, count: int) -> Scalp:
    """A cloud of `count` points on the faces [F] where True."""
    where, _ = spread(head, np.where(faces, 1.0, 1e-12), count, rounds=0)
    points = head.at(head.points, where)
    return Scalp(where, points, head.at(head.plain, where), head.normals_at(where), cKDTree(points))


def hair(head: Head, opened: Openness, look: Look, count: int) -> Layer:
    """Exactly `count` Gaussians of hair."""
    rng = np.random.default_rng(31)
    cover = np.isin(head.material, ("hair", "skin")) & (head.points[head.faces][:, :, 1].mean(1) > -0.06)
    scalp = scalp_of(head, cover, 90_000)
    ears = (head.mask("left_ear") | head.mask("right_ear")).astype(float)
    outside = head.at(ears, scalp.where) > 0.4
    depth = np.where(outside, -0.02, hair_depth(scalp.plain)) + 0.0022 * noise(scalp.plain, 0.009, 32)
    thick = step(-0.004, 0.007, depth) * (0.55 + 0.45 * step(-0.07, 0.02, scalp.plain[:, 2]))
    weight = np.cumsum(thick * (1 + 0.8 * step(0.012, 0.0, depth)))
    coarse = (FULL / count) ** 0.5
    wanted = int(count / PER_STRAND * 1.45 * coarse**0.6)
    pick = np.searchsorted(weight, (np.arange(wanted) + rng.random(wanted)) * (weight[-1] / wanted))
    grown = _grow(scalp, depth, np.unique(np.minimum(pick, len(depth) - 1)), rng, SEGMENT * coarse**0.6)
    # Whole strands are kept, in an order of chance, until the count is reached.
    order = np.argsort(rng.permutation(grown.strand.max() + 1)[grown.strand], kind="stable")[:count]
    if len(order) < count:
        raise ValueError(f"only {len(order)} of {count} hair Gaussians grew: raise the number of strands")
    grown = Grown(*(column[np.sort(order)] for column in grown))
    return _dressed(head, scalp, grown, opened, look, coarse)


class Grown(NamedTuple):
    """Segments of strands: strand [N], nearest scalp point [N], place and direction [N, 3], how far along it and how
    deep in the hair it lies [N] 0..1, and the depth inside the hairline at its root [N]."""

    strand: np.ndarray
    scalp: np.ndarray
    place: np.ndarray
    along: np.ndarray
    share: np.ndarray
    layer: np.ndarray
    root: np.ndarray


def _combed(plain: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The way [N, 3] that hair lies: back and to one side on top, down and back at the sides."""
    up = step(0.30, 0.75, normals[:, 1])
    front = step(0.02, 0.055, plain[:, 2]) * step(0.045, 0.085, plain[:, 1])
    top = np.maximum(up, front)[:, None]
    crown = step(-0.02, -0.07, plain[:, 2])[:, None]
    sideways = 0.55 * step(-0.05, 0.03, plain[:, 0])[:, None]
    swept = np.concatenate([0.15 + sideways, np.full_like(sideways, 0.35), np.full_like(sideways, -0.9)], axis=1)
    fallen = np.array([0.0, -1.0, -0.42])
    way = top * (1 - 0.7 * crown) * swept + (1 - top + 0.7 * crown * top) * fallen
    return unit(way - normals * (way * normals).sum(1, keepdims=True))


def _grow(scalp: Scalp, depth: np.ndarray, roots: np.ndarray, rng: np.random.Generator, segment: float) -> Grown:
    count = len(roots)
    plain = scalp.plain[roots]
    top = step(0.055, 0.105, plain[:, 1]) * (0.75 + 0.25 * step(-0.08, 0.0, plain[:, 2]))
    rim = step(0.012, -0.002, depth[roots])
    length = (SIDE + (TOP - SIDE) * top) * (1 - rim) + RIM * (1 + top) * rim
    length *= rng.uniform(0.75, 1.25, count)
    layer = rng.random(count) ** 0.8
    rise = (RISE_SIDE + (RISE_TOP - RISE_SIDE) * top) * (0.15 + 0.85 * layer) * (1 - 0.75 * rim)
    # Locks: neighbours turn alike.
    bend = 0.30 * noise(plain, 0.020, 33) + 0.16 * noise(plain, 0.007, 34) + rng.normal(0, 0.07, count)
    at, place, walked = roots.copy(), scalp.points[roots], np.zeros(count)
    alive = np.ones(count, bool)
    rows = []
    for _ in range(int(1.3 * TOP / segment) + 1):
        normal = scalp.normals[at]
        way = _combed(scalp.plain[at], normal)
        way = unit(way + bend[:, None] * np.cross(normal, way))
        middle = walked + segment / 2
        height = rise * (1 - np.exp(-middle / 0.007)) * (1 - 0.25 * step(0.7, 1.2, middle / length))
        slope = rise / 0.007 * np.exp(-middle / 0.007)
        _, near = scalp.tree.query(place + 0.5 * segment * way)
        alive = alive & (middle < length) & (depth[near] > -0.006)
        spot = place + 0.5 * segment * way + height[:, None] * normal
        rows.append(
            [
                np.flatnonzero(alive),
                near[alive],
                spot[alive],
                unit(way + slope[:, None] * normal)[alive],
                (middle / length)[alive],
                layer[alive],
                depth[roots][alive],
            ]
        )
        walked = walked + segment
        _, at = scalp.tree.query(place + segment * way)
        place = scalp.points[at]
    return Grown(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _dressed(head: Head, scalp: Scalp, grown: Grown, opened: Openness, look: Look, coarse: float) -> Layer:
    """The segments as Gaussians, coloured and lit as fibres are: bright across the light, never along it."""
    rng = np.random.default_rng(35)
    where = scalp.where.taken(grown.scalp)
    normal, plain = scalp.normals[grown.scalp], scalp.plain[grown.scalp]
    lift = ((grown.place - scalp.points[grown.scalp]) * normal).sum(1)
    of_strand = rng.normal(size=(grown.strand.max() + 1, 2))[grown.strand]
    lock = noise(plain, 0.012, 36)
    tone = np.clip(0.30 + 0.35 * grown.share + 0.16 * of_strand[:, 0] + 0.16 * lock, 0, 1)
    albedo = mix(np.tile(look.hair[0], (len(plain), 1)), look.hair[1], tone)
    key = unit(np.array(LIGHTS.key))
    view = unit(VIEW_FROM - grown.place)
    sky, lamp = head.at(opened.sky, where), head.at(opened.lamp, where)
    # Upper layers and tips lie open, roots and lower layers in the others' shadow.
    open_ = sky * (0.38 + 0.62 * np.clip(0.25 + 0.55 * grown.layer + 0.35 * grown.share, 0, 1))
    across = np.sqrt(np.maximum(1 - (grown.along @ key) ** 2, 0))
    facing = np.clip(0.30 + 0.80 * (normal @ key), 0, 1)
    half = unit(view + key)
    shifted = unit(grown.along + 0.10 * normal + 0.10 * of_strand[:, 1:] * normal)
    far = unit(grown.along - 0.16 * normal + 0.10 * of_strand[:, 1:] * normal)
    white = np.maximum(1 - (shifted * half).sum(1) ** 2, 0) ** 45
    tinted = np.maximum(1 - (far * half).sum(1) ** 2, 0) ** 12
    seen = np.clip(normal @ key + 0.25, 0, 1) * lamp * open_
    rim = np.maximum(normal @ unit(np.array(LIGHTS.rim)), 0) * open_
    rise = 0.5 + 0.5 * normal[:, 1]
    around = np.array(LIGHTS.ground_colour) + np.outer(rise, np.array(LIGHTS.sky_colour) - LIGHTS.ground_colour)
    light = np.outer(1.05 * across * facing * lamp * open_, LIGHTS.key_colour) + around * open_[:, None] * 1.4
    behind = BACK * step(0.3, -0.6, normal[:, 2]) * open_
    light = light + np.outer(0.55 * rim, LIGHTS.rim_colour) + behind[:, None]
    colour = albedo * light + albedo * np.outer(1.5 * tinted * seen, LIGHTS.key_colour)
    colour = colour + np.outer(0.045 * white * seen + 0.012 * rim, LIGHTS.key_colour)
    rim_hair = step(0.008, -0.004, grown.root)
    wide = WIDTH * coarse**0.9 * (1.15 - 0.45 * grown.share) * (1 - 0.35 * rim_hair) * np.exp(0.15 * of_strand[:, 1])
    sizes = np.stack([np.full(len(wide), 0.58 * SEGMENT * coarse**0.6), wide], axis=1)
    opacity = (0.92 - 0.35 * step(0.6, 1.1, grown.share)) * (1 - 0.35 * rim_hair)
    return strands(head, where, grown.along, sizes, display(colour), opacity, lift, "hair")
