"""CameraTrack: the cameras of a recording or a rig, and what came with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.affine import Affine2D
from marotte.runtime.camera import Camera
from marotte.runtime.head import HeadState
from marotte.runtime.motion import EXPRESSION, HEAD, JAW, WIDTH, Motion


@dataclass(frozen=True)
class Crop:
    """How the pictures were cut from a video: a box, padding to a square, a resize.

    video: (width, height). box: (left, right, top, bottom) in video pixels, right and bottom exclusive. padding:
    columns left and right, rows above and below. size: (width, height) of the result.
    """

    video: tuple[int, int]
    box: tuple[int, int, int, int]
    padding: tuple[int, int]
    size: tuple[int, int]

    @property
    def affine(self) -> Affine2D:
        """The map from the video to the crop, in continuous pixels."""
        left, right, top, bottom = self.box
        across, down = self.padding
        scale_x = self.size[0] / (right - left + 2 * across)
        scale_y = self.size[1] / (bottom - top + 2 * down)
        return Affine2D(scale_x, scale_y, scale_x * (across - left), scale_y * (down - top))


@dataclass(frozen=True, eq=False)
class CameraTrack:
    """N cameras, and for each what picture it belongs to.

    cameras: all of one unit. names: N frame ids, as the format writes them (`00001`, `image/7`, `cam3`). images: N
    picture paths relative to `root`, empty where the format names none. root: the folder that it was read from.
    crop: how the pictures were cut from a video, None where that is not known. head: FLAME parameters of N frames in
    FLAME's own unit, None where none came; basis: of their expression; fps: of the frames, None where the format does
    not say it (a rig of still cameras has none).
    format: the name of the format that it was read from. extra: arrays and values that this format alone holds,
    by its own key names, so that it can be written back whole. notes: what a user should know about the reading.

    Raises MarotteError where lengths or units disagree.
    """

    cameras: tuple[Camera, ...]
    names: tuple[str, ...]
    images: tuple[str, ...] = ()
    root: Path | None = None
    crop: Crop | None = None
    head: HeadState | None = None
    basis: str = "flame2020"
    fps: Fraction | None = None
    format: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.cameras)
        if not count:
            raise MarotteError("a camera track needs at least one camera")
        for name in ("names", "images"):
            if len(getattr(self, name)) not in (count, *((0,) if name == "images" else ())):
                raise MarotteError(f"{count} cameras have {len(getattr(self, name))} {name}: give one for each")
        if self.head is not None and len(self.head) != count:
            raise MarotteError(f"{count} cameras came with FLAME parameters of {len(self.head)} frames")
        if len({camera.unit for camera in self.cameras}) > 1:
            raise MarotteError("the cameras of a track must all have one unit")

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def unit(self) -> float:
        """World units per FLAME unit."""
        return self.cameras[0].unit

    def scaled(self, unit: float) -> "CameraTrack":
        """Return the same cameras in a world of `unit` units per FLAME unit."""
        return replace(self, cameras=tuple(camera.scaled(unit / camera.unit) for camera in self.cameras))

    def through(self, affine: Affine2D, width: int, height: int, space: str) -> "CameraTrack":
        """Return the cameras of the pictures that `affine` makes of these; a crop that no longer holds is dropped."""
        cameras = tuple(camera.through(affine, width, height, space) for camera in self.cameras)
        return replace(self, cameras=cameras, crop=None)

    def to_video(self) -> "CameraTrack":
        """Return the cameras of the video that the pictures were cut from. Raises MarotteError without a crop."""
        if self.crop is None:
            raise MarotteError(
                "how these pictures were cut from the video is not known: give bbox.pt and the video size"
            )
        return self.through(self.crop.affine.inverse, *self.crop.video, "video")

    def motion(self, fps: Fraction | None = None) -> Motion:
        """Return the head's parameters as a motion: 100 expression coefficients, head and jaw rotation, the extras.

        Head rotation is the root's. fps: where the format does not say it. Raises MarotteError without a head.
        """
        rate = fps or self.fps
        if self.head is None or rate is None:
            raise MarotteError("no FLAME parameters came with these cameras" if rate else "give the frame rate: --fps")
        codes = np.zeros((len(self), WIDTH), np.float32)
        count = min(self.head.expression.shape[1], EXPRESSION.stop)
        codes[:, :count] = self.head.expression[:, :count]
        codes[:, HEAD], codes[:, JAW] = self.head.root, self.head.jaw
        return Motion(
            codes,
            Fraction(rate),
            self.basis,
            eyes=self.head.eyes,
            eyelids=self.head.eyelids,
            neck=self.head.neck,
            translation=self.head.translation,
        )
