# mypy: disable-error-code="no-untyped-def"
"""Triton kernels that put Gaussians on the screen: sections 3 (steps 1 to 11) and 4 of the rasterizer reference.

Float32 in the published order of evaluation, with rounded divisions and roots and without fused multiply-adds, so
that sort keys, radii and tiles are the published ones. Whole numbers are not specialised, here and in the other
kernels: no batch waits for a kernel to be compiled once more because a count happens to be a multiple of 16.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from marotte.renderers.rasterizers import rules
from marotte.renderers.rasterizers.batch import GaussianBatch, Views
from marotte.renderers.rasterizers.triton_bins import ROW, TILE, Screen, meets

NEAR = tl.constexpr(float(rules.NEAR))
W_EPSILON = tl.constexpr(float(rules.W_EPSILON))
FRUSTUM_MARGIN = tl.constexpr(float(rules.FRUSTUM_MARGIN))
LOW_PASS = tl.constexpr(float(rules.LOW_PASS))
EIGEN_FLOOR = tl.constexpr(float(rules.EIGEN_FLOOR))
RADIUS_SIGMAS = tl.constexpr(float(rules.RADIUS_SIGMAS))
ALPHA_MIN = tl.constexpr(float(rules.ALPHA_MIN))
SH0, SH1, SH_OFFSET = (tl.constexpr(float(n)) for n in (rules.SH0, rules.SH1, rules.SH_OFFSET))
SH20, SH21, SH22, SH23, SH24 = (tl.constexpr(float(n)) for n in rules.SH2)
SH30, SH31, SH32, SH33, SH34, SH35, SH36 = (tl.constexpr(float(n)) for n in rules.SH3)

LARGEST = tl.constexpr(3.4028234663852886e38)
# Sorts behind every depth.
UNSEEN = tl.constexpr(0x7FFFFFFF)
# Rounding in the conic and in the exponent grows with xx yy / det (they cancel in thin Gaussians), in the distance
# with the size of the picture: the ellipse is widened by that much, and not used where hardly a digit is left.
SLACK, SLACK_THIN, SLACK_PIXELS, THINNEST = (tl.constexpr(n) for n in (1e-3, 2e-6, 0.02, 1e-5))
_BLOCK = 128


@triton.jit(do_not_specialize="count width height opacity_step shape_step scale_step usable_step".split())
def project_kernel(
    means,
    opacities,
    shapes,
    scales,
    usable,
    view,
    projection,
    tangents,
    rows,
    rects,
    keys,
    hits,
    count,
    width,
    height,
    modifier,
    opacity_step,
    shape_step,
    scale_step,
    usable_step,
    COVARIANCES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the `Screen`: rows, rects, keys (the bits of the depth) and hits.

    shapes: covariances [., N, 6] if COVARIANCES, else quaternions [., N, 4] with scales [., N, 3]. Steps: from one
    picture to the next, in elements; 0 where all share one. usable: 0 where a colour is not finite.
    """
    picture = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = n < count
    view += picture * 16
    projection += picture * 16
    tan_x, tan_y = tl.load(tangents + picture * 2), tl.load(tangents + picture * 2 + 1)
    wide, high = width.to(tl.float32), height.to(tl.float32)
    focal_x, focal_y = tl.div_rn(wide, 2.0 * tan_x), tl.div_rn(high, 2.0 * tan_y)

    mean = means + (picture * count + n) * 3
    x, y, z = (
        tl.load(mean, mask=here, other=0.0),
        tl.load(mean + 1, mask=here, other=0.0),
        tl.load(mean + 2, mask=here, other=0.0),
    )
    opacity = tl.load(opacities + picture * opacity_step + n, mask=here, other=0.0)
    depth = _row(view, 2, x, y, z)
    drawn = here & (depth > NEAR) & (tl.load(usable + picture * usable_step + n, mask=here, other=0) != 0)
    drawn = drawn & (opacity >= ALPHA_MIN) & (opacity <= LARGEST)

    # Steps 2 and 8; the last line of a position is in float64, rounded once.
    inverse = tl.div_rn(tl.full((BLOCK,), 1.0, tl.float32), _row(projection, 3, x, y, z) + W_EPSILON)
    device_x = (_row(projection, 0, x, y, z) * inverse).to(tl.float64)
    device_y = (_row(projection, 1, x, y, z) * inverse).to(tl.float64)
    px = (((device_x + 1.0) * width.to(tl.float64) - 1.0) * 0.5).to(tl.float32)
    py = (((device_y + 1.0) * height.to(tl.float64) - 1.0) * 0.5).to(tl.float32)

    # Steps 3 to 6.
    if COVARIANCES:
        shape = shapes + picture * shape_step + n * 6
        xx, xy, xz = (
            tl.load(shape, mask=here, other=0.0),
            tl.load(shape + 1, mask=here, other=0.0),
            tl.load(shape + 2, mask=here, other=0.0),
        )
        yy, yz, zz = (
            tl.load(shape + 3, mask=here, other=0.0),
            tl.load(shape + 4, mask=here, other=0.0),
            tl.load(shape + 5, mask=here, other=0.0),
        )
    else:
        shape = shapes + picture * shape_step + n * 4
        r, i = tl.load(shape, mask=here, other=0.0), tl.load(shape + 1, mask=here, other=0.0)
        j, k = tl.load(shape + 2, mask=here, other=0.0), tl.load(shape + 3, mask=here, other=0.0)
        scale = scales + picture * scale_step + n * 3
        sx = modifier * tl.load(scale, mask=here, other=0.0)
        sy = modifier * tl.load(scale + 1, mask=here, other=0.0)
        sz = modifier * tl.load(scale + 2, mask=here, other=0.0)
        ax, ay, az = (1.0 - 2.0 * (j * j + k * k)) * sx, 2.0 * (i * j - r * k) * sy, 2.0 * (i * k + r * j) * sz
        bx, by, bz = 2.0 * (i * j + r * k) * sx, (1.0 - 2.0 * (i * i + k * k)) * sy, 2.0 * (j * k - r * i) * sz
        cx, cy, cz = 2.0 * (i * k - r * j) * sx, 2.0 * (j * k + r * i) * sy, (1.0 - 2.0 * (i * i + j * j)) * sz
        xx, xy, xz = _dot(ax, ay, az, ax, ay, az), _dot(ax, ay, az, bx, by, bz), _dot(ax, ay, az, cx, cy, cz)
        yy, yz, zz = _dot(bx, by, bz, bx, by, bz), _dot(bx, by, bz, cx, cy, cz), _dot(cx, cy, cz, cx, cy, cz)
    d0, d1, d2 = _jacobian(view, 0, _row(view, 0, x, y, z), depth, tan_x, focal_x)
    e0, e1, e2 = _jacobian(view, 1, _row(view, 1, x, y, z), depth, tan_y, focal_y)
    dx, dy, dz = _dot(d0, d1, d2, xx, xy, xz), _dot(d0, d1, d2, xy, yy, yz), _dot(d0, d1, d2, xz, yz, zz)
    ex, ey, ez = _dot(e0, e1, e2, xx, xy, xz), _dot(e0, e1, e2, xy, yy, yz), _dot(e0, e1, e2, xz, yz, zz)
    a, b = _dot(dx, dy, dz, d0, d1, d2) + LOW_PASS, _dot(ex, ey, ez, d0, d1, d2)
    c = _dot(ex, ey, ez, e0, e1, e2) + LOW_PASS
    determinant = a * c - b * b
    inverse = tl.div_rn(tl.full((BLOCK,), 1.0, tl.float32), determinant)

    # Step 7, and what the slow twin does not draw for want of finite numbers.
    middle = 0.5 * (a + c)
    spread = tl.sqrt_rn(tl.maximum(middle * middle - determinant, EIGEN_FLOOR))
    radius = tl.ceil(tl.sqrt_rn(middle + spread) * RADIUS_SIGMAS)
    drawn = drawn & (tl.abs(px) <= LARGEST) & (tl.abs(py) <= LARGEST)
    drawn = drawn & (tl.abs(determinant) <= LARGEST) & (determinant != 0.0) & (radius <= LARGEST)

    # Step 9, cut to the ellipse in which alpha >= 1/255. A Gaussian without one is listed all over its tiles.
    thin = a * c
    level = (2.0 * tl.log(255.0 * opacity) + SLACK) * (tl.div_rn(thin, determinant) * SLACK_THIN + 1.0)
    ellipse = (determinant > thin * THINNEST) & (a > 0.0) & (c > 0.0)
    level = tl.where(ellipse, level, float("inf"))
    extent_x = tl.where(ellipse, tl.sqrt_rn(tl.where(ellipse, level * a, 0.0)) + SLACK_PIXELS, float("inf"))
    extent_y = tl.where(ellipse, tl.sqrt_rn(tl.where(ellipse, level * c, 0.0)) + SLACK_PIXELS, float("inf"))
    px, py, radius = tl.where(drawn, px, 0.0), tl.where(drawn, py, 0.0), tl.where(drawn, radius, 0.0)
    left, right = _reach(px, radius, extent_x, width)
    top, bottom = _reach(py, radius, extent_y, height)
    drawn = drawn & (left < right) & (top < bottom)

    form_xx, form_xy, form_yy = -0.5 * (c * inverse), b * inverse, -0.5 * (a * inverse)
    least = -0.5 * level
    area = tl.where(drawn, (right - left) * (bottom - top), 0)
    met = tl.zeros((BLOCK,), tl.int32)
    for place in range(tl.max(area, axis=0)):
        across = tl.maximum(right - left, 1)
        tile_x, tile_y = left + place % across, top + place // across
        inside = meets(px, py, form_xx, form_xy, form_yy, least, tile_x, tile_y)
        met += ((place < area) & inside).to(tl.int32)

    at = picture * count + n
    row = rows + at * ROW
    tl.store(row, px, mask=here)
    tl.store(row + 1, py, mask=here)
    tl.store(row + 2, form_xx, mask=here)
    tl.store(row + 3, form_xy, mask=here)
    tl.store(row + 4, form_yy, mask=here)
    tl.store(row + 5, opacity, mask=here)
    tl.store(row + 6, depth, mask=here)
    tl.store(row + 7, least, mask=here)
    rect = rects + at * 4
    tl.store(rect, left, mask=here)
    tl.store(rect + 1, top, mask=here)
    tl.store(rect + 2, right, mask=here)
    tl.store(rect + 3, bottom, mask=here)
    tl.store(keys + at, tl.where(drawn & (met > 0), depth.to(tl.int32, bitcast=True), UNSEEN), mask=here)
    tl.store(hits + at, met, mask=here)


