"""From pictures on a torch device to bytes on the host: the same bytes as `splat_pictures`, and a copy that overlaps.

Bytes are made on the device, a quarter of what the floats would be to carry, and copied on a stream of their own into
pinned memory, while the next pictures are drawn. Pinned blocks come from torch's cache of them and go back there when
the last array on them is gone: a ring that is as long as what its readers hold.
"""

from collections.abc import Sequence

import numpy as np
import torch

from marotte.runtime.background import Background


class Behind:
    """Backgrounds on a device: the last one is kept there, since frames of one film have the same."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: tuple[Background, torch.Tensor] | None = None

    def on_device(self, background: Background) -> torch.Tensor | None:
        """Return a colour [3] or a picture [H, W, 3], float32 in 0..1; None for a transparent background."""
        if background.transparent:
            return None
        if self._kept is None or self._kept[0] is not background:
            colour = np.array(background.colour, np.float32)
            behind = colour if background.image is None else background.image.astype(np.float32) / np.float32(255)
            self._kept = background, torch.from_numpy(np.ascontiguousarray(behind)).to(self._device)
        return self._kept[1]


def to_bytes(colour: torch.Tensor, transmittance: torch.Tensor, behind: torch.Tensor | None, out: torch.Tensor) -> None:
    """Write pictures drawn on black, colour [B, H, W, 3] and transmittance [B, H, W], into out [B, H, W, 3 or 4].

    behind: [3] or [H, W, 3]; None gives four channels with straight alpha. NaN becomes 0.
    """
    through = transmittance[..., None]
    if behind is None:
        alpha = 1 - through
        # Not `where` with a number in it, which would carry that to the device and wait.
        over = alpha.reciprocal().masked_fill_(alpha <= 0, 0)
        _write_bytes(colour * over, out[..., :3])
        _write_bytes(alpha, out[..., 3:])
    else:
        # Not fused, so that it rounds as the CPU's does.
        _write_bytes(through * behind + colour, out)


def _write_bytes(values: torch.Tensor, out: torch.Tensor) -> None:
    """Write floor(255 x + 0.5) of the values, clamped to 0..1; this overwrites them."""
    out.copy_(values.nan_to_num_(nan=0, posinf=1, neginf=0).clamp_(0, 1).mul_(255).add_(0.5))


class HostCopies:
    """Copies from a device to the host that nobody waits for until the arrays are wanted."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def room(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Return host memory of whatever content that copies can go to, pinned where the device is another."""
        return torch.empty(tuple(shape), dtype=dtype, pin_memory=self._stream is not None)

    def send(self, *pairs: tuple[torch.Tensor, torch.Tensor]) -> "Arrival":
        """Start to copy each (from, to): tensors made on the current stream, into `room`s.

        The sources must not be written again, by any stream: they are kept until the copies are done.
        """
        if self._stream is None:
            for source, target in pairs:
                target.copy_(source)
            return Arrival(None)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for source, target in pairs:
                target.copy_(source, non_blocking=True)
                source.record_stream(self._stream)
            # A waiting thread sleeps: the encoder has a use for the core.
            event = torch.cuda.Event(blocking=True)
            event.record(self._stream)
        return Arrival(event)


class Arrival:
    """The end of copies under way."""

    def __init__(self, event: torch.cuda.Event | None) -> None:
        self._event = event

    def wait(self) -> None:
        """Return when what was copied is there."""
        if self._event is not None:
            self._event.synchronize()
