"""Colours, materials, hair, occlusion and region masks of the demo head."""

import numpy as np
from bake_build import PART, RIB_HEIGHT, Head
from bake_landmarks import landmarks
from bake_light import occlusion
from bake_mesh import adjacency
from bake_regions import brow_cover, collar_field, hair_depth, hair_strand
from bake_rig import Rig

MATERIALS = ("skin", "lips", "mouth", "eye", "teeth", "tongue", "lashes", "hair", "cloth")
SKIN, LIPS, BLUSH = np.array([222, 176, 152]), np.array([190, 108, 102]), np.array([214, 134, 118])
LID, BROW, HAIR = np.array([186, 132, 112]), np.array([92, 68, 54]), np.array([66, 48, 38])
SCLERA, TEETH, TONGUE = np.array([236, 232, 227]), np.array([233, 226, 211]), np.array([180, 96, 94])
MOUTH, LASHES = np.array([120, 52, 50]), np.array([54, 42, 38])
CLOTH, RIB = np.array([88, 110, 136]), np.array([66, 85, 108])
OPEN_FOR_LIGHT = 0.8  # of jawOpen, while light is let into the mouth


def paint(head: Head, rig: Rig) -> dict[str, np.ndarray]:
    """The file's render, mask and landmark arrays."""
    albedo, hair = _albedo(head)
    arrays = {
        "render_albedo": np.round(np.clip(albedo, 0, 255)).astype(np.uint8),
        "render_hair": np.round(255 * hair).astype(np.uint8),
        "render_occlusion": np.round(255 * _occlusion(head, rig)).astype(np.uint8),
        "render_materials": _materials(head, hair),
        "render_material_names": np.array(MATERIALS),
        "render_eye_local": head.eye_local.astype(np.float16),
        "render_eye_radius": np.array(head.radius, np.float32),
        "render_iris_radius": np.array(0.37, np.float32),
        "render_eye_look": head.eye_look.astype(np.float32),
    }
    masks = {f"mask_{name}": np.flatnonzero(chosen) for name, chosen in _masks(head, rig, hair).items()}
    return arrays | {name: chosen.astype(np.uint16) for name, chosen in masks.items()} | landmarks(head, rig)


def _mix(base: np.ndarray, colour: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)[:, None]
    return base * (1 - share) + colour * share


def _blob(points: np.ndarray, centre: tuple, radius: float) -> np.ndarray:
    """A soft spot on both sides of the face."""
    offset = np.abs(points * [1, 0, 0]) + points * [0, 1, 1] - np.array(centre)
    return np.exp(-(offset**2).sum(1) / (2 * radius**2))


