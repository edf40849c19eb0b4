"""The 68 landmarks of the demo head, found on a front view of it."""

import numpy as np
from bake_build import PART, Head
from bake_light import FrontView
from bake_regions import BROW_LINE
from bake_rig import Rig

LOW, HIGH, STEP = (-0.09, -0.12), (0.09, 0.09), 0.0003


def landmarks(head: Head, rig: Rig) -> dict[str, np.ndarray]:
    """Triangles [68] and barycentric weights [68, 3] in iBUG-68 order."""
    whole = FrontView(head.points, head.triangles, LOW, HIGH, STEP)
    body = np.flatnonzero(head.part[head.triangles[:, 0]] == PART["body"])
    skin = FrontView(head.points, head.triangles[body], LOW, HIGH, STEP)
    places = _jaw_line(head, rig)
    hits = [_at_vertex(head, vertex) for vertex in places]
    for x, y in [*_brows(), *_nose(skin), *_eyes(head, whole, skin), *_mouth(head, skin)]:
        face, weights = skin.hit(x, y)
        hits.append((int(body[face]), weights))
    return {
        "lmk68_faces": np.array([face for face, _ in hits], np.int32),
        "lmk68_bary": np.array([weights for _, weights in hits], np.float32),
    }


def _at_vertex(head: Head, vertex: int) -> tuple[int, np.ndarray]:
    face = int(np.flatnonzero((head.triangles == vertex).any(1))[0])
    return face, (head.triangles[face] == vertex).astype(float)


def _jaw_line(head: Head, rig: Rig) -> list[int]:
    """17 vertices on the outline of the face from the right ear over the chin to the left ear."""
    turning = 1 - rig.weights[:, 0]
    own = head.part_vertices("body") & ~head.cloth & (head.scalars["ears"] < 0.05) & (turning > 0.97)
    own &= (head.points[:, 2] > 0.022) & (head.points[:, 1] < 0.03) & (head.scalars["inside-mouth"] < 0.2)
    chosen = np.flatnonzero(own)
    flat = head.points[chosen]
    directions = [(np.cos(a), np.sin(a), -0.5 * np.sin(a)) for a in np.radians(np.linspace(4, -90, 300))]
    hull = [chosen[np.argmax(flat @ direction)] for direction in directions]
    outline = np.array([v for i, v in enumerate(hull) if i == 0 or v != hull[i - 1]])
    points = head.points[outline].copy()
    points[-1, 0] = 0
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    stops = np.linspace(0, along[-1], 9)
    wanted = np.stack([np.interp(stops, along, points[:, i]) for i in range(3)], axis=1)
    sides = []
    for sign in (-1, 1):
        distance = ((flat[:, None] - wanted[None] * [sign, 1, 1]) ** 2).sum(2)
        sides.append([int(chosen[i]) for i in np.argmin(distance, axis=0)])
    return [*sides[0], *sides[1][7::-1]]


def _brows() -> list[tuple[float, float]]:
    stops = np.linspace(BROW_LINE[0, 0] + 0.001, BROW_LINE[-1, 0] - 0.001, 5)
    heights = np.interp(stops, BROW_LINE[:, 0], BROW_LINE[:, 1])
    left = list(zip(stops.tolist(), heights.tolist(), strict=True))
    return [(-x, y) for x, y in reversed(left)] + left


