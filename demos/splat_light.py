"""Light baked into the Gaussians' colours: how open each vertex lies, the key lamp's soft shadow, and skin's shading.

Visibility is read from depth maps of a densely sampled surface, one for each direction. The lamps are those of the
mesh renderer, seen from a camera in front of the face; Gaussians keep one colour from all sides.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from splat_head import Head, step, unit, vertex_normals

from marotte.renderers.mesh_materials import Lights

CELL = 0.0011  # metres of a depth map's pixel
LIFT, BIAS = 0.0006, 0.0022  # metres: of vertices off their surface, and below what hides them
SKY, LAMP = 160, 24  # directions
LAMP_WIDTH = 0.30  # radians from its middle to its rim
VIEW_FROM = np.array([0.0, 0.01, 1.2])
LIGHTS = Lights()
# Light seeps farther into the shade the longer its wave.
SEEP = np.array([0.38, 0.20, 0.14])
DISPLAY_KNEE = 0.7


class Openness(NamedTuple):
    """sky: [V] share of the hemisphere over a vertex that is open, by cosine; lamp: [V] share of the key lamp seen."""

    sky: np.ndarray
    lamp: np.ndarray


class Finish(NamedTuple):
    """How N points answer to light, each [N] in 0..1: see `mesh_materials.Material`."""

    scatter: np.ndarray
    specular: np.ndarray
    roughness: np.ndarray


def openness(head: Head, poses: tuple[dict[str, float], ...]) -> Openness:
    """The most open that each vertex lies in any of the poses: a lid's skin is lit when it shows."""
    seen = [_openness(head, vertices) for vertices in head.posed(poses)]
    result = [np.max([one[part] for one in seen], axis=0) for part in range(2)]
    return Openness(*(head.smoother @ (head.smoother @ value) for value in result))


def _openness(head: Head, points: np.ndarray) -> Openness:
    faces = head.faces[head.material != "lashes"]
    normals = vertex_normals(points, head.faces)
    surface = _samples(points, faces, 0.75 * CELL)
    lifted = points + LIFT * normals
    index = np.arange(SKY) + 0.5
    height, around = 1 - 2 * index / SKY, np.pi * (1 + 5**0.5) * index
    flat = np.sqrt(1 - height**2)
    sky = np.stack([flat * np.cos(around), height, flat * np.sin(around)], axis=1)
    total, free = np.zeros(len(points)), np.zeros(len(points))
    for direction in sky:
        facing = np.maximum(normals @ direction, 0)
        free += facing * _visible(surface, lifted, direction)
        total += facing
    rank = np.arange(LAMP) + 0.5
    reach, turn = LAMP_WIDTH * np.sqrt(rank / LAMP), np.pi * (1 + 5**0.5) * rank
    key = unit(np.array(LIGHTS.key))
    side = unit(np.cross(key, [0.0, 1.0, 0.0]))
    across = np.cross(key, side)
    lamp = unit(key + (reach * np.cos(turn))[:, None] * side + (reach * np.sin(turn))[:, None] * across)
    return Openness(free / np.maximum(total, 1e-9), np.mean([_visible(surface, lifted, way) for way in lamp], axis=0))


