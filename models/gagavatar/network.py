"""The whole network: from one photo to Gaussians, and from their drawing to the picture.

The pieces that a renderer calls are pure: weights are all that the module holds, what an identity is (`Identity`) is a
value, noise is an argument, and nothing is changed in place. Between them stand FLAME and a rasterizer, which are not
here. Source: Chu and Harada 2024 (GAGAvatar), and the published inference code's numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from marotte.errors import MarotteError
from marotte.models.gagavatar.camera import encode_direction, plane_points
from marotte.models.gagavatar.config import GAGAvatarConfig
from marotte.models.gagavatar.decoder import Features, PictureEncoder
from marotte.models.gagavatar.gaussians import HeadGenerator, Looks, PlaneGenerator
from marotte.models.gagavatar.loading import assign, read_checkpoint
from marotte.models.gagavatar.stylegan import normal
from marotte.models.gagavatar.upsampler import StyleUNet
from marotte.models.precision import full_float32
from marotte.models.published_network import PublishedNetwork


@dataclass(frozen=True, eq=False)
class Identity:
    """All that does not change while B identities speak; B is 1 where one photo was given.

    Gaussians stand in the published order: the head's, one a vertex, then the far and the near plane's.
    looks: of all [B, 180255, ...]. plane_means: [B, 2 x 87616, 3], places in the world: FLAME's frame, metres times 5.
    """

    looks: Looks
    plane_means: Tensor

    def means(self, vertices: Tensor) -> Tensor:
        """Return the places [T, 180255, 3] of frames with FLAME vertices [T, 5023, 3], metres times 5.

        One identity serves any number of frames; several take one frame each.
        """
        return torch.cat([vertices, self.plane_means.expand(len(vertices), -1, -1)], dim=1)


class GAGAvatar(PublishedNetwork):
    """The network, always in eval mode, with the published names in its state_dict.

    `to(bfloat16)` and the like change the upsampler only, which runs every frame, and not what decides its style. All
    that runs once for an identity stays float32. On CUDA, float32 means float32: TF32 is off while a method runs.
    """

    shortened = ("upsampler",)

    def __init__(self, config: GAGAvatarConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GAGAvatarConfig()
        self.head_base = nn.Parameter(normal(config.vertices, config.features))
        self.base_model = PictureEncoder(config)
        self.gs_generator_g = HeadGenerator(config)
        self.gs_generator_l0 = PlaneGenerator(config)
        self.gs_generator_l1 = PlaneGenerator(config)
        self.upsampler = StyleUNet(config)
        self.eval()

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        config: GAGAvatarConfig | None = None,
    ) -> "GAGAvatar":
        """Read the published checkpoint (`GAGAvatar.pt`, or its network's entries as safetensors), strictly.

        config: by default the published sizes. dtype: of the upsampler. The weights are mapped from the file and in
        memory once; nothing is unpickled freely. Raises MarotteError where the file cannot be read, is another
        checkpoint, or an entry is missing, extra or misshapen.
        """
        path = Path(path)
        entries = read_checkpoint(path)
        return cls.in_place(entries, path, assign, device, dtype, config)

    @torch.no_grad()
    def identity(self, image: Tensor, transform: Tensor) -> Identity:
        """Return the identities of photos [B, 3, 512, 512], RGB 0 to 1 on black, with transforms [R | t] [B, 3, 4].

        Photos of another size are resized. Raises MarotteError for another shape.
        """
        features = self.encode(image)
        looks, plane_means = self.plane_gaussians(features, transform)
        return Identity(Looks.join([self.head_looks(features, transform), looks]), plane_means)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Features:
        """Return what is seen in photos [B, 3, h, w], RGB 0 to 1 on black: a map and a vector each.

        The published photos are 512 x 512; all are resized to 518. Raises MarotteError for another shape.
        """
        _check("photos", image, None, 3, None, None)
        with full_float32(self.head_base.device):
            return self.base_model(self._like_weights(image))

    @torch.no_grad()
    def head_looks(self, features: Features, transform: Tensor) -> Looks:
        """Return the looks of the head's Gaussians [B, 5023, ...] of photos taken with transforms [B, 3, 4].

        Of a transform only the direction of view counts. Their places are a frame's vertices.
        """
        _check("transforms", transform, len(features.vector), 3, 4)
        direction = encode_direction(self._like_weights(transform)[:, :, 2])
        base = self.head_base.expand(len(direction), -1, -1)
        seen = features.vector[:, None].expand(-1, base.shape[1], -1)
        with full_float32(direction.device):
            return self.gs_generator_g(torch.cat([base, seen], dim=2), direction)

    @torch.no_grad()
    def plane_gaussians(self, features: Features, transform: Tensor) -> tuple[Looks, Tensor]:
        """Return looks [B, 2 x 87616, ...] and places [B, 2 x 87616, 3] of photos taken with transforms [B, 3, 4].

        First those behind the plane as the camera sees it, then those before it, each row by row.
        """
        _check("transforms", transform, len(features.vector), 3, 4)
        points, normal = plane_points(self._like_weights(transform), features.map.shape[-1])
        direction = encode_direction(normal)
        looks, means = [], []
        with full_float32(direction.device):
            for sign, generator in ((1, self.gs_generator_l0), (-1, self.gs_generator_l1)):
                plane, distance = generator(features.map, direction)
                looks.append(plane)
                means.append(points + sign * distance * normal[:, None])
        return Looks.join(looks), torch.cat(means, dim=1)

    @torch.no_grad()
    def upsample(self, picture: Tensor, noise: Sequence[Tensor] | None = None) -> Tensor:
        """Return RGB pictures [B, 3, 512, 512], 0 to 1, float32, of rasterized ones [B, 32, 512, 512], not clamped.

        noise: as `random_noise` gives it; None for the checkpoint's own, with which the same input always gives the
        same picture. (The published code draws anew for every picture.) Raises MarotteError for another shape.
        """
        size = self.config.picture_size
        _check("rasterized pictures", picture, None, self.config.channels, size, size)
        with full_float32(self.head_base.device):
            return self.upsampler(picture.to(self.head_base.device), noise)

    def stored_noise(self) -> list[Tensor]:
        """Return the checkpoint's own noise: 15 of [1, 1, h, w], unit normal."""
        return self.upsampler.stored_noise()

    def random_noise(self, generator: torch.Generator, batch: int = 1) -> list[Tensor]:
        """Return noise for so many pictures, 15 of [B, 1, h, w], unit normal, on the generator's device.

        All of a picture's is drawn before the next one's, in the published order, so batches of any size draw the same.
        """
        shapes = [tuple(noise.shape) for noise in self.stored_noise()]
        drawn = [[torch.randn(s, generator=generator, device=generator.device) for s in shapes] for _ in range(batch)]
        return [torch.cat(layer) for layer in zip(*drawn, strict=True)]

    def _like_weights(self, x: Tensor) -> Tensor:
        """Return x on the model's device, in the type of what is not shortened."""
        return x.to(device=self.head_base.device, dtype=self.head_base.dtype)


def _check(what: str, x: Tensor, *shape: int | None) -> None:
    """Raise MarotteError unless x has this shape, where None stands for any number, and floating numbers."""
    if not x.is_floating_point():
        kind = str(x.dtype).removeprefix("torch.")
        raise MarotteError(f"{what} are {kind}, expected floating numbers: divide the bytes of a picture by 255")
    if x.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, x.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise MarotteError(f"{what} have shape {list(x.shape)}, expected [{wanted}]")
