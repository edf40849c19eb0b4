# mypy: disable-error-code="no-untyped-def"
"""The Triton kernel that blends: one program for a tile of 16x16 pixels, front to back in blocks of Gaussians.

A block is a small matrix product: weights [256 pixels, Gaussians] times their features [Gaussians, C], in float32.
Light that arrives at each Gaussian is a running product along the block, which the layout below keeps within one
thread: Gaussians run along the first axis, pixels along the second, over the threads. Up to three channels are summed
there too; more are handed to `tl.dot`, in float32 ("ieee"), or on tensor cores: in
three parts ("tf32x3"), nearly as exact, or from 10 bits of each factor ("tf32"): as weights add up to less than 1, off
by less than 2e-3 of the largest feature.
"""

from dataclasses import replace
from typing import Any

import torch
import triton
import triton.language as tl

from marotte.renderers.gaussians import Raster
from marotte.renderers.rasterizers import rules
from marotte.renderers.rasterizers.triton_bins import ROW, TILE

PIXELS = tl.constexpr(rules.TILE**2)
ALPHA_MIN = tl.constexpr(float(rules.ALPHA_MIN))
ALPHA_MAX = tl.constexpr(float(rules.ALPHA_MAX))
LIGHT_MIN = tl.constexpr(float(rules.LIGHT_MIN))
# Gaussians blended at once: what a thread's registers hold, and the least that `tl.dot` takes.
BLOCK = 16
# Up to so many channels are summed by the threads that hold the pixels; more are a product, of this many at most.
_FEW, _MANY = 3, 32
# What `tl.dot` takes at least.
_LEAST_PADDED = 16
# By number of channels: warps of a program, and a cap on a thread's registers, at which 16 warps fit a multiprocessor
# and ptxas (for sm_90) spills none; but 16 bytes of 32 channels in float32 with depth and a background.
_LAUNCH_FEW = {"num_warps": 4, "maxnreg": 128}
_LAUNCH_MANY = {"num_warps": 16, "maxnreg": 128}


