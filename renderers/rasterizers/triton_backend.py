"""Our rasterizer for CUDA devices, in Triton: the published semantics of `reference.py`, many pictures at once.

Five stages, all on the device: project each Gaussian, sort by depth, list the tiles that its ellipse meets, sort
that list by tile, blend tile by tile (`triton_project`, `triton_bins`, `triton_blend`). It departs from the slow
twin by rounding alone: `exp` is the device's power of 2 (within 6e-7 of itself where it shows), products
and sums of the blending are fused, and light is multiplied up in blocks. No atomics: the same call gives the same
picture to the last bit.

How many pairs of tile and Gaussian there are is known on the device only. `draw_batch` never waits for it: the
lists have room for as many as a `Workspace` has learnt to expect, what does not fit is left out, and the batch's
`Ticket` tells. Whoever draws batches asks when the pictures are fetched, and draws the rare one that did not fit
again:

    raster = draw_batch(gaussians, views, background, workspace=workspace)
    ticket = workspace.ticket
    ...                                   # submit the next batch, fetch these pictures
    while ticket.overflowed():            # waits for this batch's counter, enlarges the workspace
        raster = draw_batch(gaussians, views, background, workspace=workspace)
        ticket = workspace.ticket

`draw` does this by itself. With TRITON_INTERPRET=1 in the environment before Triton is first imported, Triton's
interpreter runs all of it on CPU tensors, slowly: that is how it is tested without a device.
"""

import os
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from shutil import which
from typing import Any

from marotte.errors import MarotteError, unknown_name
from marotte.renderers.gaussians import SH_DEGREES, Gaussians, Raster
from marotte.renderers.rasterizers.batch import GaussianBatch, Views
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.renderers.rasterizers.rules import TILE
from marotte.renderers.rasterizers.tensors import FIELDS, as_tensors, is_tensor, no_cuda, to_tensor, working_on

# Room for this much more pairs than were counted: frames of one face differ by a few per cent.
_HEADROOM = 1.25
# Of the products that blend many channels: `triton_blend` says what each is.
_PRECISIONS = ("ieee", "tf32x3", "tf32")
# Pairs for which room is never worth saving.
_LEAST = 4096
# Pairs of tile and Gaussian that lists may have: their indices are int32.
_MOST = 2**31 - 1


def why_not() -> str:
    """Return "" where this back end can draw, else one line that says why not and what mends it. Compiles nothing."""
    for name in ("torch", "triton"):
        if find_spec(name) is None:
            return f"{name} is not installed: pip install 'marotte[cuda]'"
    if _interpreted():
        return ""
    if reason := no_cuda():
        return reason
    if not (os.environ.get("CC") or which("cc") or which("gcc") or which("clang")):
        return "Triton needs a C compiler at first use and there is none: install gcc or clang, or name one in CC"
    return ""


def _interpreted() -> bool:
    """Tell whether Triton was imported to interpret its kernels."""
    from triton.language import zeros
    from triton.runtime.jit import JITFunction

    return not isinstance(zeros, JITFunction)


class Ticket:
    """What can be asked about one batch once it is drawn: whether all its pairs had room."""

    def __init__(self, workspace: "Workspace", kind: tuple[int, ...], pairs: Any, capacity: int) -> None:
        """Take a batch of `kind` whose count of pairs is the device's `pairs` [1], drawn with room for `capacity`."""
        self._workspace, self._kind, self._capacity = workspace, kind, capacity
        self._event = None
        if not pairs.is_cuda:
            self._pairs = pairs
            return
        import torch

        # To pinned memory and behind an event of its own, so that asking waits for this count and no more.
        self._pairs = torch.empty(1, dtype=torch.int64, pin_memory=True)
        self._pairs.copy_(pairs, non_blocking=True)
        self._event = torch.cuda.Event()
        self._event.record()

    @property
    def pairs(self) -> int:
        """Pairs of tile and Gaussian in the batch's lists; waits until they are counted."""
        if self._event is not None:
            self._event.synchronize()
        return int(self._pairs)

    def overflowed(self) -> bool:
        """Wait for the count; where it was more than there was room for, make the room and return True.

        True says that the pictures lack Gaussians, the farthest of the batch: draw the batch again. Raises
        MarotteError for more pairs than can be listed.
        """
        if self.pairs <= self._capacity:
            return False
        self._workspace.make_room(self._kind, self.pairs)
        return True


