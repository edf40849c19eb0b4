"""Colours of the demo avatar's surfaces: skin, lips, the inside of the mouth, cloth; each lit once and for all."""

from dataclasses import dataclass

import numpy as np
from bake_regions import brow_cover, hair_depth
from splat_head import Head, Points, linear, mix, noise, step, unit
from splat_light import Finish, Openness, display, lit
from splat_regions import from_neckline

from marotte.renderers.mesh_materials import srgb_to_linear

# As `bake_paint` mixes them into the mesh's colours, in sRGB 0..1.
MESH_SKIN, MESH_BROW = np.array([222, 176, 152]) / 255, np.array([92, 68, 54]) / 255
BROW_SHARE = 0.85
NECK = np.array([0, 0, -0.03])


@dataclass(frozen=True)
class Look:
    """What tells one person's colours from another's; colours are linear [3].

    skin: the cheek's, by which the painted skin is tinted; lips: likewise; age: 0..1, how much colour is uneven; hair:
    dark root and light tip; iris: outer and inner; shirt, rib.
    """

    skin: np.ndarray
    lips: np.ndarray
    hair: tuple[np.ndarray, np.ndarray]
    iris: tuple[np.ndarray, np.ndarray]
    shirt: np.ndarray
    rib: np.ndarray
    age: float = 0.2


def surface_colour(head: Head, where: Points, opened: Openness, look: Look) -> np.ndarray:
    """sRGB 0..1 [N, 3] of points on everything but eyeballs."""
    points, normals = head.at(head.points, where), head.normals_at(where)
    plain = head.at(head.plain, where)
    name = head.material[where.faces]
    painted = _painted(head, where, plain)
    albedo, finish = painted.copy(), _finish(name)
    sky, lamp = head.at(opened.sky, where), head.at(opened.lamp, where)
    inside = head.at(np.asarray(head.render["occlusion"], np.float64) / 255, where)

    skin = np.isin(name, ("skin", "lips", "hair"))
    albedo[skin] = _skin(head, where.taken(skin), plain[skin], painted[skin], look)
    lips = name == "lips"
    sky = np.where(lips, np.maximum(sky, inside), sky)
    lamp = np.where(lips, np.maximum(lamp, 0.5 * inside), lamp)
    depth = hair_depth(plain) + 0.0022 * noise(plain, 0.006, 5)
    body = np.isin(name, ("skin", "hair")) & (head.at(head.mask("left_ear") | head.mask("right_ear"), where) < 0.3)
    hair = step(-0.002, 0.010, depth) * body
    # What strands let through is scalp in shadow, then hair in shadow.
    albedo = mix(albedo, mix(0.45 * albedo, look.hair[0], step(0.002, 0.016, depth)), hair)
    # The shirt's edge throws no deep shadow: it is cloth, and lies close.
    skin_rim = step(0.010, 0.003, from_neckline(head, points)) * (name == "skin")
    sky, lamp = np.maximum(sky, 0.75 * skin_rim), np.maximum(lamp, 0.6 * skin_rim)
    sky = np.where(body, sky * (1 - 0.45 * hair - 0.10 * step(-0.009, 0.0, depth) * (1 - hair)), sky)
    finish = Finish(finish.scatter * (1 - hair), finish.specular * (1 - 0.9 * hair), finish.roughness)

    within = np.isin(name, ("mouth", "teeth", "tongue"))
    deep = step(0.098, 0.060, points[:, 2])
    back = np.where(name == "tongue", 0.8 * step(0.083, 0.060, points[:, 2]), 0.75 * deep)
    inside = np.where(name == "teeth", 0.35 + 0.65 * inside, inside)
    sky = np.where(within, inside * (1 - np.where(name == "teeth", 0.5 * deep, back)), sky)
    lamp = np.where(within, 0.55 * sky, lamp)
    teeth, tongue = name == "teeth", name == "tongue"
    albedo[teeth] = _teeth(plain[teeth], painted[teeth])
    albedo[tongue] *= (
        1.15 + 0.10 * noise(plain[tongue], 0.004, 11) - 0.25 * np.exp(-((plain[tongue, 0] / 0.0012) ** 2))
    )[:, None]
    mouth = name == "mouth"
    albedo[mouth] *= (0.55 - 0.35 * deep[mouth])[:, None]
    cloth = name == "cloth"
    albedo[cloth] = _cloth(plain[cloth], from_neckline(head, points[cloth]), look)
    lamp[cloth], sky[cloth] = 0.45 + 0.55 * lamp[cloth], np.maximum(sky[cloth], 0.55)
    normals[cloth] = unit(head.at(cloth_normals(head), where.taken(cloth)))
    light = lit(albedo, points, normals, Openness(sky, lamp), finish)
    return display(light)


def _painted(head: Head, where: Points, plain: np.ndarray) -> np.ndarray:
    """Linear albedo [N, 3] of the mesh without its painted brows."""
    vertex = head.albedo.copy()
    share = BROW_SHARE * brow_cover(head.plain)[:, None]
    body = np.isin(np.arange(len(vertex)), head.faces[head.material == "skin"])[:, None]
    bare = np.clip((vertex - MESH_BROW * share) / (1 - share), 0, 1)
    vertex = np.where(body & (share > 0), bare, vertex)
    hair = np.asarray(head.render["hair"], np.float64)[:, None] / 255
    vertex = np.where(hair > 0, MESH_SKIN, vertex)
    return srgb_to_linear(head.at(vertex, where))


