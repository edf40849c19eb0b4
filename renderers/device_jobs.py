"""Frames of several streams drawn together on a torch device: what the renderers that draw in batches share."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marotte.renderers.cuda_frames import Arrival, HostCopies
from marotte.renderers.rasterizers.triton_backend import Ticket
from marotte.runtime.frames import Frames


class Workplace:
    """A torch device on which one thread at a time starts work; on CUDA on a stream of its own, which nobody waits for.

    name: `cpu`, `cuda` (the current one) or `cuda:<n>`. device: which that is. copies: from it to the host.
    """

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        if self.device.type == "cuda" and self.device.index is None:
            self.device = torch.device("cuda", torch.cuda.current_device())
        self.copies = HostCopies(self.device)
        self._stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self._lock = threading.Lock()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep other threads out, and put what is started here onto the stream."""
        with self._lock, torch.inference_mode():
            if self._stream is None:
                yield
            else:
                with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
                    yield

    def bring(self, host: Tensor) -> Tensor:
        """Return a host tensor on the device, without a wait for what is under way there; only while at work."""
        return host if self._stream is None else host.pin_memory().to(self.device, non_blocking=True)

    def wait(self) -> None:
        """Return when all that was started is done."""
        if self._stream is not None:
            self._stream.synchronize()


class UnderWay(NamedTuple):
    """A span of a job's frames that is being drawn. ticket: says whether all had room; arrival: of its bytes."""

    span: slice
    ticket: Ticket | None
    arrival: Arrival


class Drawn:
    """Pictures under way.

    ticks: [T] of all frames; pixels: [T, H, W, 3 or 4] uint8, host memory that they arrive in; counts: frames of each
    piece of work. draw_again: draws a span anew after its ticket has made room. check: is called when all are there,
    and may raise MarotteError.
    """

    def __init__(
        self,
        ticks: np.ndarray,
        pixels: Tensor,
        counts: Sequence[int],
        under_way: list[UnderWay],
        draw_again: Callable[[slice], list[UnderWay]],
        check: Callable[[], None] | None = None,
    ) -> None:
        self._ticks, self._pixels, self._counts = ticks, pixels, counts
        self._under_way, self._draw_again, self._check = under_way, draw_again, check

    def result(self) -> list[Frames]:
        """Wait for the pictures and return them, a batch for each piece of work."""
        while self._under_way:
            span, ticket, arrival = self._under_way.pop(0)
            # First what sleeps; the ticket, which would not, has its count by then.
            arrival.wait()
            if ticket is not None and ticket.overflowed():
                self._under_way[:0] = self._draw_again(span)
        if self._check is not None:
            self._check()
        pixels, stops = self._pixels.numpy(), np.cumsum(self._counts)
        form = "rgba" if pixels.shape[-1] == 4 else "rgb24"
        return [
            Frames(self._ticks[stop - count : stop], pixels[stop - count : stop], form)
            for count, stop in zip(self._counts, stops, strict=True)
        ]


def batch_size(gaussians: int, most_frames: int, most_pairs: int) -> int:
    """Return how many frames to draw at once, a power of two: at most so many, and pairs of a frame and a Gaussian."""
    most = min(most_frames, max(1, most_pairs // gaussians))
    return 1 << (most.bit_length() - 1)


def same_runs(values: Sequence[Tensor | None]) -> Iterator[tuple[slice, Tensor | None]]:
    """Yield each run of frames that have the same object, and that object."""
    low = 0
    for high in range(1, len(values) + 1):
        if high == len(values) or values[high] is not values[low]:
            yield slice(low, high), values[low]
            low = high