@triton.jit(do_not_specialize="feature_step behind_step behind_pixel width height across tiles".split())
def blend_kernel(
    starts,
    ids,
    rows,
    features,
    background,
    color,
    transmittance,
    depths,
    feature_step,
    behind_step,
    behind_pixel,
    width,
    height,
    across,
    tiles,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    BACKGROUND: tl.constexpr,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write color [B, H, W, CHANNELS], transmittance [B, H, W] and, if DEPTH, depths [B, H, W] of one tile.

    starts: [B * tiles + 1] into ids, which index rows [B * N, ROW]. feature_step: rows of features that belong to
    another picture's id less those of this one, for each picture: 0 where every id has its own, N where all pictures
    share N rows. behind_step, behind_pixel: from one picture and one pixel of the background to the next, in
    elements, 0 where they share. PADDED: 0 for up to three channels, else a power of two of at least 16. PRECISION: of
    the product.
    """
    tile_id = tl.program_id(0)
    picture = (tile_id // tiles).to(tl.int64)
    tile = tile_id % tiles
    pixel = tl.arange(0, PIXELS)
    u, v = (tile % across) * TILE + pixel % TILE, (tile // across) * TILE + pixel // TILE
    inside = (u < width) & (v < height)
    pixel_x, pixel_y = u.to(tl.float32)[None, :], v.to(tl.float32)[None, :]
    features -= picture * feature_step * CHANNELS
    channel = tl.arange(0, PADDED if PADDED else 4)

    red = tl.zeros((PIXELS,), tl.float32)
    green = tl.zeros((PIXELS,), tl.float32)
    blue = tl.zeros((PIXELS,), tl.float32)
    depth = tl.zeros((PIXELS,), tl.float32)
    total = tl.zeros((PIXELS, PADDED if PADDED else 4), tl.float32)
    light = tl.full((PIXELS,), 1.0, tl.float32)
    alive = inside
    at, end = tl.load(starts + tile_id), tl.load(starts + tile_id + 1)
    going = at < end
    while going:
        place = at + tl.arange(0, BLOCK)
        listed = place < end
        gaussian = tl.load(ids + place, mask=listed, other=0).to(tl.int64)
        row = rows + gaussian * ROW
        dx = tl.load(row, mask=listed, other=0.0)[:, None] - pixel_x
        dy = tl.load(row + 1, mask=listed, other=0.0)[:, None] - pixel_y
        xx, xy = tl.load(row + 2, mask=listed, other=0.0), tl.load(row + 3, mask=listed, other=0.0)
        yy, opacity = tl.load(row + 4, mask=listed, other=0.0), tl.load(row + 5, mask=listed, other=0.0)
        power = xx[:, None] * dx * dx + yy[:, None] * dy * dy + xy[:, None] * dx * dy
        alpha = tl.minimum(opacity[:, None] * tl.exp(power), ALPHA_MAX)
        alpha = tl.where((power <= 0.0) & (alpha >= ALPHA_MIN), alpha, 0.0)
        passed = 1.0 - alpha
        left = light[None, :] * tl.cumprod(passed, axis=0)
        # Light only falls, so that a pixel that has stopped stays so for the rest of the block.
        blended = alive[None, :] & (left >= LIGHT_MIN)
        # Without the last factor it is the light that arrives; 1 - alpha is at least 0.01.
        weight = tl.where(blended, alpha * (left / passed), 0.0)
        alive = alive & (tl.min(left, axis=0) >= LIGHT_MIN)
        light = tl.min(tl.where(blended, left, light[None, :]), axis=0)
        feature = features + gaussian * CHANNELS
        if PADDED:
            given = listed[:, None] & (channel < CHANNELS)[None, :]
            values = tl.load(feature[:, None] + channel[None, :], mask=given, other=0.0)
            total = tl.dot(tl.trans(weight), values, total, input_precision=PRECISION)
        else:
            red += tl.sum(weight * tl.load(feature, mask=listed, other=0.0)[:, None], axis=0)
            if CHANNELS > 1:
                green += tl.sum(weight * tl.load(feature + 1, mask=listed, other=0.0)[:, None], axis=0)
            if CHANNELS > 2:
                blue += tl.sum(weight * tl.load(feature + 2, mask=listed, other=0.0)[:, None], axis=0)
        if DEPTH:
            depth += tl.sum(weight * tl.load(row + 6, mask=listed, other=0.0)[:, None], axis=0)
        at += BLOCK
        going = (at < end) & (tl.max(alive.to(tl.int32), axis=0) > 0)

    place = v.to(tl.int64) * width + u
    own = picture * width * height + place
    tl.store(transmittance + own, light, mask=inside)
    if DEPTH:
        tl.store(depths + own, depth, mask=inside)
    behind = background + picture * behind_step + place * behind_pixel
    if PADDED:
        given = inside[:, None] & (channel < CHANNELS)[None, :]
        if BACKGROUND:
            total += light[:, None] * tl.load(behind[:, None] + channel[None, :], mask=given, other=0.0)
        tl.store(color + own[:, None] * CHANNELS + channel[None, :], total, mask=given)
    else:
        if BACKGROUND:
            red += light * tl.load(behind, mask=inside, other=0.0)
            if CHANNELS > 1:
                green += light * tl.load(behind + 1, mask=inside, other=0.0)
            if CHANNELS > 2:
                blue += light * tl.load(behind + 2, mask=inside, other=0.0)
        tl.store(color + own * CHANNELS, red, mask=inside)
        if CHANNELS > 1:
            tl.store(color + own * CHANNELS + 1, green, mask=inside)
        if CHANNELS > 2:
            tl.store(color + own * CHANNELS + 2, blue, mask=inside)


def blend(
    starts: Any,
    ids: Any,
    rows: Any,
    features: Any,
    background: Any,
    size: tuple[int, int, int],
    *,
    depth: bool,
    precision: str = "ieee",
) -> Raster:
    """Return B pictures of the listed Gaussians.

    features: [N, C] or [B, N, C]. background: [C], [H, W, C], [B, H, W, C] or None. size: (B, H, W). precision: of the
    products of more than three channels.
    """
    pictures, height, width = size
    channels = features.shape[-1]
    if channels > _MANY:
        parts = []
        for own in features.split(_MANY, dim=-1):
            behind = None if background is None else background[..., : own.shape[-1]].contiguous()
            background = None if background is None else background[..., own.shape[-1] :]
            parts.append(blend(starts, ids, rows, own.contiguous(), behind, size, depth=depth, precision=precision))
        return replace(parts[0], color=torch.cat([part.color for part in parts], dim=-1))
    color = torch.empty((*size, channels), dtype=torch.float32, device=rows.device)
    transmittance = torch.empty(size, dtype=torch.float32, device=rows.device)
    depths = torch.empty(size, dtype=torch.float32, device=rows.device) if depth else None
    across, down = triton.cdiv(width, rules.TILE), triton.cdiv(height, rules.TILE)
    image = background is not None and background.ndim > 1
    blend_kernel[(pictures * across * down,)](
        starts,
        ids,
        rows,
        features,
        color if background is None else background,
        color,
        transmittance,
        depths if depth else transmittance,
        features.shape[0] if features.ndim == 2 else 0,
        height * width * channels if image and background.ndim == 4 else 0,
        channels if image else 0,
        width,
        height,
        across,
        across * down,
        CHANNELS=channels,
        PADDED=0 if channels <= _FEW else max(triton.next_power_of_2(channels), _LEAST_PADDED),
        BACKGROUND=background is not None,
        DEPTH=depth,
        BLOCK=BLOCK,
        PRECISION=precision,
        enable_fp_fusion=True,
        **(_LAUNCH_FEW if channels <= _FEW else _LAUNCH_MANY),
    )
    return Raster(color, transmittance, depths)
