"""The upsampler as CUDA graphs: its some thousand small kernels are recorded once for a batch's size and replayed."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Calls before recording, so that kernels are compiled and libraries have set themselves up.
_WARM_UPS = 2


class _Recorded(NamedTuple):
    pictures: Tensor
    noise: list[Tensor] | None
    graph: torch.cuda.CUDAGraph
    result: Tensor


class Graphs:
    """A function of pictures and noise, recorded. Calls come from one thread at a time, on one CUDA stream."""

    def __init__(self, function: Callable[[Tensor, list[Tensor] | None], Tensor], device: torch.device) -> None:
        self._function, self._device = function, device
        self._recorded: dict[tuple[int, bool], _Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, pictures: Tensor, noise: Sequence[Tensor] | None) -> Tensor:
        """Return what the function returns for [B, ...]; it lies in memory that the next call overwrites.

        noise: each [B, ...], or None.
        """
        count = len(pictures)
        # Powers of two, so that few graphs serve all batches; what is left of the pictures is drawn for nobody.
        kind = 1 << (count - 1).bit_length(), noise is not None
        if kind not in self._recorded:
            self._recorded[kind] = self._record(kind[0], pictures, noise)
        recorded = self._recorded[kind]
        recorded.pictures[:count].copy_(pictures)
        for kept, given in zip(recorded.noise or (), noise or (), strict=True):
            kept[:count].copy_(given)
        recorded.graph.replay()
        return recorded.result[:count]

    def _record(self, size: int, pictures: Tensor, noise: Sequence[Tensor] | None) -> _Recorded:
        """Return the graph of a batch of `size` such pictures; waits for the device."""
        room = torch.zeros((size, *pictures.shape[1:]), device=self._device)
        room = room.contiguous(memory_format=torch.channels_last)
        drawn = None if noise is None else [torch.zeros((size, *n.shape[1:]), device=self._device) for n in noise]
        current, aside = torch.cuda.current_stream(self._device), torch.cuda.Stream(self._device)
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                self._function(room, drawn)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Graphs of one pool may share what each needs only while it runs: they run one at a time, and each one's
        # result is used before the next runs. Other threads may allocate meanwhile.
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = self._function(room, drawn)
        except RuntimeError as error:
            # Where memory ends within a recording, ending that may fail too, and would hide why.
            first = error.__context__
            raise first if isinstance(first, torch.cuda.OutOfMemoryError) else error from None
        return _Recorded(room, drawn, graph, result)