class Workspace:
    """The device memory that batches are drawn in, and how much of it they need: one for each stream of pictures.

    The first batch of a kind (pictures, Gaussians, size of the picture) waits for the device once, to count its
    pairs; later ones do not. A `Raster` is memory of its own and stays as it is when the next batch is drawn.
    Batches are drawn one after the other on one CUDA stream, from one thread.

    capacity: pairs of tile and Gaussian to start with, instead of counting those of the first batch.
    ticket: of the last batch.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.ticket: Ticket | None = None
        self._start = capacity
        self._capacities: dict[tuple[int, ...], int] = {}
        self._rooms: dict[str, Any] = {}

    def overflowed(self) -> bool:
        """Return what the last batch's ticket says; False before the first."""
        return self.ticket is not None and self.ticket.overflowed()

    def capacity(self, kind: tuple[int, ...], pairs: Any) -> int:
        """Return for how many pairs a batch of `kind` has room; the first of a kind waits for its count `pairs` [1]."""
        if kind not in self._capacities:
            if self._start is None:
                self.make_room(kind, int(pairs))
            else:
                self._capacities[kind] = max(self._start, 1)
        return self._capacities[kind]

    def make_room(self, kind: tuple[int, ...], pairs: int) -> None:
        """Have room for batches of `kind` with `pairs` pairs and somewhat more, never for less than before."""
        if pairs > _MOST:
            raise MarotteError(
                f"Gaussians in {kind[0]} pictures of {kind[2]}x{kind[3]} pixels touch {pairs} tiles, more than the "
                f"{_MOST} that fit: they are too large for it, or the pictures are; draw fewer at once"
            )
        wanted = min(max(int(pairs * _HEADROOM), _LEAST), _MOST)
        self._capacities[kind] = max(self._capacities.get(kind, 0), wanted)

    def room(self, name: str, size: int, dtype: Any, device: Any) -> Any:
        """Return a tensor [size] of whatever content, in memory that is kept under `name` and only grows."""
        import torch

        kept = self._rooms.get(name)
        if kept is None or kept.numel() < size or kept.dtype != dtype or kept.device != device:
            kept = self._rooms[name] = torch.empty(size, dtype=dtype, device=device)
        return kept[:size]


def draw(gaussians: Gaussians, settings: PublishedSettings, background: Any = None, *, depth: bool = False) -> Raster:
    """Return the picture of `gaussians`, torch tensors, on their device.

    background: [C] or [H, W, C]; None is black. depth: also return the depth map. Waits for the device to count.
    Raises MarotteError as `draw_batch` does.
    """
    if not is_tensor(gaussians.means):
        kind = type(gaussians.means)
        raise MarotteError(f"means is {kind.__module__}.{kind.__name__}: the triton rasterizer draws torch tensors")
    gaussians = as_tensors(gaussians, gaussians.means.device)
    batch = GaussianBatch(
        means=gaussians.means[None],
        opacities=gaussians.opacities,
        quats_wxyz=None if gaussians.quats_wxyz is None else gaussians.quats_wxyz[None],
        scales=gaussians.scales,
        covariances=gaussians.covariances,
        features=gaussians.features,
        sh=gaussians.sh,
        sh_degree=gaussians.sh_degree,
    )
    views = Views.stack([settings], gaussians.means.device)
    # A fresh workspace counts before it lists: there is always room.
    raster = draw_batch(batch, views, background, depth=depth)
    return Raster(raster.color[0], raster.transmittance[0], None if raster.depth is None else raster.depth[0])


