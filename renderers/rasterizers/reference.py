"""The slow twin: the published rasterizer in plain numpy, to be read as the definition.

Float32 throughout, in the published order of evaluation, so that it agrees with the published kernels
to the last bit but for `exp`. Sections cited are those of the rasterizer reference.

The published code leaves open what becomes of numbers that are not finite. Here a Gaussian with such a
mean, shape, opacity or colour, or whose projection is not finite, is not drawn.
"""

from typing import NamedTuple

import numpy as np

from marotte.renderers.gaussians import Array, Gaussians, Raster
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.rasterizers.rules import (
    ALPHA_MAX,
    ALPHA_MIN,
    EIGEN_FLOOR,
    FRUSTUM_MARGIN,
    LIGHT_MIN,
    LOW_PASS,
    NEAR,
    RADIUS_SIGMAS,
    SH0,
    SH1,
    SH2,
    SH3,
    SH_OFFSET,
    TILE,
    W_EPSILON,
)

_HALF, _ONE, _TWO = np.float32(0.5), np.float32(1), np.float32(2)


class Projected(NamedTuple):
    """N Gaussians on the screen; rows mean something only where `drawn`.

    drawn: [N] bool. positions: [N, 2] pixels, (0, 0) is the CENTRE of the first pixel.
    depths: [N] camera z. conics: [N, 3] inverse covariance (xx, xy, yy) in 1 / square pixels.
    radii: [N] whole pixels, as float32. rects: [N, 4] tiles (x0, y0, x1, y1), the last two exclusive.
    colours: [N, C]. opacities: [N].
    """

    drawn: np.ndarray
    positions: np.ndarray
    depths: np.ndarray
    conics: np.ndarray
    radii: np.ndarray
    rects: np.ndarray
    colours: np.ndarray
    opacities: np.ndarray


def draw(
    gaussians: Gaussians, settings: PublishedSettings, background: np.ndarray | None = None, *, depth: bool = False
) -> tuple[Raster, np.ndarray]:
    """Return the picture and, for each pixel, the place in its tile's list of the last Gaussian blended.

    background: [C] or [H, W, C]; None is black. The places, [H, W], count from 1; 0 where nothing is blended.
    """
    background = settings.background(background, gaussians.channels)
    projected = project(gaussians, settings)
    return composite(projected, list_tiles(projected, settings), settings, background, depth=depth)


def project(gaussians: Gaussians, settings: PublishedSettings) -> Projected:
    """Return the Gaussians on the screen: section 3, steps 1 to 11."""
    with np.errstate(all="ignore"):
        means, opacities = _floats(gaussians.means), _floats(gaussians.opacities)
        at = _transform(settings.viewmatrix, means)[:3]
        colours = _floats(gaussians.features) if gaussians.sh is None else _evaluate_sh(gaussians, settings.campos)
        a, b, c = _image_covariances(_world_covariances(gaussians, settings), at, settings)
        determinant = a * c - b * b
        inverse = _ONE / determinant
        conics = np.stack([c * inverse, -b * inverse, a * inverse], axis=-1)
        middle = _HALF * (a + c)
        largest = middle + np.sqrt(np.maximum(EIGEN_FLOOR, middle * middle - determinant))
        radii = np.ceil(RADIUS_SIGMAS * np.sqrt(largest))
        positions = _positions(means, settings)
        rects = tile_rects(positions, radii, tile_grid(settings))
        numbers = [means, opacities[:, None], colours, positions, determinant[:, None], radii[:, None]]
        drawn = np.isfinite(np.concatenate(numbers, axis=1)).all(axis=1)
        drawn &= (at[2] > NEAR) & (determinant != 0) & (rects[:, 2] > rects[:, 0]) & (rects[:, 3] > rects[:, 1])
    return Projected(drawn, positions, at[2], conics, radii, rects, colours, opacities)


