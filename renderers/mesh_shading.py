"""From samples to colour: what one tile shades, how, and how it lands in the picture.

A pixel whose four samples see one smooth surface is shaded once; where they see different parts
(a silhouette, a lid over an eye, a lip over teeth), each part is shaded once and weighs as many
quarters as it has samples. What is to be shaded collects in batches, laid out so that the loop over
a batch runs in vector registers. Light is linear until the end of that loop; pixels mix as sRGB.
"""

from typing import NamedTuple

import numba
import numpy as np

from marotte.renderers.mesh_patterns import (
    BATCH,
    BLUE,
    COVER,
    FIBRE,
    GREEN,
    IRIS,
    NX,
    NY,
    NZ,
    OPEN,
    PLAIN,
    RED,
    ROUGH,
    ROWS,
    SCATTER,
    SPECULAR,
    VX,
    VY,
    paint_eye,
    paint_hair,
)
from marotte.renderers.mesh_raster import SAMPLE_X, SAMPLE_Y, SAMPLES, TILE, corners, fill_tile

# Unsigned constants: indices made of them need no check for a negative one.
_ONE, _TWO, _THREE, _FOUR = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(SAMPLES)
_SIDE, _UNIT, _HALF = np.uint64(TILE), np.uint64(256), np.uint64(128)
_TWELFTHS = np.array([0, 12, 6, 4, 3], np.int64)  # one n-th of twelve
SURFACE = 8  # albedo (3, linear), ambient openness, scatter, specular, roughness, fibre

OPAQUE, VEIL = 0, 1


