"""What a rasterizer on a CUDA device gets to draw many pictures at once: stacked Gaussians, stacked views.

B pictures of one size. What all pictures share (opacities, colours) is given once, without the leading B, and is
never copied B times. Torch tensors, float32, contiguous, on one device.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from marotte.errors import MarotteError
from marotte.renderers.rasterizers.published import PublishedSettings


class Views(NamedTuple):
    """B views of width x height pixels, as `PublishedSettings` says them.

    viewmatrix, projmatrix: [B, 4, 4], both transposed; campos: [B, 3]; tanfov: [B, 2], x and y.
    """

    viewmatrix: Any
    projmatrix: Any
    campos: Any
    tanfov: Any
    width: int
    height: int
    scale_modifier: float = 1.0

    @classmethod
    def stack(cls, settings: Sequence[PublishedSettings], device: Any) -> "Views":
        """Return the views on a torch device, in one transfer. Raises MarotteError where they differ in size."""
        import torch

        first = settings[0]
        for other in settings:
            same = (other.image_width, other.image_height, other.scale_modifier) == (
                first.image_width,
                first.image_height,
                first.scale_modifier,
            )
            if not same:
                raise MarotteError(
                    f"pictures of {other.image_width}x{other.image_height} and {first.image_width}x"
                    f"{first.image_height} pixels cannot be drawn in one batch: draw them apart"
                )
        rows = np.empty((len(settings), 37), np.float32)
        for row, view in zip(rows, settings, strict=True):
            row[:16], row[16:32] = view.viewmatrix.ravel(), view.projmatrix.ravel()
            row[32:35], row[35:] = view.campos, (view.tanfovx, view.tanfovy)
        packed = torch.from_numpy(rows)
        if torch.device(device).type == "cuda":
            packed = packed.pin_memory()
        packed = packed.to(device, non_blocking=True)
        return cls(
            viewmatrix=packed[:, :16].reshape(-1, 4, 4).contiguous(),
            projmatrix=packed[:, 16:32].reshape(-1, 4, 4).contiguous(),
            campos=packed[:, 32:35].contiguous(),
            tanfov=packed[:, 35:].contiguous(),
            width=first.image_width,
            height=first.image_height,
            scale_modifier=first.scale_modifier,
        )

    def __len__(self) -> int:
        return int(self.viewmatrix.shape[0])


@dataclass(frozen=True, eq=False)
class GaussianBatch:
    """N Gaussians in B pictures, under the names of `Gaussians`.

    means: [B, N, 3]. opacities: [N] or [B, N]. Shape: quats_wxyz [B, N, 4], used as they are, and scales
    [B, N, 3] or [N, 3]; or covariances [B, N, 6] or [N, 6]. Colour: features [N, C] or [B, N, C]; or sh
    [N, K, 3] with its degree.
    """

    means: Any
    opacities: Any
    quats_wxyz: Any = None
    scales: Any = None
    covariances: Any = None
    features: Any = None
    sh: Any = None
    sh_degree: int | None = None
