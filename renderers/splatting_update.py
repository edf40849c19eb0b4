"""The per-frame update of a SplattingAvatar on a torch device: from head states to Gaussians, as one CUDA graph.

Some two hundred small kernels would take longer to start one by one than to run. So they are recorded once for each
number of frames, with memory of their own for what goes in and what comes out, and replayed. Off CUDA, where there
are no graphs, the same functions are called.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from marotte.errors import MarotteError
from marotte.models.flame import FlameModel
from marotte.models.flame_torch import TorchHead
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_torch import TorchSplats, TorchSplatted
from marotte.runtime.camera import Camera
from marotte.runtime.head import HeadState

# Calls before recording, so that libraries have set themselves up and nothing is left to allocate by.
_WARM_UPS = 2
# What follows the expression in a row: pose, eyelids, translation, the camera's centre.
_AFTER = (15, 2, 3, 3)


class _Recorded(NamedTuple):
    rows: torch.Tensor
    graph: torch.cuda.CUDAGraph
    splatted: TorchSplatted
    finite: torch.Tensor


class SplattingUpdate:
    """One avatar's head and Gaussians on a device. Calls come from one thread at a time, on one CUDA stream.

    head: the person's head on numpy, identity baked in; unit: world units a FLAME unit; splats: on numpy.
    """

    def __init__(self, head: FlameModel, unit: float, splats: SplattingAvatar, device: torch.device) -> None:
        self.head, self.splats = TorchHead(head, scale=unit, device=device), TorchSplats(splats, device)
        self.device = device
        self._widths = [self.head.expressions, *_AFTER]
        self._recorded: dict[int, _Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    def rows(self, head: HeadState, cameras: Sequence[Camera]) -> np.ndarray:
        """Return all that T frames depend on, [T, E + 23] float32 on the host.

        Raises MarotteError for more expression coefficients than the head model has.
        """
        frames, given = head.expression.shape
        if given > self.head.expressions:
            raise MarotteError(f"{given} expression coefficients are given, the head model has {self.head.expressions}")
        rows = np.zeros((frames, sum(self._widths)), np.float32)
        rows[:, :given] = head.expression
        _, pose, lids, moved, centres = np.split(rows, np.cumsum(self._widths)[:-1], axis=1)
        pose[:], moved[:] = head.full_pose, head.translation
        if self.head.has_eyelids:
            lids[:] = head.eyelids
        for row, camera in zip(centres, cameras, strict=True):
            row[:] = camera.centre
        return rows

    def __call__(self, rows: np.ndarray) -> tuple[TorchSplatted, torch.Tensor]:
        """Return the Gaussians of B frames and which frames are finite, [B] bool. Nothing is waited for.

        On CUDA they lie in memory that the next call overwrites: use them on the same stream, or copy them.
        """
        given = torch.from_numpy(rows)
        if self._pool is None:
            return self.gaussians(given.to(self.device))
        count = len(rows)
        # Powers of two, so that few graphs serve all batches; what is left of the rows is drawn by nobody.
        size = 1 << (count - 1).bit_length()
        if size not in self._recorded:
            self._recorded[size] = self._record(size)
        recorded = self._recorded[size]
        recorded.rows[:count].copy_(given.pin_memory(), non_blocking=True)
        recorded.graph.replay()
        means, quats, scales, colours = recorded.splatted
        splatted = TorchSplatted(
            means[:count],
            quats[:count],
            scales if scales.dim() == 2 else scales[:count],
            None if colours is None else colours[:count],
        )
        return splatted, recorded.finite[:count]

    def gaussians(self, rows: torch.Tensor) -> tuple[TorchSplatted, torch.Tensor]:
        """Return what a call returns, for rows on the device and without a graph: what the graphs are recorded of."""
        expression, pose, lids, moved, centres = torch.split(rows, self._widths, dim=1)
        vertices = self.head.vertices(expression, pose, lids if self.head.has_eyelids else None, moved)
        return self.splats.drive(vertices, centres), torch.isfinite(vertices).flatten(1).all(dim=1)

    def _record(self, size: int) -> _Recorded:
        """Return the graph of a batch of `size` frames; waits for the device."""
        rows = torch.zeros((size, sum(self._widths)), device=self.device)
        current, aside = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self.gaussians(rows)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads, a driver's network say, may allocate meanwhile. Graphs of one pool may share what each
        # needs only while it runs: they run one at a time.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            splatted, finite = self.gaussians(rows)
        return _Recorded(rows, graph, splatted, finite)