def _nose(skin: FrontView) -> list[tuple[float, float]]:
    """Four points down the bridge, the last at the tip, and five below it, the outer two at the nostrils' feet."""
    column = skin.face.shape[1] // 2
    ys = skin.low[1] + (np.arange(skin.depth.shape[0]) + 0.5) * skin.step
    profile = skin.depth[:, column]
    tip = ys[np.argmax(np.where((ys > -0.05) & (ys < 0.02), profile, -np.inf))]
    below = (ys < tip - 0.004) & (ys > tip - 0.022)
    lost = (profile[below].max() - profile[below]) / np.ptp(profile[below])
    base = ys[below][lost > 0.8].max()
    bridge = [(1e-5, y) for y in np.linspace(0.024, tip, 4)]
    row = int((base + 0.005 - skin.low[1]) / skin.step)
    xs = skin.low[0] + (np.arange(skin.depth.shape[1]) + 0.5) * skin.step
    right = (xs > -0.03) & (xs < -0.008)
    wing = xs[right][np.argmax(np.gradient(skin.depth[row, right], skin.step))]
    places = [(wing, 0.004), (wing / 2, 0.0015), (1e-5, 0.0), (-wing / 2, 0.0015), (-wing, 0.004)]
    return bridge + [(x, base + lift) for x, lift in places]


def _eyes(head: Head, whole: FrontView, skin: FrontView) -> list[tuple[float, float]]:
    """Six points per eye around its visible part: outer corner, upper lid twice, inner corner, lower lid twice.

    On the lids: just outside of the visible eye the skin may be the socket behind it.
    """
    result = []
    part = np.where(whole.face >= 0, head.part[head.triangles[whole.face, 0]], -1)
    for name in ("eye_right", "eye_left"):
        rows, columns = np.nonzero(part == PART[name])
        low, high = columns.min(), columns.max()

        def rim(share, top, rows=rows, columns=columns, low=low, high=high):
            column = round(low + share * (high - low))
            inside = rows[columns == column]
            edge, away = (inside.max(), 1) if top else (inside.min(), -1)
            eye = whole.depth[edge, column]
            beyond = edge + away * np.arange(1, 20)
            lid = beyond[skin.depth[beyond, column] > eye - 0.003][0]
            return tuple(whole.position(column, lid))

        first = tuple(whole.position(low - 1.5, np.mean(rows[columns == low])))
        last = tuple(whole.position(high + 1.5, np.mean(rows[columns == high])))
        ring = [first, rim(0.33, True), rim(0.67, True), last, rim(0.67, False), rim(0.33, False)]
        result += ring
    return result


def _mouth(head: Head, skin: FrontView) -> list[tuple[float, float]]:
    """Twelve points around the lips, from the right corner over the upper lip, and eight along their seam."""
    body = head.triangles[head.part[head.triangles[:, 0]] == PART["body"]]
    lips = head.scalars["lips"][body].mean(1) > 0.5
    lower = head.actions["jawOpen"][body][:, :, 1].mean(1) < -0.01
    seen = np.where(skin.face >= 0, lips[skin.face], False)
    below = np.where(skin.face >= 0, lower[skin.face], False)
    rows, columns = np.nonzero(seen)
    low, high = columns.min(), columns.max()

    def at(share: float, edge: str) -> tuple[float, float]:
        column = round(low + share * (high - low))
        inside = rows[columns == column]
        seam = inside[below[inside, column]].max() if below[inside, column].any() else inside.mean()
        row = {"top": inside.max() - 1, "bottom": inside.min() + 1, "over": seam + 2, "under": seam - 1}[edge]
        return tuple(skin.position(column, row))

    def corner(share: float, end: int) -> tuple[float, float]:
        first = round(rows[np.abs(columns - end) <= 3].mean())
        column = round(low + share * (high - low))
        front = [r for r in range(first - 12, first + 13) if skin.depth[r, column] > skin.depth[first, end] - 0.0015]
        return tuple(skin.position(column, min(front, key=lambda r: abs(r - first))))

    outer = [corner(0.01, low)] + [at(x, "top") for x in (0.19, 0.37, 0.5, 0.63, 0.81)]
    outer += [corner(0.99, high)] + [at(x, "bottom") for x in (0.81, 0.63, 0.5, 0.37, 0.19)]
    inner = [corner(0.07, low)] + [at(x, "over") for x in (0.35, 0.5, 0.65)]
    inner += [corner(0.93, high)] + [at(x, "under") for x in (0.65, 0.5, 0.35)]
    return outer + inner