def _visible(surface: np.ndarray, points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    side = unit(np.cross(direction, [0.0, 0.0, 1.0] if abs(direction[2]) < 0.9 else [1.0, 0.0, 0.0]))
    frame = np.stack([side, np.cross(direction, side), direction])
    return _over_depth(surface @ frame.T, points @ frame.T)


@njit(cache=True)
def _over_depth(cloud, query):
    """Tell for points [Q, 3] whether any of a cloud [C, 3] lies above them; x and y are the map's, z rises."""
    low_x, low_y = min(cloud[:, 0].min(), query[:, 0].min()), min(cloud[:, 1].min(), query[:, 1].min())
    wide = int((max(cloud[:, 0].max(), query[:, 0].max()) - low_x) / CELL) + 2
    high = int((max(cloud[:, 1].max(), query[:, 1].max()) - low_y) / CELL) + 2
    top = np.full((high, wide), -np.inf)
    for i in range(len(cloud)):
        x, y = int((cloud[i, 0] - low_x) / CELL), int((cloud[i, 1] - low_y) / CELL)
        top[y, x] = max(top[y, x], cloud[i, 2])
    free = np.empty(len(query))
    for i in range(len(query)):
        x, y = int((query[i, 0] - low_x) / CELL), int((query[i, 1] - low_y) / CELL)
        free[i] = 1.0 if query[i, 2] + BIAS >= top[y, x] else 0.0
    return free


def _samples(points: np.ndarray, faces: np.ndarray, spacing: float) -> np.ndarray:
    """Points [C, 3] all over the faces, about one for each square of the spacing."""
    corners = points[faces]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    counts = np.ceil(np.linalg.norm(np.cross(one, two), axis=1) / 2 / spacing**2).astype(int)
    of = np.repeat(np.arange(len(faces)), counts)
    rank = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    u, v = (0.5 + 0.7548776662 * rank) % 1, (0.5 + 0.5698402910 * rank) % 1
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    return corners[of, 0] + u[:, None] * one[of] + v[:, None] * two[of]


def lit(
    albedo: np.ndarray, points: np.ndarray, normals: np.ndarray, opened: Openness, finish: Finish, glow: float = 0.45
) -> np.ndarray:
    """Linear light [N, 3] that leaves surfaces towards a camera in front of the face.

    albedo: [N, 3] linear; opened: at the points; glow: how much more the scattered light of pale folds is red.
    """
    key, fill, rim = (unit(np.array(way)) for way in (LIGHTS.key, LIGHTS.fill, LIGHTS.rim))
    view = unit(VIEW_FROM - points)
    facing = np.clip((normals * view).sum(1), 0, 1)
    cosine = normals @ key
    wrap = finish.scatter[:, None] * SEEP
    wrapped = np.maximum(cosine[:, None] + wrap, 0) / (1 + wrap)
    wrapped *= 1 - wrap * (1 - wrapped)
    # A shadow's rim on skin is red and soft, as the terminator is.
    shade = opened.lamp[:, None] ** (1 - 0.55 * finish.scatter[:, None] * SEEP / SEEP[0])
    rise = (0.5 + 0.5 * normals[:, 1])[:, None]
    sky = opened.sky[:, None]
    # Light that bounces between folds takes their colour, twice.
    bounced = sky / (1 - np.clip(albedo * (0.8 + glow * np.array([0.25, 0, -0.1])), 0, 0.95) * (1 - sky))
    around = LIGHTS.ground_colour + (np.array(LIGHTS.sky_colour) - LIGHTS.ground_colour) * rise
    around = around + np.maximum((normals @ fill)[:, None] + 0.5, 0) * 0.667 * np.array(LIGHTS.fill_colour)
    graze = 1 - facing
    direct = opened.sky * (2 - opened.sky)
    edge = np.maximum(normals @ rim, 0) * (0.25 + 0.75 * graze**2) * direct
    light = wrapped * shade * LIGHTS.key_colour + around * bounced + edge[:, None] * LIGHTS.rim_colour
    gloss = highlight(normals, view, key, finish) * np.maximum(cosine, 0) * opened.lamp * direct
    front = step(0.05, 0.35, facing)
    sheen = finish.specular * (0.6 + 5 * np.minimum(graze, 0.75) ** 5) * opened.sky * rise[:, 0] * front
    return albedo * light + gloss[:, None] * LIGHTS.key_colour + sheen[:, None] * LIGHTS.sky_colour


def highlight(normals: np.ndarray, view: np.ndarray, key: np.ndarray, finish: Finish) -> np.ndarray:
    """The key lamp's reflection [N], a GGX lobe about the half vector."""
    half = unit(view + key)
    spread, tilt = np.maximum((normals * half).sum(1), 0), np.maximum((view * half).sum(1), 0)
    sharp = finish.roughness**4 + 1e-5
    lobe = sharp / (spread**2 * (sharp - 1) + 1) ** 2 * 0.25 / (tilt**2 * (finish.roughness + 0.5) + 0.02)
    return lobe * (finish.specular + (1 - finish.specular) * (1 - tilt) ** 5)


def display(light: np.ndarray) -> np.ndarray:
    """sRGB 0..1 of linear light, any shape: a shoulder from the knee on in place of clipping."""
    light = np.maximum(light, 0)
    over = np.maximum(light - DISPLAY_KNEE, 0)
    light = np.minimum(light, DISPLAY_KNEE) + over / (1 + over / (1 - DISPLAY_KNEE))
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
