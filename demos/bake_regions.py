"""Where the demo head's brows, hair and shirt lie, as functions of a point on the neutral head."""

import numpy as np

# The left brow's middle line (x, y), its half width along it, in metres; and the hairline as pairs of azimuth (degrees
# from the front) and height.
BROW_LINE = np.array([[0.0135, 0.0388], [0.023, 0.0410], [0.034, 0.0430], [0.044, 0.0422], [0.054, 0.0375]])
BROW_WIDTH = np.array([0.0022, 0.0027, 0.0024, 0.0018, 0.0007])
HAIRLINE = np.array(
    [
        [0, 0.093], [20, 0.092], [35, 0.086], [47, 0.070], [54, 0.045], [58, 0.020], [62, -0.004], [70, -0.010],
        [78, -0.006], [95, 0.0], [110, -0.015], [125, -0.035], [145, -0.046], [180, -0.050],
    ]
)  # fmt: skip


def brow_cover(points: np.ndarray) -> np.ndarray:
    """How much of a brow lies over each point [V], 0..1 with soft edges."""
    x, y = np.abs(points[:, 0]), points[:, 1]
    line, width = (np.interp(x, BROW_LINE[:, 0], values) for values in (BROW_LINE[:, 1], BROW_WIDTH))
    beyond = np.maximum(np.maximum(BROW_LINE[0, 0] - x, x - BROW_LINE[-1, 0]), 0)
    distance = np.hypot(y - line, beyond)
    fade = np.clip(0.45 + (x - BROW_LINE[0, 0]) / 0.014, 0, 1)
    return np.clip(1.25 - distance / (1.6 * width), 0, 1) * fade * (points[:, 2] > 0.05)


def hair_depth(points: np.ndarray) -> np.ndarray:
    """Distance [V] in metres inside the hairline, negative outside."""
    azimuth = np.degrees(np.arctan2(np.abs(points[:, 0]), points[:, 2] + 0.005))
    line = HAIRLINE * [0.085 * np.pi / 180, 1]
    place = np.stack([azimuth * 0.085 * np.pi / 180, points[:, 1]], axis=1)
    start, step = line[:-1], np.diff(line, axis=0)
    share = ((place[:, None] - start) * step).sum(2) / (step**2).sum(1)
    nearest = start + np.clip(share, 0, 1)[:, :, None] * step
    distance = np.sqrt(((place[:, None] - nearest) ** 2).sum(2)).min(1)
    uneven = 0.0008 * (np.sin(0.31 * azimuth) + np.sin(0.83 * azimuth + 1.0) + 0.7 * np.sin(1.9 * azimuth + 2.0))
    return np.where(points[:, 1] > np.interp(azimuth, HAIRLINE[:, 0], HAIRLINE[:, 1]), distance, -distance) + uneven


def hair_strand(points: np.ndarray) -> np.ndarray:
    """A wave [V] in -1..1 whose ridges run along combed hair, from the crown outward with a slight turn."""
    offset = points - np.array([0.012, 0.13, -0.035])
    reach = np.linalg.norm(offset, axis=1)
    around = np.arctan2(offset[:, 0], offset[:, 2])
    wave = 0.6 * np.sin(13 * around + 45 * reach) + 0.4 * np.sin(29 * around - 60 * reach + 1.0)
    return wave * np.clip(np.hypot(offset[:, 0], offset[:, 2]) / 0.07, 0, 1) ** 2


def collar_field(points: np.ndarray) -> np.ndarray:
    """Height above the shirt's neck line: a plane that is lower in front than behind, rounded around the neck."""
    return points[:, 1] + 0.142 + 0.30 * (points[:, 2] + 0.02)