class Mesh(NamedTuple):
    """What a head keeps from frame to frame; V vertices, F faces, M materials.

    faces: [F,3] int32. parts: [F] uint8 material ids. layers: [F] uint8, OPAQUE or VEIL.
    surface: [V,8] float32: linear albedo, ambient openness, scatter, specular, roughness, fibre.
    local: [V,3] float32: of an eye, the place in the ball over its radius, z along the gaze; of hair,
        the place at rest from the middle of the hair.
    patterns: [M] uint8, PLAIN, IRIS or STRANDS.
    cover: [V] float32, opacity of a veil.
    iris: [3] float32, linear colour. iris_radius: over the eyeball's.
    """

    faces: np.ndarray
    parts: np.ndarray
    layers: np.ndarray
    surface: np.ndarray
    local: np.ndarray
    patterns: np.ndarray
    cover: np.ndarray
    iris: np.ndarray
    iris_radius: float


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _interpolate(mesh, frame, view, lights, layer, left, top, pieces, start, count, batch):
    """Fill a batch with what the faces of `pieces[start : start + count]` look like at their points.

    view: [5] float32: 1 / fx, 1 / fy, cx, cy, skew / (fx fy).
    """
    normals, nearness, surface, local, cover = frame.normals, frame.nearness, mesh.surface, mesh.local, mesh.cover
    # An eye mirrors the lamp nearer to its middle than a ball would: the cornea bulges.
    catch = np.array([lights[0, 0], lights[0, 1], lights[0, 2] - 2.4])
    catch /= np.sqrt(catch[0] ** 2 + catch[1] ** 2 + catch[2] ** 2)
    for n in range(count):
        at = np.uint64(n)
        f, px, py = pieces[start + n, 0], pieces[start + n, 1], pieces[start + n, 2]
        i, j, k, ax, ay, bx, by, cx, cy, _ = corners(mesh.faces, frame.screen, f, left, top)
        w0 = np.float32((cx - bx) * (py - by) - (cy - by) * (px - bx)) * nearness[i]
        w1 = np.float32((ax - cx) * (py - cy) - (ay - cy) * (px - cx)) * nearness[j]
        w2 = np.float32((bx - ax) * (py - ay) - (by - ay) * (px - ax)) * nearness[k]
        scale = np.float32(1) / (w0 + w1 + w2)
        w0, w1, w2 = w0 * scale, w1 * scale, w2 * scale
        # `corners` keeps the order only of faces seen from behind: their normals turn round.
        side = np.float32(-1) if j == np.uint64(mesh.faces[f, 1]) else np.float32(1)
        n0, n1, n2 = side * w0, side * w1, side * w2
        for c in range(3):
            batch[np.uint64(c * BATCH) + at] = n0 * normals[i, c] + n1 * normals[j, c] + n2 * normals[k, c]
        for c in range(SURFACE):
            row = RED + np.uint64(c * BATCH)
            batch[row + at] = w0 * surface[i, c] + w1 * surface[j, c] + w2 * surface[k, c]
        y = np.float32(top + py / 256.0 - view[3])
        batch[VX + at] = np.float32(left + px / 256.0 - view[2]) * view[0] - y * view[4]
        batch[VY + at] = y * view[1]
        batch[COVER + at] = w0 * cover[i] + w1 * cover[j] + w2 * cover[k] if layer == VEIL else np.float32(1)
        pattern = mesh.patterns[mesh.parts[f]]
        if pattern != PLAIN:
            x = w0 * local[i, 0] + w1 * local[j, 0] + w2 * local[k, 0]
            y = w0 * local[i, 1] + w1 * local[j, 1] + w2 * local[k, 1]
            z = w0 * local[i, 2] + w1 * local[j, 2] + w2 * local[k, 2]
            if pattern == IRIS:
                paint_eye(batch, at, x, y, z, catch, mesh.iris, mesh.iris_radius)
            else:
                paint_hair(batch, at, x, z)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _display(light):
    """Return sRGB for linear light: a shoulder from 0.7 on in place of clipping, then the curve to 0.1 / 255."""
    over = max(light - np.float32(0.7), np.float32(0))
    light = min(light, np.float32(0.7)) + over / (np.float32(1) + over * np.float32(1 / 0.3))
    root = np.sqrt(light)
    curve = np.float32(0.833751) * root - np.float32(0.055317) * light - np.float32(0.076904)
    curve += np.float32(0.298110) * np.sqrt(root)
    return np.float32(12.92) * light if light < np.float32(0.0031308) else curve


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _lit(albedo, wrap, key, direct, soft, rise, opening, back, shine, sheen, colours):
    """Return one channel of the light that leaves a point; colours: key, fill, rim, sky, ground."""
    one, none = np.float32(1), np.float32(0)
    lit = max(key + wrap, none) / (one + wrap)
    lit = lit * (one - wrap * (one - lit)) * direct
    # Light that bounces between pale folds keeps them from turning grey.
    ambient = opening / (one - albedo * np.float32(0.8) * (one - opening))
    around = soft * colours[1] + colours[4] + (colours[3] - colours[4]) * rise
    light = lit * colours[0] + around * ambient + back * colours[2]
    return _display(albedo * light + shine * colours[0] + sheen * colours[3])


@numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def shade(batch, count, lights):
    """Replace rows 0..2 of the first `count` entries of a batch by their sRGB colour, 0..1.

    lights: [9,3] float32, see `Lights.seen_from`. One array holds all rows and indices are unsigned:
    the compiler then knows that rows do not overlap and uses vectors.
    """
    one, none, half = np.float32(1), np.float32(0), np.float32(0.5)
    kx, ky, kz = lights[0, 0], lights[0, 1], lights[0, 2]
    fx, fy, fz = lights[2, 0], lights[2, 1], lights[2, 2]
    rx, ry, rz = lights[4, 0], lights[4, 1], lights[4, 2]
    ux, uy, uz = lights[6, 0], lights[6, 1], lights[6, 2]
    reds = (lights[1, 0], lights[3, 0], lights[5, 0], lights[7, 0], lights[8, 0])
    greens = (lights[1, 1], lights[3, 1], lights[5, 1], lights[7, 1], lights[8, 1])
    blues = (lights[1, 2], lights[3, 2], lights[5, 2], lights[7, 2], lights[8, 2])
    for i in range(np.uint64(count)):
        nx, ny, nz = batch[NX + i], batch[NY + i], batch[NZ + i]
        vx, vy = batch[VX + i], batch[VY + i]
        opening = batch[OPEN + i]
        scatter, specular = batch[SCATTER + i], batch[SPECULAR + i]
        rough, fibre = batch[ROUGH + i], batch[FIBRE + i]

        scale = one / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-12))
        nx, ny, nz = nx * scale, ny * scale, nz * scale
        vz = -one / np.sqrt(vx * vx + vy * vy + one)
        vx, vy = vx * vz, vy * vz
        facing = max(nx * vx + ny * vy + nz * vz, none)
        key = nx * kx + ny * ky + nz * kz
        fill = nx * fx + ny * fy + nz * fz
        rim = max(nx * rx + ny * ry + nz * rz, none)
        along = nx * ux + ny * uy + nz * uz
        rise = half + half * along
        graze = one - facing
        graze2 = graze * graze
        # Occlusion dims what comes from all sides; some of the lamps' light it takes too.
        direct = opening * (np.float32(2) - opening)

        # Highlight of the key lamp: a GGX lobe about the half vector, or, on hair, a lobe across the
        # strands, which are taken to run down the surface.
        hx, hy, hz = kx + vx, ky + vy, kz + vz
        scale = one / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-12))
        hx, hy, hz = hx * scale, hy * scale, hz * scale
        tx, ty, tz = ux - nx * along, uy - ny * along, uz - nz * along
        scale = one / np.sqrt(tx * tx + ty * ty + tz * tz + np.float32(1e-4))
        strand = (tx * hx + ty * hy + tz * hz) * scale + np.float32(0.10)
        spread = max(nx * hx + ny * hy + nz * hz, none)
        spread2 = (one - fibre) * spread * spread + fibre * max(one - strand * strand, none)
        tilt = max(vx * hx + vy * hy + vz * hz, none)
        sharp = rough * rough
        sharp2 = sharp * sharp + np.float32(1e-5)
        lobe = spread2 * (sharp2 - one) + one
        lobe = sharp2 / (lobe * lobe) * np.float32(0.25) / (tilt * tilt * (rough + half) + np.float32(0.02))
        bend = one - tilt
        bend2 = bend * bend
        fresnel = specular + (one - specular) * bend2 * bend2 * bend * min(specular * np.float32(20), one)
        shine = lobe * fresnel * max(key, none) * direct
        # What a bright room adds at grazing angles.
        sheen = specular * (np.float32(0.6) + np.float32(7) * graze2 * graze2 * graze) * opening * rise
        back = rim * (np.float32(0.25) + np.float32(0.75) * graze2) * direct
        soft = max(fill + half, none) * np.float32(0.667)
        # Light seeps farther into the shade the longer its wave.
        red, green, blue = scatter * np.float32(0.34), scatter * np.float32(0.19), scatter * np.float32(0.14)
        batch[NX + i] = _lit(batch[RED + i], red, key, direct, soft, rise, opening, back, shine, sheen, reds)
        batch[NY + i] = _lit(batch[GREEN + i], green, key, direct, soft, rise, opening, back, shine, sheen, greens)
        batch[NZ + i] = _lit(batch[BLUE + i], blue, key, direct, soft, rise, opening, back, shine, sheen, blues)


@numba.njit(cache=True, nogil=True)
def _alike(parts, face_normals, f, g, near_f, near_g):
    """Tell whether faces f and g are one smooth surface where a pixel sees both at these 1 / z."""
    f, g = np.uint64(f), np.uint64(g)
    x = face_normals[f, 0] * face_normals[g, 0]
    y = face_normals[f, 1] * face_normals[g, 1]
    z = face_normals[f, 2] * face_normals[g, 2]
    # Without short cuts: the answer is mostly yes, and a wrongly guessed branch costs more.
    return (parts[f] == parts[g]) & (abs(near_f - near_g) < np.float32(0.004) * near_f) & (x + y + z > np.float32(0.77))


