"""The sizes of a GAGAvatar network; the published ones are the defaults."""

from dataclasses import dataclass

# Output units a FLAME unit: the world of the Gaussians is FLAME's metres times 5.
FLAME_SCALE = 5.0
# Half the picture's width is seen at this distance for each unit: the focal length in NDC.
FOCAL_NDC = 12.0


@dataclass(frozen=True)
class GAGAvatarConfig:
    """The network's sizes.

    vit_*: of the picture encoder (DINOv2 ViT-B/14, Oquab et al. 2023), vit_grid its patches along an edge.
    decoder_channels: of the four levels of the decoder, fine to coarse; features: of its map and of a vertex.
    hidden: of the generators. vertices: of the head, one Gaussian each. channels: of the rendered picture.
    unet_channels: of the upsampler at 4 pixels, 8 pixels and so on; style_width: of its style.
    """

    vit_width: int = 768
    vit_depth: int = 12
    vit_heads: int = 12
    vit_patch: int = 14
    vit_grid: int = 37
    decoder_channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    features: int = 256
    hidden: int = 128
    vertices: int = 5023
    channels: int = 32
    unet_channels: tuple[int, ...] = (256, 256, 256, 256, 128, 64, 32, 16)
    style_width: int = 512

    @property
    def image_size(self) -> int:
        """Pixels along an edge of the picture that the encoder sees (518)."""
        return self.vit_patch * self.vit_grid

    @property
    def plane_size(self) -> int:
        """Gaussians along an edge of an image plane (296): the decoder's map has eight for each patch."""
        return 8 * self.vit_grid

    @property
    def picture_size(self) -> int:
        """Pixels along an edge of the rendered picture (512)."""
        return 2 << len(self.unet_channels)

    @property
    def gaussians(self) -> int:
        """Gaussians of a head and its two planes (180255)."""
        return self.vertices + 2 * self.plane_size**2
