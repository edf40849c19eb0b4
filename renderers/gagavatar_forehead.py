"""The forehead's slow following at any frame rate: `marotte.models.gagavatar.smooth_forehead` made a stream.

The published code moves 68 vertices a fiftieth of their way each frame, at 25 Hz. Here the state steps at 25 Hz too, on
a grid that starts with the first frame, and what is shown between two points of it lies on the straight line to where
the state would step if the face stayed as it is. At 25 fps that is the published smoothing to the last bit; at 50 fps
every other frame is.
"""

import numpy as np
import torch
from torch import Tensor

from marotte.models.gagavatar.forehead import FOREHEAD, smooth_forehead
from marotte.runtime.clock import TICK_RATE

_GRID = TICK_RATE // 25
_INDEX = torch.tensor(FOREHEAD)


class ForeheadStream:
    """One face's forehead. Frames at once or one by one give the same; a tick that is not later starts a new clip."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the frames before."""
        self._last: tuple[int, Tensor] | None = None  # the tick and the vertices of the frame before
        self._state: Tensor | None = None  # [68, 3], at the last point of the grid
        self._point = 0  # the tick of that

    def __call__(self, ticks: np.ndarray, vertices: Tensor) -> Tensor:
        """Return vertices [T, 5023, 3] of frames at ticks [T] with the forehead following slowly; on the CPU."""
        result = vertices.clone()
        for tick, current, shown in zip(ticks.tolist(), vertices, result, strict=True):
            self._step_to(tick, current)
            _, ahead = smooth_forehead(current[None], self._state)
            assert self._state is not None
            shown[_INDEX] = torch.lerp(self._state, ahead, (tick - self._point) / _GRID)
            self._last = tick, current
        return result

    def _step_to(self, tick: int, current: Tensor) -> None:
        """Bring the state to the last point of the grid that is not after the tick, where the vertices are current."""
        if self._last is None or tick <= self._last[0]:
            _, self._state = smooth_forehead(current[None])
            self._point = tick
            return
        before, places = self._last
        while self._point + _GRID <= tick:
            self._point += _GRID
            share = (self._point - before) / (tick - before)
            there = current if share == 1 else torch.lerp(places, current, share)
            _, self._state = smooth_forehead(there[None], self._state)