def _finish(name: np.ndarray) -> Finish:
    table = {
        "skin": (1.0, 0.028, 0.47),
        "lips": (0.8, 0.040, 0.33),
        "mouth": (0.5, 0.030, 0.40),
        "teeth": (0.4, 0.045, 0.28),
        "tongue": (0.8, 0.035, 0.36),
        "hair": (1.0, 0.028, 0.5),
    }
    rows = np.array([table.get(str(one), (0.1, 0.0, 0.9)) for one in name])
    return Finish(*rows.T)


def _skin(head: Head, where: Points, plain: np.ndarray, painted: np.ndarray, look: Look) -> np.ndarray:
    """Linear albedo [N, 3] of skin and lips: the painted one in the person's tone, gently uneven."""
    lips = np.clip(head.at(head.mask("lips").astype(float), where), 0, 1)
    tone = look.skin / srgb_to_linear(MESH_SKIN)
    colour = painted * tone * mix(np.ones((len(plain), 3)), look.lips, lips)
    uneven = 0.6 + 0.8 * look.age
    blotch = noise(plain, 0.022, 1) * 0.022 + noise(plain, 0.008, 2) * 0.025
    fine = noise(plain, 0.0025, 3) * 0.022 + np.random.default_rng(4).normal(0, 0.010, len(plain))
    colour = colour * (1 + uneven * np.stack([0.3 * blotch, -blotch, -0.9 * blotch], axis=1))
    colour = colour * (1 + uneven * fine)[:, None]
    side = np.abs(plain[:, 0])
    # Zones of a face: a redder middle, a warmer forehead, cooler shade below the eyes and along the jaw.
    brow = step(0.045, 0.07, plain[:, 1]) * (plain[:, 2] > 0.03)
    under = np.exp(-(((side - 0.029) / 0.012) ** 2) - ((plain[:, 1] - 0.009) / 0.0045) ** 2) * (plain[:, 2] > 0.06)
    jaw = step(-0.062, -0.085, plain[:, 1]) * step(-0.13, -0.10, plain[:, 1])
    middle = np.exp(-((side / 0.030) ** 2) - ((plain[:, 1] + 0.02) / 0.03) ** 2) * (plain[:, 2] > 0.08)
    colour = colour * (1 + np.outer(brow, [0.0, 0.010, -0.02]) + np.outer(middle, [0.01, -0.035, -0.03]))
    colour = colour * (1 + np.outer(under * (0.6 + look.age), [-0.09, -0.11, -0.06]) + np.outer(jaw, [-0.03, -0.02, 0]))
    creases = np.sin(plain[:, 0] * 2600 + 2 * noise(plain, 0.004, 6)) * 0.03 + noise(plain, 0.003, 7) * 0.03
    return colour * (1 + lips * creases)[:, None]


def _teeth(plain: np.ndarray, painted: np.ndarray) -> np.ndarray:
    upper = plain[:, 1] > -0.0475
    gum = np.where(upper, step(-0.0385, -0.0360, plain[:, 1]), step(-0.0560, -0.0585, plain[:, 1]))
    edge = np.where(upper, step(-0.0455, -0.0480, plain[:, 1]), step(-0.0495, -0.0475, plain[:, 1]))
    colour = painted * (1 - 0.10 * np.outer(step(0.088, 0.07, plain[:, 2]), [0.5, 1, 1.5]))
    colour = mix(colour, colour * [0.92, 0.95, 1.0], edge)
    return mix(colour, linear(176, 92, 90), gum)


def _cloth(plain: np.ndarray, rim: np.ndarray, look: Look) -> np.ndarray:
    rib = step(0.0115, 0.0100, rim)
    colour = look.shirt * (1 - rib)[:, None] + look.rib * rib[:, None]
    seam = np.exp(-(((rim - 0.0112) / 0.0008) ** 2))
    around = np.arctan2(plain[:, 0], plain[:, 2] + 0.02)
    weave = 0.05 * noise(plain, 0.006, 21) + 0.03 * noise(plain, 0.03, 22) + 0.06 * rib * np.sin(150 * around)
    return colour * (1 + weave - 0.35 * seam)[:, None]


def cloth_normals(head: Head) -> np.ndarray:
    """Normals [V, 3] to light the shirt by: the sharp turn at its upper edge would be a dark, ragged line."""
    away = unit((head.points - NECK) * [1, 0, 1])
    away[:, 1] = 0.5
    normals = mix(head.normals, unit(away), step(0.009, 0.004, from_neckline(head, head.points)))
    for _ in range(2):
        normals = head.smoother @ normals
    return normals


def lining_lift(head: Head, where: Points) -> np.ndarray:
    """Offsets [N] that draw the mouth's lining into the mouth, so that its discs stay clear of the cheeks."""
    depth = head.at(head.points, where)[:, 2]
    return 0.004 * step(0.099, 0.090, depth) * (head.material[where.faces] == "mouth")


def soft_edge(plain: np.ndarray) -> np.ndarray:
    """Opacity [N] of the bust, which ends softly below and at the sides."""
    below = step(-0.272, -0.170, plain[:, 1] + 0.10 * np.abs(plain[:, 0]))
    aside = step(0.285, 0.19, np.abs(plain[:, 0]))
    return below * aside