@triton.jit
def _row(matrix, i: tl.constexpr, x, y, z):
    """Return element i of the point (x, y, z) through a transposed [4, 4] matrix."""
    return (
        tl.load(matrix + i) * x + tl.load(matrix + 4 + i) * y + tl.load(matrix + 8 + i) * z + tl.load(matrix + 12 + i)
    )


@triton.jit
def _dot(ax, ay, az, bx, by, bz):
    return ax * bx + ay * by + az * bz


@triton.jit
def _jacobian(view, i: tl.constexpr, at, depth, tangent, focal):
    """Return row i of the Jacobian times the rotation to camera axes, at camera coordinate `at`."""
    limit = tangent * FRUSTUM_MARGIN
    at = tl.minimum(limit, tl.maximum(-limit, tl.div_rn(at, depth))) * depth
    near, skew = tl.div_rn(focal, depth), tl.div_rn(-(focal * at), depth * depth)
    return (
        tl.load(view + i) * near + tl.load(view + 2) * skew,
        tl.load(view + 4 + i) * near + tl.load(view + 6) * skew,
        tl.load(view + 8 + i) * near + tl.load(view + 10) * skew,
    )


@triton.jit
def _reach(position, radius, extent, size):
    """Return the tiles [first, last) of one axis: the published ones cut to position +- extent and to the picture."""
    tiles = ((size + TILE - 1) // TILE).to(tl.float32)
    # Clamped before they are truncated: the numbers may be larger than any integer.
    first = tl.minimum(tl.maximum((position - radius) * (1.0 / TILE), 0.0), tiles).to(tl.int32)
    last = tl.minimum(tl.maximum((position + radius + TILE - 1.0) * (1.0 / TILE), 0.0), tiles).to(tl.int32)
    limit = size.to(tl.float32)
    low = tl.ceil(tl.minimum(tl.maximum(position - extent, 0.0), limit)).to(tl.int32)
    end = tl.floor(tl.minimum(tl.maximum(position + extent + 1.0, 0.0), limit)).to(tl.int32)
    return tl.maximum(first, low // TILE), tl.minimum(last, (end + TILE - 1) // TILE)


@triton.jit(do_not_specialize=["count", "coefficients"])
def sh_kernel(means, sh, centres, colours, count, coefficients, DEGREE: tl.constexpr, BLOCK: tl.constexpr):
    """Write colours [B * N, 3] of harmonics [N, coefficients, 3] seen from centres [B, 3]."""
    picture = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = n < count
    mean = means + (picture * count + n) * 3
    x = tl.load(mean, mask=here, other=1.0) - tl.load(centres + picture * 3)
    y = tl.load(mean + 1, mask=here, other=1.0) - tl.load(centres + picture * 3 + 1)
    z = tl.load(mean + 2, mask=here, other=1.0) - tl.load(centres + picture * 3 + 2)
    length = tl.sqrt_rn(x * x + y * y + z * z)
    x, y, z = tl.div_rn(x, length), tl.div_rn(y, length), tl.div_rn(z, length)
    xx, yy, zz = x * x, y * y, z * z
    for channel in tl.static_range(3):
        own = sh + n.to(tl.int64) * coefficients * 3 + channel
        total = tl.load(own, mask=here, other=0.0) * SH0
        if DEGREE > 0:
            total = total + (y * -SH1) * tl.load(own + 3, mask=here, other=0.0)
            total = total + (z * SH1) * tl.load(own + 6, mask=here, other=0.0)
            total = total + (x * -SH1) * tl.load(own + 9, mask=here, other=0.0)
        if DEGREE > 1:
            total = total + (x * y) * SH20 * tl.load(own + 12, mask=here, other=0.0)
            total = total + (y * z) * SH21 * tl.load(own + 15, mask=here, other=0.0)
            total = total + (2.0 * zz - xx - yy) * SH22 * tl.load(own + 18, mask=here, other=0.0)
            total = total + (x * z) * SH23 * tl.load(own + 21, mask=here, other=0.0)
            total = total + (xx - yy) * SH24 * tl.load(own + 24, mask=here, other=0.0)
        if DEGREE > 2:
            total = total + y * SH30 * (3.0 * xx - yy) * tl.load(own + 27, mask=here, other=0.0)
            total = total + (x * y) * SH31 * z * tl.load(own + 30, mask=here, other=0.0)
            total = total + y * SH32 * (4.0 * zz - xx - yy) * tl.load(own + 33, mask=here, other=0.0)
            total = total + z * SH33 * (2.0 * zz - 3.0 * xx - 3.0 * yy) * tl.load(own + 36, mask=here, other=0.0)
            total = total + x * SH34 * (4.0 * zz - xx - yy) * tl.load(own + 39, mask=here, other=0.0)
            total = total + z * SH35 * (xx - yy) * tl.load(own + 42, mask=here, other=0.0)
            total = total + x * SH36 * (xx - 3.0 * yy) * tl.load(own + 45, mask=here, other=0.0)
        # Not `maximum`, which would make 0 of what is not a number.
        total += SH_OFFSET
        tl.store(colours + (picture * count + n) * 3 + channel, tl.where(total < 0.0, 0.0, total), mask=here)


@triton.jit(do_not_specialize=["total"])
def usable_kernel(features, usable, total, CHANNELS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr):
    """Write 1 for each row of features [total, CHANNELS] that is all finite, else 0."""
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, PADDED)
    given = (n < total)[:, None] & (channel < CHANNELS)[None, :]
    values = tl.load(features + n.to(tl.int64)[:, None] * CHANNELS + channel[None, :], mask=given, other=0.0)
    wrong = tl.max(tl.where(tl.abs(values) <= LARGEST, 0, 1), axis=1)
    tl.store(usable + n, (1 - wrong).to(tl.int8), mask=n < total)


def colours_of(batch: GaussianBatch, views: Views, room: Any) -> tuple[Any, Any]:
    """Return features [N, C] or [B, N, C] of the batch, its harmonics evaluated, and which of the rows are finite."""
    features = batch.features
    pictures, count = batch.means.shape[:2]
    if features is None:
        features = room("colours", pictures * count * 3, torch.float32).view(pictures, count, 3)
        sh_kernel[(triton.cdiv(count, _BLOCK), pictures)](
            batch.means,
            batch.sh,
            views.campos,
            features,
            count,
            batch.sh.shape[1],
            DEGREE=batch.sh_degree,
            BLOCK=_BLOCK,
            enable_fp_fusion=False,
        )
    channels = features.shape[-1]
    rows = features.numel() // channels
    usable = room("usable", rows, torch.int8)
    padded = triton.next_power_of_2(channels)
    block = max(4096 // padded, 1)
    usable_kernel[(triton.cdiv(rows, block),)](features, usable, rows, CHANNELS=channels, PADDED=padded, BLOCK=block)
    return features, usable


def put_on_screen(batch: GaussianBatch, views: Views, usable: Any, room: Any) -> Screen:
    """Return the B * N Gaussians of a batch as its views show them; usable: 0 where a colour is not finite."""
    pictures, count = batch.means.shape[:2]
    total = pictures * count
    screen = Screen(
        room("rows", total * ROW.value, torch.float32),
        room("rects", total * 4, torch.int32),
        room("keys", total, torch.int32),
        room("hits", total, torch.int32),
    )
    shapes = batch.quats_wxyz if batch.covariances is None else batch.covariances
    scales = batch.scales if batch.covariances is None else shapes
    project_kernel[(triton.cdiv(count, _BLOCK), pictures)](
        batch.means,
        batch.opacities,
        shapes,
        scales,
        usable,
        views.viewmatrix,
        views.projmatrix,
        views.tanfov,
        *screen,
        count,
        views.width,
        views.height,
        float(views.scale_modifier),
        count if batch.opacities.ndim == 2 else 0,
        shapes[0].numel() if shapes.ndim == 3 else 0,
        scales[0].numel() if scales.ndim == 3 else 0,
        count if usable.numel() == total else 0,
        COVARIANCES=batch.covariances is not None,
        BLOCK=_BLOCK,
        enable_fp_fusion=False,
    )
    return screen
