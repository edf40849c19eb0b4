"""The forehead, held still: 68 vertices that follow the expression slowly, as in ARTalk's renderer."""

import torch
from torch import Tensor

from marotte.errors import MarotteError

# Of the way to the current place, so much is gone each frame at 25 Hz.
_STEP = 0.02
# fmt: off
FOREHEAD = (
    2168, 2165, 3068, 2199, 2196, 3720, 2091, 2088, 3524, 625, 628, 3871, 705, 708, 2030, 667, 670, 3708, 3706, 3729,
    3721, 3773, 3789, 3735, 3732, 3786, 3876, 3878, 3913, 3899, 3872, 3874, 3864, 3865, 3158, 3157, 336, 335, 3153,
    3705, 2177, 2176, 3540, 671, 672, 3863, 2134, 16, 17, 2138, 2139, 2567, 2566, 337, 338, 3154, 3712, 2178, 2179,
    3495, 674, 673, 3868, 2135, 27, 18, 1429, 1430,
)
# fmt: on


def smooth_forehead(vertices: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return consecutive frames' vertices with the forehead smoothed, and the state for the next frame.

    vertices: [T, 5023, 3] at 25 Hz. state: [68, 3] of the frame before; None starts with the first frame's own places.
    The published code keeps one state for all identities and clips; here it is a value, and new ones start anew.
    """
    if not len(vertices):
        raise MarotteError("there are no frames to smooth the forehead in: give one at least")
    index = torch.tensor(FOREHEAD, device=vertices.device)
    current, smoothed = vertices[:, index], []
    for places in current:
        state = places if state is None else (1 - _STEP) * state + _STEP * places
        smoothed.append(state)
    result = vertices.clone()
    result[:, index] = torch.stack(smoothed)
    return result, smoothed[-1].clone()
