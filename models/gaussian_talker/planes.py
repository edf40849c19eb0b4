"""What a Gaussian knows of its own place: features on three planes at each level (Chan et al. 2022)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marotte.models.gaussian_talker.config import TalkerConfig

# The two coordinates of each plane: the first runs along its width, the second along its height.
_PAIRS = ((0, 1), (0, 2), (1, 2))


class PlaneGrid(nn.Module):
    """The planes. aabb: [2, 3], first the box's largest corner, then its smallest."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.aabb = nn.Parameter(torch.tensor([[1.6] * 3, [-1.6] * 3]), requires_grad=False)
        self.grids = nn.ModuleList()
        for times in config.multires:
            cells = [times * n for n in config.planes]
            shapes = [(1, config.features, cells[b], cells[a]) for a, b in _PAIRS]
            self.grids.append(nn.ParameterList([torch.rand(shape) * 0.4 + 0.1 for shape in shapes]))

    def forward(self, xyz: Tensor) -> Tensor:
        """Return the features [P, levels x features] of places [P, 3]; beyond the box they are those of its border."""
        # As published, the largest corner comes to -1 and the smallest to +1; the order of operations is the formula's.
        u = (xyz - self.aabb[0]) * (2 / (self.aabb[1] - self.aabb[0])) - 1
        levels = []
        for planes in self.grids:
            over_xy, over_xz, over_yz = (
                _read(planes.get_parameter(str(k)), u[:, pair]) for k, pair in enumerate(_PAIRS)
            )
            levels.append(over_xy * over_xz * over_yz)
        return torch.cat(levels, dim=1)


def _read(plane: Tensor, at: Tensor) -> Tensor:
    """Return the features [P, C] of a plane [1, C, h, w] at places [P, 2], across and down, -1 to 1."""
    read = functional.grid_sample(plane, at[None, None], mode="bilinear", padding_mode="border", align_corners=True)
    return read[0, :, 0].T


class TriPlane(nn.Module):
    """The planes, and heads that only the first stage of the training uses."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        width = config.net_width
        self.grid = PlaneGrid(config)
        layers: list[nn.Module] = [nn.Linear(config.features * len(config.multires), width)]
        for _ in range(config.depth - 1):
            layers += [nn.ReLU(), nn.Linear(width, width)]
        self.feature_out = nn.Sequential(*layers)
        self.scales = head(width, width, 3)
        self.rotations = head(width, width, 4)
        self.opacity = head(width, width, 1)
        self.shs = head(width, width, 3 * config.sh)


def head(given: int, width: int, out: int) -> nn.Sequential:
    """Return what moves one attribute: a ReLU first, then two layers with one in between."""
    return nn.Sequential(nn.ReLU(), nn.Linear(given, width), nn.ReLU(), nn.Linear(width, out))
