"""What a rasterizer must do before its first picture on a device: draw a small scene as the slow twin does.

Compiled kernels can be wrong on a device in ways that no test elsewhere shows (another version, another compiler, a
fork with other rules), and a wrong picture of a face is not easily told from a bad avatar. So it is an error.

The scene is small and made so that known faults move many pixels: small splats (half a pixel), a turned camera off
the optical axis (transposed matrices, a principal point in the wrong unit), quaternions of any length on long thin
splats (order, normalisation), an opaque strip before a bright background (the cap of alpha), splats thinner than a
pixel (the low-pass), some beside and behind the camera.
"""

from threading import Lock
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.models.rotations import matrix_to_quat_wxyz
from marotte.renderers.gaussians import Gaussians
from marotte.renderers.rasterizers import backends, tensors
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.rasterizers.reference import draw as draw_reference
from marotte.runtime.camera import Camera, pinhole

_WIDTH, _HEIGHT = 49, 35
_COUNT = 60
# Pixels that may be farther off than the back end's deviation: a comparison may fall on the other side by rounding,
# and bounds may differ where a splat ends. And how far these may be off, as a share of the range.
_OTHERWISE = 0.02
_WORST = 0.05

_passed: set[tuple[Any, ...]] = set()
_lock = Lock()


def check(name: str, gaussians: Gaussians, device: Any, *, depth: bool = False) -> None:
    """Let a rasterizer draw a small scene on a torch device, once for each kind of Gaussians in this process.

    gaussians: of the kind that is about to be drawn: shape by covariances or not, colours by features or by
    harmonics, of so many channels. Raises MarotteError where the picture is not the slow twin's, where it cannot
    draw it, and where it refuses such Gaussians.
    """
    bands = 0 if gaussians.sh is None else int(gaussians.sh.shape[1])
    kind = (gaussians.covariances is not None, gaussians.channels, bands, gaussians.sh_degree, depth)
    key = (name, str(device), *kind)
    if key in _passed:
        return
    with _lock:
        if key not in _passed:
            _compare(name, device, *kind)
            _passed.add(key)


def _compare(
    name: str, device: Any, covariances: bool, channels: int, bands: int, degree: int | None, depth: bool
) -> None:
    given, camera, background = small_scene(covariances, channels, bands, degree)
    settings = PublishedSettings.from_camera(camera)
    expected = draw_reference(given, settings, background, depth=depth)[0]
    try:
        drawn = backends.load(name).draw(
            tensors.as_tensors(given, device), settings, tensors.to_tensor(background, device), depth=depth
        )
        drawn = tensors.raster_to(drawn, None)
    except MarotteError:
        raise
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise MarotteError(f"rasterizer {name} cannot draw on {device}: {said}; {_instead(name)}") from error
    for part in ("color", "transmittance", "depth"):
        if fault := _fault(getattr(drawn, part), getattr(expected, part), backends.backend(name).deviation):
            raise MarotteError(
                f"rasterizer {name} on {device} draws another picture than the reference: {part} {fault}; "
                f"{_instead(name)}"
            )


def _instead(name: str) -> str:
    others = [other for other in backends.available() if other not in (name, "reference")]
    return f"use {' or '.join(others)} instead, and say so in an issue with the versions of {name} and torch"


def _fault(drawn: np.ndarray | None, expected: np.ndarray | None, limit: float) -> str:
    """Return how a part of the picture differs, "" where it agrees."""
    if expected is None:
        return ""
    if drawn is None or drawn.shape != expected.shape:
        return f"is {None if drawn is None else list(drawn.shape)} instead of {list(expected.shape)}"
    error = np.abs(drawn - expected).reshape(_HEIGHT, _WIDTH, -1).max(axis=-1) / np.ptp(expected)
    # Written so that what is not a number is off.
    off = 1 - (error <= limit).mean()
    if off <= _OTHERWISE and error.max() <= _WORST:
        return ""
    return (
        f"is off by up to {np.max(error):.2g} of its range, and by more than {limit:g} at {off:.1%} of the pixels "
        f"(allowed are {_WORST:g} and {_OTHERWISE:.0%})"
    )


def small_scene(
    covariances: bool = False, channels: int = 3, bands: int = 0, degree: int | None = None
) -> tuple[Gaussians, Camera, np.ndarray]:
    """Return the scene for Gaussians of a kind, the camera, and a background [H, W, C].

    bands: coefficients of harmonics, of which `degree` is used; 0 for features of so many channels.
    """
    random = np.random.default_rng(7)
    turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    shift = np.array([0.3, -0.2, 2.0])
    camera = Camera(turn, shift, pinhole(55.0, 47.0, 0.4 * _WIDTH, 0.57 * _HEIGHT), _WIDTH, _HEIGHT)

    # Over the picture and beyond its edges.
    depths = random.uniform(1.2, 3.5, _COUNT)
    pixels = random.uniform(-0.15, 1.15, (_COUNT, 2)) * (_WIDTH, _HEIGHT)
    # Far to the side, where Jacobians are clamped.
    pixels[:6, 0] = random.choice([-1.2, 2.2], 6) * _WIDTH
    means = camera.unproject(pixels, depths)
    # Two that are not drawn.
    means[6] = camera.unproject(np.array([20.0, 20.0]), np.array(-2.0))
    means[7] = camera.unproject(np.array([20.0, 20.0]), np.array(0.15))
    # An opaque strip in front of all, from top to bottom: three columns of it reach the cap of alpha.
    means[8] = camera.unproject(np.array([33.5, 18.0]), np.array(1.0))

    scales = np.exp(random.normal(-2.8, 0.4, (_COUNT, 3))) * (3.0, 1.0, 0.3)
    scales[:6] *= 6
    scales[8] = strip = (0.2, 9.0, 1e-3)
    scales[9:15] = 1e-4
    quats = random.normal(size=(_COUNT, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    quats[8] = matrix_to_quat_wxyz(turn.T)
    quats[15:30] *= random.uniform(0.6, 1.2, (15, 1))
    opacities = random.uniform(0.3, 0.95, _COUNT)
    opacities[8] = 1.0

    fields = {"quats_wxyz": quats, "scales": scales}
    if covariances:
        spread = random.normal(size=(_COUNT, 3, 3)) * scales[:, None]
        full = spread @ spread.transpose(0, 2, 1) / 3
        full[8] = turn.T @ np.diag(np.square(strip)) @ turn
        fields = {"covariances": full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]}
    if bands:
        fields["sh"] = random.normal(0, 0.4, (_COUNT, bands, 3))
    else:
        fields["features"] = random.uniform(0, 1, (_COUNT, channels))
    gaussians = Gaussians(
        means=means.astype(np.float32),
        opacities=opacities.astype(np.float32),
        sh_degree=degree,
        **{name: value.astype(np.float32) for name, value in fields.items()},
    )
    background = 1 + random.uniform(0, 0.5, (_HEIGHT, _WIDTH, channels))
    return gaussians, camera, background.astype(np.float32)
