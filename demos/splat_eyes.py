"""The eyes: irises with depth, pupils, wet whites, the lamp mirrored in the cornea, the tear line."""

import numpy as np
from splat_head import Head, Points, linear, mix, step, unit
from splat_layer import Layer, joined, strands
from splat_light import LIGHTS, display
from splat_paint import Look

RECESS = 0.0004  # metres by which the balls lie below their mesh, so that lids cover them everywhere
PUPIL = 0.34  # of the iris
WHITE = linear(238, 232, 226)
VEIN = linear(206, 132, 120)


def eye_lift(head: Head, where: Points) -> np.ndarray:
    """Offsets [N] along the normal that put points of the faceted balls on true ones."""
    points, normals = head.at(head.points, where), head.normals_at(where)
    side = (points[:, 0] < 0).astype(int)
    out = points - head.eye_centres[side]
    along = (out * normals).sum(1)
    wanted = head.eye_radius - RECESS
    return -along + np.sqrt(np.maximum(along**2 - (out**2).sum(1) + wanted**2, 0))


def eye_colour(head: Head, where: Points, sky: np.ndarray, look: Look) -> np.ndarray:
    """sRGB 0..1 [N, 3] of points on the eyeballs; sky: [V] openness."""
    local = unit(head.at(np.asarray(head.render["eye_local"], np.float64), where))
    normals = head.normals_at(where)
    across, up = local[:, 0], local[:, 1]
    out = np.hypot(across, up)
    radius = float(head.render["iris_radius"])
    r, angle = out / radius, np.arctan2(up, across)
    iris = _iris(r, angle, up / radius, look)
    ball = np.maximum(step(0.93, 1.06, r), local[:, 2] < 0)
    # Towards the corners the white is pink and veined; seen through the cornea's rim it is grey.
    pink = 0.30 * step(0.45, 0.95, np.abs(across)) + 0.10 * step(0.3, 0.8, out) * np.sin(19 * angle + 9 * out) ** 8
    white = mix(np.tile(WHITE, (len(r), 1)), VEIN, pink)
    white = mix(white, 0.55 * WHITE, 0.5 * step(1.25, 1.0, r))
    albedo = mix(iris, white, ball)
    # The upper lid and its lashes shade the ball's upper part.
    shade = (0.40 + 0.60 * head.at(sky, where)) * (1 - 0.62 * step(0.08, 0.42, normals[:, 1]))
    turned = 0.5 + 0.5 * np.clip(normals @ unit(np.array(LIGHTS.key)), 0, 1)
    light = np.array(LIGHTS.key_colour) * 0.62 * turned[:, None] + 0.32
    # The iris lies flat behind the cornea: it takes its light evenly.
    light = mix(np.broadcast_to(light, albedo.shape), np.full(3, 1.02), 1 - ball)
    return display(albedo * light * shade[:, None])


def _iris(r: np.ndarray, angle: np.ndarray, height: np.ndarray, look: Look) -> np.ndarray:
    """Linear colour [N, 3] at a distance r (1 at the rim) and an angle from the middle."""
    outer, inner = look.iris
    fibres = 0.5 * np.sin(31 * angle + 3 * np.sin(5 * angle)) + 0.35 * np.sin(53 * angle + 4 * r)
    fibres += 0.3 * np.sin(17 * angle + 1.7)
    collarette = np.exp(-(((r - 0.52 - 0.03 * np.sin(9 * angle)) / 0.10) ** 2))
    colour = mix(np.tile(outer, (len(r), 1)), inner, np.clip(1.1 * collarette + 0.25 * step(0.8, 0.5, r), 0, 1))
    colour = colour * (1 + 0.28 * fibres * step(0.35, 0.5, r) * step(1.0, 0.8, r))[:, None]
    # Light falls in from above and gathers below; the rim and the upper part are dark.
    gathered = 0.80 + 0.55 * step(0.15, -0.75, height) * step(0.3, 0.65, r) - 0.25 * step(0.1, 0.8, height)
    colour = colour * (gathered * (1 - 0.80 * step(0.76, 0.98, r)))[:, None]
    return mix(np.full((len(r), 3), 0.004), colour, step(PUPIL - 0.04, PUPIL + 0.05, r))


def eye_lights(head: Head) -> Layer:
    """The key lamp, and faintly the fill, mirrored in each cornea; they turn with the eye."""
    layers = []
    local = np.asarray(head.render["eye_local"], np.float64)
    middle = local[head.faces].mean(1)
    for lamp, bulge, size, strength in ((LIGHTS.key, 2.3, 0.00060, 0.97), (LIGHTS.fill, 1.5, 0.00036, 0.30)):
        # The cornea bulges: it mirrors the lamp nearer to its middle than a ball would.
        way = unit(unit(np.array(lamp)) * [1, 0.5, 1] + [0, 0, bulge])
        for side in (0, 1):
            own = np.isin(head.faces[:, 0], head.model.masks[("left_eyeball", "right_eyeball")[side]])
            face = int(np.argmax(np.where(own, middle @ way, -np.inf)))
            where = _hit(head, face, head.eye_centres[side], way)
            lift = eye_lift(head, where) + 0.0004
            sizes = np.array([[1.25 * size, size]])
            colour, opacity = np.full((1, 3), 0.995), np.array([strength])
            layers.append(strands(head, where, np.array([[0.25, 1.0, 0.0]]), sizes, colour, opacity, lift, "eye"))
    return joined(layers)


def _hit(head: Head, face: int, origin: np.ndarray, way: np.ndarray) -> Points:
    """Where a ray from inside leaves through a face's plane."""
    corners = head.points[head.faces[face]] - origin
    weights = np.linalg.solve(corners.T, way)
    return Points(np.array([face]), (weights / weights.sum())[None])
