"""What the parts of a head are made of, and the studio lights they stand in."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Material:
    """How one part of a head answers to light.

    albedo: sRGB 0..1, used where the mesh brings no colours of its own.
    scatter: 0..1, how far light seeps past the terminator, red the farthest, as in skin.
    specular: 0..1, reflection at normal incidence. roughness: 0..1, width of the highlight.
    fibre: 0..1, how much the highlight follows strands that run down the surface, as on hair.
    openness: 0..1, the least light that reaches it, however hidden.
    opacity: 0..1; below 1 the part is drawn as one veil over all opaque ones.
    two_sided: whether its faces are seen from behind too.
    """

    albedo: tuple[float, float, float]
    scatter: float = 0.0
    specular: float = 0.03
    roughness: float = 0.6
    fibre: float = 0.0
    openness: float = 0.0
    opacity: float = 1.0
    two_sided: bool = False


MATERIALS = {
    "skin": Material((0.80, 0.66, 0.60), scatter=1.0, specular=0.028, roughness=0.48),
    "lips": Material((0.76, 0.48, 0.46), scatter=0.8, specular=0.04, roughness=0.30),
    "mouth": Material((0.42, 0.16, 0.15), 0.5, specular=0.03, roughness=0.40, openness=0.06, two_sided=True),
    "eye": Material((0.93, 0.92, 0.91), scatter=0.3, specular=0.03, roughness=0.30),
    "teeth": Material((0.92, 0.89, 0.82), scatter=0.3, specular=0.04, roughness=0.3),
    "tongue": Material((0.72, 0.36, 0.36), scatter=0.8, specular=0.035, roughness=0.35),
    "lashes": Material((0.07, 0.05, 0.04), roughness=0.9, specular=0.0, opacity=0.9, two_sided=True),
    "brows": Material((0.20, 0.13, 0.10), fibre=0.5, specular=0.03, roughness=0.6, two_sided=True),
    "hair": Material((0.20, 0.13, 0.09), scatter=0.2, specular=0.022, roughness=0.46, fibre=1.0),
    "cloth": Material((0.42, 0.47, 0.55), scatter=0.1, specular=0.0, roughness=0.9, two_sided=True),
}

# Which parts share one surface: there normals are smooth and gloss blends where they meet.
SURFACES = {"skin": "body", "lips": "body", "mouth": "body", "hair": "body"}


@dataclass(frozen=True)
class Lights:
    """A studio in world space (x to the person's left, y up, z out of the face).

    Directions [3] point towards the light and need no unit length; colours [3] are linear.
    sky and ground light what faces up and down, dimmed by occlusion.
    """

    key: tuple[float, float, float] = (-0.50, 0.62, 0.80)
    key_colour: tuple[float, float, float] = (0.98, 0.91, 0.82)
    fill: tuple[float, float, float] = (0.85, 0.10, 0.60)
    fill_colour: tuple[float, float, float] = (0.17, 0.20, 0.24)
    rim: tuple[float, float, float] = (0.55, 0.45, -0.80)
    rim_colour: tuple[float, float, float] = (0.75, 0.80, 0.88)
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    sky_colour: tuple[float, float, float] = (0.33, 0.35, 0.38)
    ground_colour: tuple[float, float, float] = (0.17, 0.145, 0.13)

    def seen_from(self, rotation: np.ndarray) -> np.ndarray:
        """Return the table that the shading kernel takes, for a world-to-camera rotation [3,3].

        [9,3] float32: key, its colour, fill, its colour, rim, its colour, up, sky, ground;
        directions are unit vectors in camera space.
        """
        table = np.array(
            [
                self.key,
                self.key_colour,
                self.fill,
                self.fill_colour,
                self.rim,
                self.rim_colour,
                self.up,
                self.sky_colour,
                self.ground_colour,
            ]
        )
        directions = [0, 2, 4, 6]
        turned = table[directions] @ np.asarray(rotation, np.float64).T
        table[directions] = turned / np.linalg.norm(turned, axis=1, keepdims=True)
        return table.astype(np.float32)


def srgb_to_linear(colour: np.ndarray) -> np.ndarray:
    """Return linear light for sRGB 0..1, any shape."""
    colour = np.asarray(colour, np.float64)
    return np.where(colour <= 0.04045, colour / 12.92, ((np.maximum(colour, 0) + 0.055) / 1.055) ** 2.4)