@numba.njit(cache=True, nogil=True)
def _sort_pixels(owner, whole, mixed):
    """List the pixels of a tile that show one face, and those that show several or an edge.

    Returns how many each list holds. Without branches: which pixel is which cannot be guessed.
    """
    wholes = mixes = 0
    for p in range(np.uint64(TILE * TILE)):
        at = p * _FOUR
        a, b, c, d = owner[at], owner[at + _ONE], owner[at + _TWO], owner[at + _THREE]
        same = (a == b) & (a == c) & (a == d)
        whole[wholes] = p
        mixed[mixes] = p
        wholes += same & (a >= 0)
        mixes += not same
    return wholes, mixes


@numba.njit(cache=True, nogil=True)
def _centre(owner, p, face):
    """Return the mean of the samples of pixel p that show a face: a point inside it, in 1/256 pixel."""
    own = px = py = np.int64(0)
    for s in range(SAMPLES):
        same = np.int64(owner[p * _FOUR + np.uint64(s)] == face)
        own += same
        px += same * SAMPLE_X[s]
        py += same * SAMPLE_Y[s]
    return px * _TWELFTHS[own] // 12, py * _TWELFTHS[own] // 12


@numba.njit(cache=True, nogil=True)
def _collect(parts, face_normals, depth, owner, lists, pieces):
    """List what the pixels of a tile show and return how many pieces there are.

    lists: [2, TILE * TILE] int32, scratch. pieces: [TILE * TILE * SAMPLES, 5] int32, written: face,
    the point to shade at (two, in 1/256 pixel from the tile's corner), pixel, how many samples.
    """
    wholes, mixes = _sort_pixels(owner, lists[0], lists[1])
    count = wholes
    for n in range(wholes):
        p = np.uint64(lists[0, n])
        pieces[n, 0], pieces[n, 3], pieces[n, 4] = owner[p * _FOUR], p, SAMPLES
        pieces[n, 1], pieces[n, 2] = p % _SIDE * _UNIT + _HALF, p // _SIDE * _UNIT + _HALF
    for n in range(mixes):
        p = np.uint64(lists[1, n])
        at = p * _FOUR
        x, y = np.int64(p % _SIDE * _UNIT), np.int64(p // _SIDE * _UNIT)
        a, b, c, d = owner[at], owner[at + _ONE], owner[at + _TWO], owner[at + _THREE]
        if a | b | c | d >= 0:
            near = depth[at]
            one = _alike(parts, face_normals, a, b, near, depth[at + _ONE])
            two = _alike(parts, face_normals, a, c, near, depth[at + _TWO])
            three = _alike(parts, face_normals, a, d, near, depth[at + _THREE])
            if one & two & three:
                px, py = _centre(owner, p, a)
                pieces[count, 0], pieces[count, 1], pieces[count, 2] = a, x + px, y + py
                pieces[count, 3], pieces[count, 4] = p, SAMPLES
                count += 1
                continue
        done = 0
        for s in range(SAMPLES):
            f, near = owner[at + np.uint64(s)], depth[at + np.uint64(s)]
            if f < 0 or (done >> s) & 1:
                continue
            samples = 0
            for q in range(s, SAMPLES):
                g = owner[at + np.uint64(q)]
                if g < 0 or (done >> q) & 1:
                    continue
                # A face whose normal has no length is not even like itself.
                if g == f or _alike(parts, face_normals, f, g, near, depth[at + np.uint64(q)]):
                    samples += 1
                    done |= 1 << q
            px, py = _centre(owner, p, f)
            pieces[count, 0], pieces[count, 1], pieces[count, 2] = f, x + px, y + py
            pieces[count, 3], pieces[count, 4] = p, samples
            count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _shade_layer(mesh, frame, view, lights, left, top, depth, owner, layer, lists, pieces, batch, sums):
    """Shade what `owner` and `depth` hold of a tile and lay it over `sums` [TILE * TILE, 4], premultiplied.

    What is opaque adds its coverage; a veil covers what is there by its opacity.
    """
    pieces_in_all = _collect(mesh.parts, frame.face_normals, depth, owner, lists, pieces)
    for start in range(0, pieces_in_all, BATCH):
        count = min(pieces_in_all - start, BATCH)
        _interpolate(mesh, frame, view, lights, layer, left, top, pieces, start, count, batch)
        shade(batch, count, lights)
        for n in range(count):
            at = np.uint64(pieces[start + n, 3])
            weight = np.float32(pieces[start + n, 4]) * np.float32(1 / SAMPLES)
            if layer == VEIL:
                weight *= batch[COVER + np.uint64(n)]
                for c in range(4):
                    sums[at, c] *= np.float32(1) - weight
            for c in range(3):
                sums[at, c] += weight * batch[np.uint64(c * BATCH) + np.uint64(n)]
            sums[at, 3] += weight


@numba.njit(cache=True, nogil=True)
def _byte(x):
    return np.uint8(np.floor(min(max(x, np.float32(0)), np.float32(1)) * np.float32(255) + np.float32(0.5)))


@numba.njit(cache=True, nogil=True)
def _store(sums, background, left, top, pixels, floats):
    """Write a tile's sums to the pictures, leaving pixels alone that nothing covers."""
    height, width, channels = pixels.shape
    for y in range(top, min(top + TILE, height)):
        for x in range(left, min(left + TILE, width)):
            at = (y - top) * TILE + x - left
            alpha = sums[at, 3]
            if alpha > 0:
                if len(floats):
                    for c in range(3):
                        floats[y, x, c] = sums[at, c] / alpha
                    floats[y, x, 3] = alpha
                elif channels == 4:
                    for c in range(3):
                        pixels[y, x, c] = _byte(sums[at, c] / alpha)
                    pixels[y, x, 3] = _byte(alpha)
                else:
                    for c in range(3):
                        pixels[y, x, c] = _byte(sums[at, c] + (1 - alpha) * background[y, x, c])


@numba.njit(cache=True, nogil=True, parallel=True)
def draw_tiles(mesh, frame, first, members, common, columns, view, lights, background, pixels, floats):
    """Draw, shade and store every tile; tiles share nothing, so their order does not matter.

    first, members, common: see `bin_faces`, for `columns` tiles a row. pixels: [H,W,C] uint8 that
    already hold the background. floats: [H,W,4], written in place of pixels unless empty.
    """
    tiles = len(first) - 1
    for n in numba.prange(tiles):
        # Neighbours are about equally full: dealing tiles out with a stride evens the threads' work.
        tile = np.int64(n) * 7919 % tiles if tiles % 7919 else np.int64(n)
        mine = members[first[tile] : first[tile + 1]]
        if len(mine) == 0 and len(common) == 0:
            continue
        left, top = tile % columns * TILE, tile // columns * TILE
        depth = np.zeros(TILE * TILE * SAMPLES, np.float32)
        owner = np.empty(TILE * TILE * SAMPLES, np.int32)
        lists = np.empty((2, TILE * TILE), np.int32)
        pieces = np.empty((TILE * TILE * SAMPLES, 5), np.int32)
        batch = np.empty(ROWS * BATCH, np.float32)
        sums = np.zeros((TILE * TILE, 4), np.float32)
        for layer in (OPAQUE, VEIL):
            owner[:] = -1
            fill_tile(mesh.faces, mesh.layers, layer, frame, common, mine, left, top, depth, owner)
            _shade_layer(mesh, frame, view, lights, left, top, depth, owner, layer, lists, pieces, batch, sums)
        _store(sums, background, left, top, pixels, floats)
