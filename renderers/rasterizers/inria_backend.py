"""The published rasterizer and its variants behind our `draw`: packages of the family diff_gaussian_rasterization.

All are compiled for one number of channels, which their module's name tells. They differ in the rest: in the fields
of their settings, in whether a background is a colour or a picture, in what they return beside the picture (depth,
inverse depth, nothing). Only what all share is used: settings by the names of their fields, a background of zeros
that serves as either, the first of the values returned. Whatever is to be blended (colours, depth, coverage) goes
through as so many channels, in as many passes as the package's channels need, and every pass blends alike. So depth,
the transmittance, a picture as background, and features of any number of channels are exact with every variant.

Not ours to give: the packages are built from source and carry a non-commercial licence. Source: the rasterizer
reference, sections 1 and 2.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.renderers.gaussians import Array, Gaussians, Raster
from marotte.renderers.rasterizers import tensors
from marotte.renderers.rasterizers.published import PublishedSettings

# Modules and how many channels each is compiled for.
MODULES = {"diff_gaussian_rasterization": 3, "diff_gaussian_rasterization_32d": 32}
_SOURCE = "https://github.com/graphdeco-inria/diff-gaussian-rasterization"
_WIDE_SOURCE = "https://github.com/xg-chu/diff-gaussian-rasterization"


def why_not() -> str:
    """Return "" where one of the packages is installed and torch has a CUDA device, else why not."""
    if reason := tensors.no_cuda():
        return reason
    if not installed():
        return (
            f"neither {' nor '.join(MODULES)} is installed: git clone --recursive {_SOURCE} and pip install "
            f"--no-build-isolation ./diff-gaussian-rasterization, which needs nvcc (for 32 channels the same "
            f"of {_WIDE_SOURCE}); its licence is non-commercial"
        )
    return ""


def installed() -> dict[str, int]:
    """Return the modules that are installed and their channels."""
    return {name: channels for name, channels in MODULES.items() if find_spec(name) is not None}


def draw(
    gaussians: Gaussians, settings: PublishedSettings, background: Array | None = None, *, depth: bool = False
) -> Raster:
    """Return the picture of `gaussians`, torch tensors, on their device.

    background: [C] or [H, W, C]; None is black. Raises MarotteError for a background of another shape, and for a
    package whose settings or pictures are not those of this family.
    """
    import torch

    device, channels = gaussians.means.device, gaussians.channels
    with tensors.working_on(device):
        picture = tensors.behind(background, settings, channels, device)
        if len(gaussians) == 0:
            return tensors.nothing(settings, channels, depth, device)
        gaussians = tensors.only_finite(gaussians)
        # Colours, then depth, then what everything covers.
        plan = _plan(channels + depth + 1)
        degree = 0 if gaussians.sh_degree is None else gaussians.sh_degree
        views = {name: _View(name, width, settings, degree, device) for name, width in plan}
        first = views[plan[0][0]]
        columns: list[Any] = [torch.ones_like(gaussians.means[:, :1])]
        if depth:
            columns.insert(0, (gaussians.means * first.forward[:3]).sum(dim=1, keepdim=True) + first.forward[3])
        layers = []
        if gaussians.sh is not None and plan[0][1] == 3:
            layers.append(first.blend(gaussians, shs=gaussians.sh))
            plan = plan[1:]
        else:
            colours = gaussians.features if gaussians.sh is None else tensors.harmonic_colours(gaussians, first.campos)
            columns = [colours, *columns]
        values = torch.cat(columns, dim=1)
        for name, width in plan:
            part, values = values[:, :width], values[:, width:]
            part = torch.nn.functional.pad(part, (0, width - part.shape[1]))
            layers.append(views[name].blend(gaussians, colors_precomp=part.contiguous()))
        blended = torch.cat(layers)[: channels + depth + 1].permute(1, 2, 0)
        return tensors.over(
            blended[..., :channels], 1 - blended[..., -1], picture, blended[..., channels] if depth else None
        )


def passes(channels: int, *, depth: bool = False) -> int:
    """Return how often the packages draw for one picture of so many channels: its coverage is one channel more."""
    return len(_plan(channels + depth + 1))


def _plan(channels: int) -> list[tuple[str, int]]:
    """Return the module of each pass that blends so many channels, and its own number: as few passes as can be.

    What is left for the last pass goes to the narrowest that holds it: 32 features and their coverage are one pass of
    the 32-channel package and, where that is here too, one of the 3-channel one.
    """
    here = sorted(installed().items(), key=lambda item: item[1])
    name, width = min(here, key=lambda item: (-(-channels // item[1]), item[1]))
    full, rest = divmod(channels, width)
    return [(name, width)] * full + [item for item in here if item[1] >= rest > 0][:1]


class _View:
    """One view, in the form of one of the modules.

    campos: [3], the camera's centre. forward: [4], the row of world to camera that gives depth.
    """

    def __init__(self, name: str, channels: int, settings: PublishedSettings, degree: int, device: Any) -> None:
        import torch

        module = import_module(name)
        height, width = settings.image_height, settings.image_width
        view, projection, self.campos = tensors.upload(
            [settings.viewmatrix, settings.projmatrix, settings.campos], device
        )
        self.forward = view[:, 2]
        self._name, self._shape = name, (channels, height, width)
        values = {
            "image_height": height,
            "image_width": width,
            "tanfovx": float(np.float32(settings.tanfovx)),
            "tanfovy": float(np.float32(settings.tanfovy)),
            "bg": torch.zeros(self._shape, device=device),
            "scale_modifier": float(settings.scale_modifier),
            "viewmatrix": view,
            "projmatrix": projection,
            "sh_degree": degree,
            "campos": self.campos,
            "prefiltered": False,
            "debug": False,
            # Of versions since 2024.
            "antialiasing": False,
        }
        form = module.GaussianRasterizationSettings
        unknown = [field for field in form._fields if field not in values and field not in form._field_defaults]
        if unknown:
            raise MarotteError(
                f"the settings of this {name} also want {', '.join(unknown)}: it is a variant that is not known here; "
                f"install {_SOURCE}"
            )
        known = {field: values[field] for field in form._fields if field in values}
        self._rasterizer = module.GaussianRasterizer(form(**known))

    def blend(self, gaussians: Gaussians, **colours: Any) -> Any:
        """Return what one pass over black gives, [channels, H, W]: of `shs` [N, K, 3] or `colors_precomp` [N, C]."""
        if gaussians.covariances is None:
            shape = {"scales": gaussians.scales, "rotations": gaussians.quats_wxyz}
        else:
            shape = {"cov3D_precomp": gaussians.covariances}
        returned = self._rasterizer(
            means3D=gaussians.means,
            # It carries gradients in training; its values are not read.
            means2D=gaussians.means,
            opacities=gaussians.opacities[:, None],
            **colours,
            **shape,
        )
        picture = returned[0]
        if tuple(picture.shape) != self._shape:
            raise MarotteError(
                f"this {self._name} draws {list(picture.shape)} where {list(self._shape)} was expected: it is compiled "
                f"for another number of channels; install {_SOURCE}"
            )
        return picture
