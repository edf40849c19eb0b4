"""Triangles to samples: projection, normals, binning and the depth-tested fill of one tile.

Four samples a pixel on a rotated grid. Corners are snapped to 1/256 pixel and edges are evaluated
in integers, so two triangles that share an edge share it exactly: no sample is hit twice or missed
(a sample on an edge belongs to the triangle whose top or left edge it is). Depth is kept as
1 / z, which is linear on the screen; greater is nearer, zero is the background.

Camera space is OpenCV's: x right, y down, z forward. Nothing here keeps state between calls.
"""

from typing import NamedTuple

import numba
import numpy as np

TILE = 32
SAMPLES = 4
# Positions of a pixel's samples in 1/256 pixel: no two in one row or column, so that near-vertical
# and near-horizontal edges get all four grey levels.
SAMPLE_X = (96, 224, 32, 160)
SAMPLE_Y = (32, 96, 160, 224)
_UNIT = 256
# Corners beyond this many pixels from the origin drop their triangle: edge values then fit 63 bits.
_FAR = 2.0**21
# Triangles up to this size in pixels have edge values that fit 31 bits anywhere in a tile they touch.
_SMALL = 96
# A triangle that touches more tiles than this goes to one common list, so that lists stay bounded.
_MANY_TILES = 16
# The fill walks a row in steps of this many pixels: 16 samples, one or two vector registers.
_STEP = 4
_LANE_X = np.array([_UNIT * (k // SAMPLES) + SAMPLE_X[k % SAMPLES] for k in range(_STEP * SAMPLES)], np.int32)
_LANE_Y = np.array([SAMPLE_Y[k % SAMPLES] for k in range(_STEP * SAMPLES)], np.int32)


class Frame(NamedTuple):
    """What one frame computes from V vertices and F faces before the tiles are drawn.

    camera: [V,3] float32 in camera space.
    screen: [V,2] int32 in 1/256 pixel.
    nearness: [V] float32, 1 / z; zero where the vertex cannot be drawn.
    normals: [V,3] float32 unit normals in camera space.
    face_normals: [F,4] float32, unit normal in camera space and twice the face's area.
    boxes: [F,4] int32, first and last column, first and last row of pixels a face may touch.
    """

    camera: np.ndarray
    screen: np.ndarray
    nearness: np.ndarray
    normals: np.ndarray
    face_normals: np.ndarray
    boxes: np.ndarray


def new_frame(vertices: int, faces: int) -> Frame:
    """Return room for a frame of so many vertices and faces."""
    return Frame(
        np.zeros((vertices, 3), np.float32),
        np.zeros((vertices, 2), np.int32),
        np.zeros(vertices, np.float32),
        np.zeros((vertices, 3), np.float32),
        np.zeros((faces, 4), np.float32),
        np.zeros((faces, 4), np.int32),
    )


@numba.njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def project(vertices, rotation, translation, intrinsics, near, frame):
    """Move vertices [V,3] to camera space and to the screen.

    Writes `frame.camera`, `frame.screen` and `frame.nearness`, which is zero for vertices that cannot
    be drawn: not finite, nearer than `near`, or far outside the picture.
    """
    camera, screen, nearness = frame.camera, frame.screen, frame.nearness
    fx, fy = intrinsics[0, 0], intrinsics[1, 1]
    skew, cx, cy = intrinsics[0, 1], intrinsics[0, 2], intrinsics[1, 2]
    for v in numba.prange(len(vertices)):
        a, b, c = np.float64(vertices[v, 0]), np.float64(vertices[v, 1]), np.float64(vertices[v, 2])
        x = rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c + translation[0]
        y = rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c + translation[1]
        z = rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c + translation[2]
        camera[v, 0], camera[v, 1], camera[v, 2] = x, y, z
        nearness[v] = 0.0
        if z > near:
            u = (fx * x + skew * y) / z + cx
            w = fy * y / z + cy
            if abs(u) < _FAR and abs(w) < _FAR:
                screen[v, 0] = np.int32(np.floor(u * _UNIT + 0.5))
                screen[v, 1] = np.int32(np.floor(w * _UNIT + 0.5))
                nearness[v] = 1.0 / z


@numba.njit(cache=True, nogil=True, parallel=True, error_model="numpy")
def find_normals(faces, first_face, face_of, frame):
    """Write `frame.face_normals` (zero where not finite) and `frame.normals`.

    The normal of vertex v is the unit sum over the faces `face_of[first_face[v]:first_face[v + 1]]`,
    so that larger faces weigh more.
    """
    camera, face_normals, normals = frame.camera, frame.face_normals, frame.normals
    for f in numba.prange(len(faces)):
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = camera[j, 0] - camera[i, 0], camera[j, 1] - camera[i, 1], camera[j, 2] - camera[i, 2]
        bx, by, bz = camera[k, 0] - camera[i, 0], camera[k, 1] - camera[i, 1], camera[k, 2] - camera[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        area = np.sqrt(nx * nx + ny * ny + nz * nz)
        scale = np.float32(1) / area if 0 < area < 1e30 else np.float32(0)
        face_normals[f, 0], face_normals[f, 1], face_normals[f, 2] = nx * scale, ny * scale, nz * scale
        face_normals[f, 3] = area if scale > 0 else np.float32(0)
    for v in numba.prange(len(normals)):
        sx = sy = sz = np.float32(0)
        for at in range(first_face[v], first_face[v + 1]):
            f = face_of[at]
            area = face_normals[f, 3]
            sx += area * face_normals[f, 0]
            sy += area * face_normals[f, 1]
            sz += area * face_normals[f, 2]
        length = np.sqrt(sx * sx + sy * sy + sz * sz)
        scale = np.float32(1) / length if length > 0 else np.float32(0)
        normals[v, 0], normals[v, 1], normals[v, 2] = sx * scale, sy * scale, sz * scale


@numba.njit(cache=True, nogil=True)
def corner_area(faces, screen, f):
    """Return twice the signed area of face f in 1/65536 pixel; negative for faces seen from outside."""
    i, j, k = np.uint64(faces[f, 0]), np.uint64(faces[f, 1]), np.uint64(faces[f, 2])
    ax, ay = np.int64(screen[i, 0]), np.int64(screen[i, 1])
    return (screen[j, 0] - ax) * (screen[k, 1] - ay) - (screen[j, 1] - ay) * (screen[k, 0] - ax)


@numba.njit(cache=True, nogil=True, parallel=True)
def find_boxes(faces, two_sided, width, height, frame):
    """Write `frame.boxes` for a picture of width x height pixels.

    The first column is greater than the last where nothing can be drawn: outside the picture, a
    corner without nearness, no area, or seen from behind and not `two_sided` [F] bool.
    """
    screen, nearness, boxes = frame.screen, frame.nearness, frame.boxes
    for f in numba.prange(len(faces)):
        boxes[f, 0], boxes[f, 1] = 1, 0
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        if nearness[i] > 0 and nearness[j] > 0 and nearness[k] > 0:
            area = corner_area(faces, screen, f)
            if area < 0 or (area > 0 and two_sided[f]):
                # The outermost samples of a pixel lie 32 units inside its border.
                left = max((min(screen[i, 0], screen[j, 0], screen[k, 0]) + 31) >> 8, 0)
                right = min((max(screen[i, 0], screen[j, 0], screen[k, 0]) - 32) >> 8, width - 1)
                top = max((min(screen[i, 1], screen[j, 1], screen[k, 1]) + 31) >> 8, 0)
                bottom = min((max(screen[i, 1], screen[j, 1], screen[k, 1]) - 32) >> 8, height - 1)
                if left <= right and top <= bottom:
                    boxes[f, 0], boxes[f, 1], boxes[f, 2], boxes[f, 3] = left, right, top, bottom


@numba.njit(cache=True, nogil=True)
def bin_faces(boxes, columns, rows):
    """Sort faces into tiles.

    Returns `(first [tiles + 1], members, common)`: tile i holds `members[first[i]:first[i + 1]]`, and
    every tile also holds the large faces of `common`. Ids ascend in each list.
    """
    first = np.zeros(columns * rows + 1, np.int64)
    common = np.empty(len(boxes), np.int32)
    commons = 0
    for f in range(len(boxes)):
        if boxes[f, 0] <= boxes[f, 1]:
            left, right, top, bottom = (
                boxes[f, 0] // TILE,
                boxes[f, 1] // TILE,
                boxes[f, 2] // TILE,
                boxes[f, 3] // TILE,
            )
            if (right - left + 1) * (bottom - top + 1) > _MANY_TILES:
                common[commons] = f
                commons += 1
            else:
                for y in range(top, bottom + 1):
                    for x in range(left, right + 1):
                        first[y * columns + x + 1] += 1
    for i in range(columns * rows):
        first[i + 1] += first[i]
    members = np.empty(first[-1], np.int32)
    at = first[:-1].copy()
    for f in range(len(boxes)):
        if boxes[f, 0] <= boxes[f, 1]:
            left, right, top, bottom = (
                boxes[f, 0] // TILE,
                boxes[f, 1] // TILE,
                boxes[f, 2] // TILE,
                boxes[f, 3] // TILE,
            )
            if (right - left + 1) * (bottom - top + 1) <= _MANY_TILES:
                for y in range(top, bottom + 1):
                    for x in range(left, right + 1):
                        members[at[y * columns + x]] = f
                        at[y * columns + x] += 1
    return first, members, common[:commons]


@numba.njit(cache=True, nogil=True)
def corners(faces, screen, f, left, top):
    """Return the corners of face f, ordered so that its screen area is positive.

    `(i, j, k, ax, ay, bx, by, cx, cy, area)`: uint64 vertex ids, int64 positions in 1/256 pixel from the
    pixel (left, top), and twice the area.
    """
    f = np.uint64(f)
    i, j, k = np.uint64(faces[f, 0]), np.uint64(faces[f, 1]), np.uint64(faces[f, 2])
    area = corner_area(faces, screen, f)
    if area < 0:
        j, k = k, j
        area = -area
    ox, oy = np.int64(left) * _UNIT, np.int64(top) * _UNIT
    return (
        i,
        j,
        k,
        screen[i, 0] - ox,
        screen[i, 1] - oy,
        screen[j, 0] - ox,
        screen[j, 1] - oy,
        screen[k, 0] - ox,
        screen[k, 1] - oy,
        area,
    )


@numba.njit(cache=True, nogil=True)
def _least(dx, dy):
    """Return the least edge value that counts as inside: 0 on top and left edges, 1 on the others."""
    return np.int32(0) if dy < 0 or (dy == 0 and dx > 0) else np.int32(1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def fill_face(faces, frame, f, left, top, depth, owner):
    """Draw face f into the tile at pixel (left, top).

    depth: [TILE * TILE * SAMPLES] float32, 1 / z of what is there; owner: the same of int32 face ids.
    """
    screen, nearness, boxes = frame.screen, frame.nearness, frame.boxes
    x0, x1 = max(boxes[f, 0] - left, 0), min(boxes[f, 1] - left, TILE - 1)
    y0, y1 = max(boxes[f, 2] - top, 0), min(boxes[f, 3] - top, TILE - 1)
    if x0 > x1 or y0 > y1:
        return
    i, j, k, ax, ay, bx, by, cx, cy, area = corners(faces, screen, f, left, top)
    # Edge value at p of the side from q to r: (r - q) x (p - q), positive inside; e0 is opposite to a.
    dx0, dy0, dx1, dy1, dx2, dy2 = cx - bx, cy - by, ax - cx, ay - cy, bx - ax, by - ay
    c0, c1, c2 = dy0 * bx - dx0 * by, dy1 * cx - dx1 * cy, dy2 * ax - dx2 * ay
    least0, least1, least2 = _least(dx0, dy0), _least(dx1, dy1), _least(dx2, dy2)
    # Nearness is a plane over the tile: at its corner, then a step of one unit to the right and down.
    wc = np.float64(nearness[k])
    ga, gb = (nearness[i] - wc) / area, (nearness[j] - wc) / area
    w0, wx, wy = wc + c0 * ga + c1 * gb, -(dy0 * ga + dy1 * gb), dx0 * ga + dx1 * gb
    if max(abs(dx0), abs(dx1), abs(dx2), abs(dy0), abs(dy1), abs(dy2)) > _SMALL * _UNIT:
        fate0, c0, dx0, dy0 = _across(c0, dx0, dy0, least0)
        fate1, c1, dx1, dy1 = _across(c1, dx1, dy1, least1)
        fate2, c2, dx2, dy2 = _across(c2, dx2, dy2, least2)
        if min(fate0, fate1, fate2) < 0:
            return
        if max(fate0, fate1, fate2) > 0:
            least = (least0, least1, least2)
            sides = ((c0, dx0, dy0), (c1, dx1, dy1), (c2, dx2, dy2))
            _fill_slowly(sides, least, (w0, wx, wy), (x0, x1, y0, y1), np.int32(f), depth, owner)
            return
    n0, n1, n2 = np.int32(-dy0), np.int32(-dy1), np.int32(-dy2)
    m0, m1, m2 = np.int32(dx0), np.int32(dx1), np.int32(dx2)
    sx, sy, face = np.float32(wx), np.float32(wy), np.int32(f)
    for y in range(y0, y1 + 1):
        py = y * _UNIT
        for x in range(x0 - x0 % _STEP, x1 + 1, _STEP):
            px = x * _UNIT
            b0 = np.int32(c0 - dy0 * px + dx0 * py)
            b1 = np.int32(c1 - dy1 * px + dx1 * py)
            b2 = np.int32(c2 - dy2 * px + dx2 * py)
            base = np.float32(w0 + wx * px + wy * py)
            at = (y * TILE + x) * SAMPLES
            near = depth[at : at + _STEP * SAMPLES]
            mine = owner[at : at + _STEP * SAMPLES]
            # Casts keep the lanes at 32 bits (numba widens sums of int32); selects in place of
            # branches let the compiler use vectors.
            for lane in range(_STEP * SAMPLES):
                e0 = np.int32(b0 + np.int32(np.int32(n0 * _LANE_X[lane]) + np.int32(m0 * _LANE_Y[lane])))
                e1 = np.int32(b1 + np.int32(np.int32(n1 * _LANE_X[lane]) + np.int32(m1 * _LANE_Y[lane])))
                e2 = np.int32(b2 + np.int32(np.int32(n2 * _LANE_X[lane]) + np.int32(m2 * _LANE_Y[lane])))
                w = base + sx * np.float32(_LANE_X[lane]) + sy * np.float32(_LANE_Y[lane])
                hit = (e0 >= least0) & (e1 >= least1) & (e2 >= least2) & (w > near[lane])
                near[lane] = w if hit else near[lane]
                mine[lane] = face if hit else mine[lane]


@numba.njit(cache=True, nogil=True)
def _across(c, dx, dy, least):
    """Return how a long side with edge value c - dy x + dx y lies to a tile, and what to test it by.

    `(fate, c, dx, dy)`; fate -1: the tile is outside; 0: the values returned fit 31 bits anywhere in
    the tile (where all of it is inside, a constant); 1: they do not.
    """
    span = TILE * _UNIT
    if c + span * (max(-dy, 0) + max(dx, 0)) < least:
        return -1, c, dx, dy
    if c + span * (min(-dy, 0) + min(dx, 0)) >= least:
        return 0, np.int64(1), np.int64(0), np.int64(0)
    return (1 if abs(dx) + abs(dy) > 2**17 else 0), c, dx, dy


@numba.njit(cache=True, nogil=True)
def _fill_slowly(sides, least, plane, box, face, depth, owner):
    """Draw a face with sides of many hundred pixels: as `fill_face`, in 64 bits."""
    for y in range(box[2], box[3] + 1):
        for x in range(box[0], box[1] + 1):
            for s in range(SAMPLES):
                px, py = x * _UNIT + SAMPLE_X[s], y * _UNIT + SAMPLE_Y[s]
                inside = True
                for side in range(3):
                    c, dx, dy = sides[side]
                    inside &= c - dy * px + dx * py >= least[side]
                at = (y * TILE + x) * SAMPLES + s
                w = np.float32(plane[0] + plane[1] * px + plane[2] * py)
                if inside and w > depth[at]:
                    depth[at] = w
                    owner[at] = face


@numba.njit(cache=True, nogil=True)
def fill_tile(faces, layers, layer, frame, common, members, left, top, depth, owner):
    """Draw the faces of one layer (`layers` [F] uint8) into the tile at pixel (left, top), as `fill_face`."""
    for f in common:
        if layers[f] == layer:
            fill_face(faces, frame, f, left, top, depth, owner)
    for f in members:
        if layers[f] == layer:
            fill_face(faces, frame, f, left, top, depth, owner)
