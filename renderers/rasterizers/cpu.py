"""The CPU rasterizer: the published semantics of `reference.py`, compiled and on all cores.

Four stages: project each Gaussian, sort by depth, list each tile's splats, blend tile by tile. Each
tile's pixels are the work of one thread, so the picture is the same to the last bit whatever the
number of threads. It departs from the slow twin by rounding alone: `exp` is a polynomial, and
weighted colours are added with fused multiply-adds. Few channels are blended splat by splat (`cpu_blend`), many as
products of matrices (`cpu_blend_wide`); both add in the same order.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace

import numba
import numpy as np

from marotte.errors import MarotteError
from marotte.renderers.gaussians import Gaussians, Raster
from marotte.renderers.rasterizers import cpu_blend, cpu_blend_wide
from marotte.renderers.rasterizers.cpu_bins import TILE, count_members, fill_lists
from marotte.renderers.rasterizers.cpu_blend_wide import MANY
from marotte.renderers.rasterizers.cpu_lanes import LANES
from marotte.renderers.rasterizers.cpu_order import sort_by_depth
from marotte.renderers.rasterizers.cpu_project import SHAPE, Splats, project
from marotte.renderers.rasterizers.cpu_sh import evaluate_sh
from marotte.renderers.rasterizers.published import PublishedSettings
from marotte.runtime.camera import facing_camera

# Pairs of tile and splat whose ids take half a gigabyte.
_MAX_PAIRS = 2**27
_CACHE_LINE = 64


class Workspace:
    """The memory that pictures are drawn in, kept from one to the next: one for each stream or thread.

    Once it has drawn a picture of a size and a number of Gaussians, it allocates nothing for the next of
    that kind. A `Raster` that it returns is its own memory, and changes with the next picture. Nothing
    else is carried over: a picture depends on its arguments alone.

    pairs: of tile and Gaussian that the last picture was blended from, which is what its time goes with.
    """

    def __init__(self) -> None:
        self.pairs = 0
        self._busy = threading.Lock()
        self._rooms: dict[str, np.ndarray] = {}

    def render(
        self,
        gaussians: Gaussians,
        settings: PublishedSettings,
        background: np.ndarray | None = None,
        *,
        depth: bool = False,
        clock: Callable[[str], None] | None = None,
    ) -> Raster:
        """Return the picture of `gaussians` over `background`, [C] or [H, W, C]; None is black.

        clock: called after each stage with its name: prepare, sort, bin, blend.

        Raises MarotteError for a background of another shape, for Gaussians so large that their lists would fill
        the memory, and when another thread is drawing in this workspace.
        """
        if not self._busy.acquire(blocking=False):
            raise MarotteError("this Workspace is drawing for another thread: give each thread its own")
        try:
            return self._render(gaussians, settings, background, depth, clock or (lambda stage: None))
        finally:
            self._busy.release()

    def _render(
        self,
        gaussians: Gaussians,
        settings: PublishedSettings,
        background: np.ndarray | None,
        depth: bool,
        clock: Callable[[str], None],
    ) -> Raster:
        height, width, channels = settings.image_height, settings.image_width, gaussians.channels
        behind = _readable(settings.background(background, channels))
        color = self._room("color", (height, width, channels))
        transmittance = self._room("transmittance", (height, width))
        depths = self._room("depth", (height, width) if depth else (0, 0))
        self.pairs = 0
        if len(gaussians) == 0:
            # Zeros, not the background, are what the published code gives.
            color[:], transmittance[:], depths[:] = 0, 1, 0
            return Raster(color, transmittance, depths if depth else None)

        splats, colours = self._project(gaussians, settings)
        colours = self._columns(colours, splats.keys.view(np.float32) if depth else None)
        clock("prepare")

        count = len(gaussians)
        order = sort_by_depth(
            splats.keys, self._room("front", (count,), np.uint64), self._room("back", (count,), np.uint64)
        )
        clock("sort")

        columns, rows = -(-width // TILE), -(-height // TILE)
        first = self._room("first", (columns * rows + 1,), np.int64)
        self.pairs = int(count_members(splats.boxes, columns, first))
        if self.pairs > _MAX_PAIRS:
            raise MarotteError(
                f"{count} Gaussians touch {self.pairs} tiles of a {width}x{height} picture, more than the {_MAX_PAIRS} "
                "that fit the memory: they are too large for it, or the picture is"
            )
        members = self._room("members", (self.pairs,), np.int32)
        fill_lists(order, splats.boxes, columns, first, members)
        clock("bin")

        width = colours.shape[1]
        module, counted = (cpu_blend, width) if width < MANY else (cpu_blend_wide, cpu_blend_wide.vectors(width))
        scratch = self._scratch(numba.get_num_threads(), module.scratch_size(width))
        counter = (np.float32(0),) * counted
        module.blend(first, members, splats, colours, behind, scratch, counter, color, transmittance, depths)
        clock("blend")
        return Raster(color, transmittance, depths if depth else None)

    def _project(self, gaussians: Gaussians, settings: PublishedSettings) -> tuple[Splats, np.ndarray]:
        """Return the splats and the colours [N, C]."""
        count = len(gaussians)
        means = _readable(gaussians.means)
        if gaussians.sh is None:
            colours = _readable(gaussians.features)
        else:
            evaluated = self._room("colours", (count, 3))
            evaluate_sh(means, _readable(gaussians.sh), gaussians.sh_degree, settings.campos, evaluated)
            colours = _readable(evaluated)
        splats = Splats(
            self._room("shapes", (count, SHAPE)),
            self._room("boxes", (count, 4), np.int32),
            self._room("keys", (count,), np.uint32),
        )
        project(
            means,
            _readable(gaussians.opacities),
            _readable(gaussians.quats_wxyz, 4),
            _readable(gaussians.scales, 3),
            _readable(gaussians.covariances, 6),
            colours,
            settings.viewmatrix,
            settings.projmatrix,
            np.array([settings.tanfovx, settings.tanfovy, settings.scale_modifier], np.float32),
            int(settings.image_width),
            int(settings.image_height),
            splats,
        )
        return splats, colours

    def _columns(self, colours: np.ndarray, depths: np.ndarray | None) -> np.ndarray:
        """Return what is blended: colours [N, C], with depths [N] as one more channel; many fill whole vectors."""
        channels = colours.shape[1]
        columns = channels + (depths is not None)
        width = columns if columns < MANY else cpu_blend_wide.vectors(columns) * LANES
        if width == channels:
            return colours
        values = self._room("values", (len(colours), width))
        values[:, :channels], values[:, columns:] = colours, 0
        if depths is not None:
            values[:, channels] = depths
        return _readable(values)

    def _room(self, name: str, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
        """Return an array of that shape, of whatever content, in memory that grows and never shrinks."""
        size = int(np.prod(shape))
        room = self._rooms.get(name)
        if room is None or len(room) < size:
            # An eighth more, so that lists whose length varies soon stop growing.
            room = self._rooms[name] = np.empty(size + size // 8, dtype)
        return room[:size].reshape(shape)

    def _scratch(self, workers: int, size: int) -> np.ndarray:
        """Return [workers, size] float32 that start at cache lines; `size` is whole lines."""
        line = _CACHE_LINE // 4
        room = self._room("scratch", (workers * size + line,))
        start = -(room.ctypes.data // 4) % line
        return room[start : start + workers * size].reshape(workers, size)


def warm_up(channels: Iterable[int] = (3,), *, sh: bool = False) -> None:
    """Compile the kernels for these numbers of channels, or load them from numba's cache.

    Depth takes one channel more: pictures of 3 channels with depth need 4. sh: spherical harmonics too.
    """
    settings = PublishedSettings.from_camera(facing_camera((0, 0, 0), 1.0, 0.4, (16, 16)))
    one = Gaussians(
        means=np.zeros((1, 3)),
        opacities=np.ones(1),
        quats_wxyz=np.array([[1, 0, 0, 0]]),
        scales=np.full((1, 3), 0.1),
        features=np.ones((1, 3)),
    )
    for count in channels:
        Workspace().render(replace(one, features=np.ones((1, count))), settings)
    if sh:
        Workspace().render(replace(one, features=None, sh=np.ones((1, 1, 3))), settings)


def _readable(array: np.ndarray | None, width: int = 0) -> np.ndarray:
    """Return an array as float32, contiguous and read-only; None as one of no rows.

    All alike, because numba compiles again for each kind of array.
    """
    if array is None:
        array = np.empty((0, width))
    with np.errstate(over="ignore"):
        view = np.ascontiguousarray(array, np.float32).view()
    view.flags.writeable = False
    return view