def _albedo(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """sRGB colour [V, 3] in 0..255 and the share of hair [V]."""
    points, s = head.points, head.scalars
    body = head.part_vertices("body")
    depth = hair_depth(points)
    hair = np.clip(0.5 + depth / 0.010, 0, 1) * (1 - np.clip(2 * s["ears"], 0, 1)) * body
    hair = hair * hair * (3 - 2 * hair)
    colour = np.tile(SKIN.astype(float), (len(points), 1))
    face = np.clip(points[:, 2] / 0.03, 0, 1)
    colour = _mix(colour, BLUSH, 0.24 * _blob(points, (0.044, -0.018, 0.085), 0.019) * face)
    colour = _mix(colour, BLUSH, 0.30 * _blob(points, (0.0, -0.012, 0.118), 0.010))
    colour = _mix(colour, BLUSH, 0.12 * _blob(points, (0.0, -0.085, 0.100), 0.012))
    colour = _mix(colour, BLUSH, 0.30 * s["ears"])
    colour = _mix(colour, LID, 0.30 * s["eyelids"])
    colour = _mix(colour, LIPS, 0.85 * s["lips"])
    colour = _mix(colour, MOUTH, 1.3 * s["inside-mouth"])
    colour = _mix(colour, BROW, 0.85 * brow_cover(points) * body)
    tone = 1 + 0.13 * hair_strand(points)
    colour = colour * (1 - hair[:, None]) + (HAIR * tone[:, None]) * hair[:, None]
    collar = collar_field(points)
    colour[head.cloth] = CLOTH
    colour[head.cloth & (collar > -RIB_HEIGHT - 1e-4)] = RIB
    for names, paint_colour in (
        (("eye_left", "eye_right"), SCLERA),
        (("teeth_upper", "teeth_lower"), TEETH),
        (("tongue",), TONGUE),
    ):
        colour[head.part_vertices(*names)] = paint_colour
    upper, lower = head.part_vertices("lashes_upper"), head.part_vertices("lashes_lower")
    colour[upper] = _mix(LASHES * np.ones((upper.sum(), 1)), 0.5 * (LASHES + LID), s["lash"][upper] - 0.4)
    colour[lower] = _mix(LID * np.ones((lower.sum(), 1)), 0.6 * LASHES + 0.4 * LID, 2 * s["lash"][lower] - 0.5)
    return colour, np.where(head.cloth, 0, hair)


def _materials(head: Head, hair: np.ndarray) -> np.ndarray:
    mean = {name: head.scalars[name][head.triangles].mean(1) for name in ("lips", "inside-mouth")}
    part = head.part[head.triangles[:, 0]]
    material = np.zeros(len(head.triangles), int)
    material[hair[head.triangles].mean(1) > 0.5] = MATERIALS.index("hair")
    material[mean["lips"] > 0.5] = MATERIALS.index("lips")
    material[mean["inside-mouth"] > 0.5] = MATERIALS.index("mouth")
    material[head.cloth[head.triangles].all(1)] = MATERIALS.index("cloth")
    for name, index in PART.items():
        own = next((m for m in ("eye", "teeth", "tongue", "lashes") if name.startswith(m)), None)
        if own is not None:
            material[part == index] = MATERIALS.index(own)
    return material.astype(np.uint8)


def _occlusion(head: Head, rig: Rig) -> np.ndarray:
    """Openness [V] at neutral; what lies in the mouth is lit through an open one."""
    shown = ~head.part_vertices("lashes_upper", "lashes_lower")[head.triangles[:, 0]]
    open_sky = occlusion(head.points, head.triangles[shown])
    opened = rig.posed_jaw(head.points, OPEN_FOR_LIGHT * rig.jaw["jawOpen"])
    open_mouth = occlusion(opened, head.triangles[shown])
    mouth = np.clip(2 * head.scalars["inside-mouth"], 0, 1)
    mouth[head.part_vertices("teeth_upper", "teeth_lower", "tongue")] = 1
    value = open_sky * (1 - mouth) + open_mouth * mouth
    value = np.where(head.scalars["lips"] > 0.05, np.maximum(value, 0.5 * (value + open_mouth)), value)
    at_collar = ~head.cloth & (np.abs(collar_field(head.points)) < 0.012) & (head.points[:, 1] < -0.08)
    value[at_collar] = np.maximum(value[at_collar], 0.7)
    smooth = adjacency(head.triangles, len(value))
    for step in range(6):
        value = np.where(head.cloth | (step < 2), smooth @ value, value)
    for names, back, front in ((("teeth_upper", "teeth_lower"), 0.062, 0.086), (("tongue",), 0.052, 0.086)):
        chosen = head.part_vertices(*names)
        forward = np.clip((head.points[chosen, 2] - back) / (front - back), 0, 1)
        value[chosen] = (0.55 + 0.45 * value[chosen]) * (0.3 + 0.7 * forward)
    value[head.part_vertices("lashes_upper", "lashes_lower")] = 1
    return np.clip(value, 0, 1)


def _masks(head: Head, rig: Rig, hair: np.ndarray) -> dict[str, np.ndarray]:
    s, points = head.scalars, head.points
    body = head.part_vertices("body") & ~head.cloth
    left = points[:, 0] > 0
    lips = body & (s["lips"] > 0.5)
    lower = head.actions["jawOpen"][:, 1] < -0.5 * 0.02
    lids = body & (s["eyelids"] > 0.5)
    brow = body & (brow_cover(points) > 0.2)
    ears = body & (s["ears"] > 0.5)
    inside = body & (s["inside-mouth"] > 0.5)
    neck = body & (rig.weights[:, 0] > 0.05) & (points[:, 1] < 0)
    return {
        "lips": lips,
        "lips_upper": lips & ~lower,
        "lips_lower": lips & lower,
        "lids_left": lids & left,
        "lids_right": lids & ~left,
        "brow_left": brow & left,
        "brow_right": brow & ~left,
        "left_ear": ears & left,
        "right_ear": ears & ~left,
        "left_eyeball": head.part_vertices("eye_left"),
        "right_eyeball": head.part_vertices("eye_right"),
        "teeth_upper": head.part_vertices("teeth_upper"),
        "teeth_lower": head.part_vertices("teeth_lower"),
        "tongue": head.part_vertices("tongue"),
        "lashes": head.part_vertices("lashes_upper", "lashes_lower"),
        "mouth_inside": inside,
        "scalp": body & (hair > 0.5),
        "neck": neck,
        "face": body & (s["face"] > 0.5) & ~inside & (hair < 0.5),
        "shoulders": head.cloth,
    }