def tile_grid(settings: PublishedSettings) -> tuple[int, int]:
    """Return how many tiles the picture has across and down."""
    return -(-settings.image_width // TILE), -(-settings.image_height // TILE)


def tile_rects(positions: np.ndarray, radii: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the tiles [N, 4] that squares about `positions` [N, 2] are listed in: section 3, step 9.

    The square's right and lower edge count only from the tile's second pixel on.
    """
    side = np.float32(TILE)
    first = np.trunc((positions - radii[:, None]) / side)
    last = np.trunc((positions + radii[:, None] + side - _ONE) / side)
    rects = np.concatenate([np.clip(first, 0, grid), np.clip(last, 0, grid)], axis=1)
    return np.nan_to_num(rects).astype(np.int64)


def list_tiles(projected: Projected, settings: PublishedSettings) -> list[np.ndarray]:
    """Return, for each tile in rows, the ids of its Gaussians from front to back; equal depths by id."""
    across, down = tile_grid(settings)
    ids = np.flatnonzero(projected.drawn)
    ids = ids[np.argsort(projected.depths[ids], kind="stable")]
    x0, y0, x1, y1 = projected.rects[ids].T
    return [ids[(x0 <= x) & (x < x1) & (y0 <= y) & (y < y1)] for y in range(down) for x in range(across)]


def composite(
    projected: Projected,
    tiles: list[np.ndarray],
    settings: PublishedSettings,
    background: np.ndarray,
    *,
    depth: bool = False,
) -> tuple[Raster, np.ndarray]:
    """Blend each pixel front to back over its tile's list; background [1, 1, C] or [H, W, C]; returns as `draw`."""
    width, height, channels = settings.image_width, settings.image_height, projected.colours.shape[1]
    # Zero Gaussians give zeros in the published code, not the background.
    behind = _floats(background) if len(projected.drawn) else np.zeros(channels, np.float32)
    color = np.array(np.broadcast_to(behind, (height, width, channels)))
    light, depths = np.ones((height, width), np.float32), np.zeros((height, width), np.float32)
    last = np.zeros((height, width), np.int64)
    # Depth is blended as one more channel, with nothing behind it.
    values = np.concatenate([projected.colours, projected.depths[:, None]], axis=1)
    for v in range(height):
        for u in range(width):
            ids = tiles[v // TILE * tile_grid(settings)[0] + u // TILE]
            alphas = _alphas(projected, ids, u, v)
            left = np.multiply.accumulate(_ONE - alphas)
            stops = np.flatnonzero(left < LIGHT_MIN)
            count = stops[0] if len(stops) else len(ids)
            blended = np.flatnonzero(alphas[:count])
            if len(blended) == 0:
                continue
            arriving = np.concatenate([[_ONE], left])[blended, None]
            parts = values[ids[blended]] * alphas[blended, None] * arriving
            # Accumulated, not summed: numpy's sum pairs its terms.
            total = np.add.accumulate(parts)[-1]
            light[v, u] = left[count - 1]
            color[v, u] = total[:-1] + light[v, u] * color[v, u]
            depths[v, u] = total[-1]
            last[v, u] = blended[-1] + 1
    return Raster(color, light, depths if depth else None), last


def _alphas(projected: Projected, ids: np.ndarray, u: int, v: int) -> np.ndarray:
    """Return the opacity of Gaussians `ids` at pixel (u, v); 0 where it is not blended."""
    dx, dy = projected.positions[ids, 0] - np.float32(u), projected.positions[ids, 1] - np.float32(v)
    xx, xy, yy = projected.conics[ids].T
    with np.errstate(all="ignore"):
        power = -_HALF * (xx * dx * dx + yy * dy * dy) - xy * dx * dy
        alphas = np.minimum(ALPHA_MAX, projected.opacities[ids] * np.exp(power))
    alphas[(power > 0) | ~(alphas >= ALPHA_MIN)] = 0
    return alphas


def _floats(array: Array) -> np.ndarray:
    return np.asarray(array).astype(np.float32)


def _transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return [4, N]: points [N, 3] through a transposed [4, 4] matrix, summed from left to right."""
    x, y, z = points.T
    return np.stack([matrix[0, i] * x + matrix[1, i] * y + matrix[2, i] * z + matrix[3, i] for i in range(4)])


def _positions(means: np.ndarray, settings: PublishedSettings) -> np.ndarray:
    """Return pixel positions [N, 2]: steps 2 and 8. The last line is in float64, rounded once."""
    x, y, _, w = _transform(settings.projmatrix, means)
    inverse = _ONE / (w + W_EPSILON)
    device = np.stack([x * inverse, y * inverse], axis=-1).astype(np.float64)
    size = np.array([settings.image_width, settings.image_height])
    return (((device + 1) * size - 1) * 0.5).astype(np.float32)


def _world_covariances(gaussians: Gaussians, settings: PublishedSettings) -> np.ndarray:
    """Return covariances [6, N], (xx, xy, xz, yy, yz, zz): step 3."""
    if gaussians.covariances is not None:
        return _floats(gaussians.covariances).T
    r, x, y, z = _floats(gaussians.quats_wxyz).T
    s = (np.float32(settings.scale_modifier) * _floats(gaussians.scales)).T
    rotation = [
        [_ONE - _TWO * (y * y + z * z), _TWO * (x * y - r * z), _TWO * (x * z + r * y)],
        [_TWO * (x * y + r * z), _ONE - _TWO * (x * x + z * z), _TWO * (y * z - r * x)],
        [_TWO * (x * z - r * y), _TWO * (y * z + r * x), _ONE - _TWO * (x * x + y * y)],
    ]
    spread = [[rotation[i][k] * s[k] for k in range(3)] for i in range(3)]
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    return np.stack([_dot(spread[i], spread[j]) for i, j in pairs])


def _image_covariances(
    world: np.ndarray, at: np.ndarray, settings: PublishedSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (xx, xy, yy), each [N], in square pixels of covariances [6, N] at camera points [3, N]: steps 4, 5."""
    tan_x, tan_y = np.float32(settings.tanfovx), np.float32(settings.tanfovy)
    focal_x = np.float32(settings.image_width) / (_TWO * tan_x)
    focal_y = np.float32(settings.image_height) / (_TWO * tan_y)
    x, y, z = at
    x = np.clip(x / z, -FRUSTUM_MARGIN * tan_x, FRUSTUM_MARGIN * tan_x) * z
    y = np.clip(y / z, -FRUSTUM_MARGIN * tan_y, FRUSTUM_MARGIN * tan_y) * z
    # Rows of the Jacobian times the rotation to camera axes.
    view = settings.viewmatrix
    across = [view[k, 0] * (focal_x / z) + view[k, 2] * (-(focal_x * x) / (z * z)) for k in range(3)]
    down = [view[k, 1] * (focal_y / z) + view[k, 2] * (-(focal_y * y) / (z * z)) for k in range(3)]
    xx, xy, xz, yy, yz, zz = world
    columns = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    across_world = [_dot(across, column) for column in columns]
    down_world = [_dot(down, column) for column in columns]
    return _dot(across_world, across) + LOW_PASS, _dot(down_world, across), _dot(down_world, down) + LOW_PASS


def _dot(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _evaluate_sh(gaussians: Gaussians, centre: np.ndarray) -> np.ndarray:
    """Return colours [N, 3] of spherical harmonics seen from `centre` [3]: step 10 and section 4."""
    assert gaussians.sh is not None and gaussians.sh_degree is not None
    away = _floats(gaussians.means) - centre
    x, y, z = away.T
    x, y, z = (away / np.sqrt(x * x + y * y + z * z)[:, None]).T
    xx, yy, zz = x * x, y * y, z * z
    basis = [np.full_like(x, SH0), -SH1 * y, SH1 * z, -SH1 * x]
    basis += [SH2[0] * (x * y), SH2[1] * (y * z), SH2[2] * (_TWO * zz - xx - yy), SH2[3] * (x * z), SH2[4] * (xx - yy)]
    three, four = np.float32(3), np.float32(4)
    basis += [
        SH3[0] * y * (three * xx - yy),
        SH3[1] * (x * y) * z,
        SH3[2] * y * (four * zz - xx - yy),
        SH3[3] * z * (_TWO * zz - three * xx - three * yy),
        SH3[4] * x * (four * zz - xx - yy),
        SH3[5] * z * (xx - yy),
        SH3[6] * x * (xx - three * yy),
    ]
    coefficients = _floats(gaussians.sh)
    total = basis[0][:, None] * coefficients[:, 0]
    for k in range(1, (gaussians.sh_degree + 1) ** 2):
        total = total + basis[k][:, None] * coefficients[:, k]
    return np.maximum(total + SH_OFFSET, np.float32(0))