def draw_batch(
    gaussians: GaussianBatch,
    views: Views,
    background: Any = None,
    *,
    depth: bool = False,
    workspace: Workspace | None = None,
    precision: str = "ieee",
) -> Raster:
    """Return B pictures: color [B, H, W, C], transmittance [B, H, W] and, where asked for, depth [B, H, W].

    Work is queued on the current CUDA stream and not waited for, but for the first batch of a kind in a
    workspace. Then ask `workspace.ticket` whether everything had room, as the module says; without a workspace
    one is made for this call, which waits once and has room.

    background: [C], [H, W, C] or [B, H, W, C]; None is black. Zero Gaussians give zeros whatever the background.
    precision: of the products that blend more than three channels: "ieee" is float32; "tf32x3" and "tf32" use tensor
    cores, the latter with errors below 2e-3 of the largest feature. What is skipped, and where a pixel stops, is the
    same with each.
    Gaussians of which any number is not finite are not drawn. Raises MarotteError for tensors of other shapes,
    kinds or devices, for another precision, and for more pairs of tile and Gaussian than can be listed.
    """
    if precision not in _PRECISIONS:
        raise unknown_name("precision", precision, _PRECISIONS)
    pictures, count, channels = _check(gaussians, views)
    device = gaussians.means.device
    background = _checked_background(background, (pictures, views.height, views.width, channels), device)
    if workspace is None:
        workspace = Workspace()
    with working_on(device):
        if count == 0 or pictures == 0:
            return _nothing((pictures, views.height, views.width), channels, depth, device)
        from marotte.renderers.rasterizers.triton_bins import list_pairs, sort_and_count
        from marotte.renderers.rasterizers.triton_blend import blend
        from marotte.renderers.rasterizers.triton_project import colours_of, put_on_screen

        room = partial(workspace.room, device=device)
        given = {name: getattr(gaussians, name) for name in FIELDS}
        gaussians = replace(gaussians, **{k: None if v is None else to_tensor(v, device) for k, v in given.items()})
        features, usable = colours_of(gaussians, views, room)
        screen = put_on_screen(gaussians, views, usable, room)
        order, ends = sort_and_count(screen)
        kind = (pictures, count, views.width, views.height)
        capacity = workspace.capacity(kind, ends[-1:])
        workspace.ticket = Ticket(workspace, kind, ends[-1:], capacity)
        grid = (-(-views.width // TILE), -(-views.height // TILE))
        ids, starts = list_pairs(screen, order, ends, pictures, grid, capacity, room)
        size = (pictures, views.height, views.width)
        return blend(starts, ids, screen.rows, features, background, size, depth=depth, precision=precision)


def _check(gaussians: GaussianBatch, views: Views) -> tuple[int, int, int]:
    """Return B, N and C. Raises MarotteError for fields that do not belong together."""
    means = gaussians.means
    pictures, count = (*means.shape, 0, 0)[:2]
    expected = {
        "means": [(pictures, count, 3)],
        "opacities": [(count,), (pictures, count)],
        "quats_wxyz": [(pictures, count, 4)],
        "scales": [(pictures, count, 3), (count, 3)],
        "covariances": [(pictures, count, 6), (count, 6)],
        "features": [(pictures, count, -1), (count, -1)],
        "sh": [(count, -1, 3)],
    }
    for name, shapes in expected.items():
        value = getattr(gaussians, name)
        if value is None:
            continue
        if not is_tensor(value) or value.device != means.device:
            place = f"on {value.device}" if is_tensor(value) else f"{type(value).__module__}.{type(value).__name__}"
            raise MarotteError(f"{name} is {place}: the triton rasterizer draws torch tensors on one device")
        have = tuple(value.shape)
        if not any(len(have) == len(s) and all(h == w or w < 0 for h, w in zip(have, s, strict=True)) for s in shapes):
            wanted = " or ".join(str(["any" if n < 0 else n for n in shape]) for shape in shapes)
            raise MarotteError(f"{name} must be {wanted}, got {list(have)}")
    if gaussians.features is not None and gaussians.features.shape[-1] == 0:
        raise MarotteError(f"features is {list(gaussians.features.shape)}: give at least one channel")
    if len(views) != pictures:
        raise MarotteError(f"means is of {pictures} pictures and there are {len(views)} views: give one for each")
    if (gaussians.covariances is None) == (gaussians.scales is None or gaussians.quats_wxyz is None):
        raise MarotteError("the Gaussians' shape is given by quats_wxyz and scales or by covariances, one of the two")
    if (gaussians.features is None) == (gaussians.sh is None):
        raise MarotteError("the Gaussians' colour is given by features or by sh, one of the two")
    if gaussians.sh is not None:
        degree = gaussians.sh_degree
        if degree not in SH_DEGREES or gaussians.sh.shape[1] < (degree + 1) ** 2:
            raise MarotteError(f"sh_degree {degree} does not go with {gaussians.sh.shape[1]} coefficients of sh")
    if not (means.is_cuda or _interpreted()):
        raise MarotteError(f"means is on {means.device}: the triton rasterizer draws on a CUDA device")
    if pictures * count > _MOST:
        raise MarotteError(f"{pictures} pictures of {count} Gaussians are too many at once: draw fewer pictures")
    return pictures, count, 3 if gaussians.features is None else int(gaussians.features.shape[-1])


def _checked_background(given: Any, size: tuple[int, ...], device: Any) -> Any:
    """Return a background for pictures of `size` (B, H, W, C) as a float32 tensor; None is black."""
    if given is None:
        return None
    if tuple(given.shape) not in (size, size[1:], size[3:]):
        raise MarotteError(f"background is {list(given.shape)}: give [{size[3]}], {list(size[1:])} or {list(size)}")
    return to_tensor(given, device)


def _nothing(size: tuple[int, int, int], channels: int, depth: bool, device: Any) -> Raster:
    """Return the pictures of zero Gaussians: zeros, not the background, as published."""
    import torch

    zeros = torch.zeros(size, device=device) if depth else None
    return Raster(torch.zeros((*size, channels), device=device), torch.ones(size, device=device), zeros)
