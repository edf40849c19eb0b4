"""What a person wants to know about cameras at a glance: how many, how far, from where, in which convention."""

from dataclasses import dataclass

import numpy as np

from marotte.runtime.camera import Camera
from marotte.runtime.cameras.track import CameraTrack

# How each format stores what `Camera` holds, in words.
CONVENTIONS = {
    "metrical": "world to camera, OpenCV axes; a second block in PyTorch3D's, rotation as 6D rows",
    "insta": "camera to world, OpenCV axes (not NeRF's), pixels and whole angles side by side",
    "nerf": "camera to world, OpenGL axes (y up, looking along -z), whole angle in radians",
    "pytorch3d": "row vectors, x left, y up; focal length and principal point in NDC or pixels",
    "imavatar": "world to camera, OpenGL axes, not transposed, 4 units a metre; fx negated, all over the size",
    "splatting-avatar": "rotation transposed, translation as is, OpenCV axes, 4 units a metre; K in pixels",
    "3dgs": "rotation transposed, translation as is, OpenCV axes; two angles, no principal point",
    "gaussian-talker": "Euler angles and translation, OpenGL axes, the 3DMM's unit; one focal length, centred",
    "gagavatar": "row vectors, PyTorch3D axes, 5 units a metre; focal length 12 NDC at 512, centred",
    "facelift": "world to camera, OpenCV axes (FaceLift's own world has z up); pixels",
    "mammal": "world to camera, OpenCV axes, translation in millimetres; pixels of the whole video",
}

# What a track keeps of a file only so that it can be written back.
_OWN = {"top", "frames", "container", "items"}


@dataclass(frozen=True)
class Range:
    """The least and the largest of some values."""

    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Range":
        """The range of some values."""
        return cls(float(np.min(values)), float(np.max(values)))

    def text(self, digits: int = 2, unit: str = "") -> str:
        """`1.64 to 1.72 m`, or one number where they agree in what is shown."""
        low, high = f"{self.low:.{digits}f}", f"{self.high:.{digits}f}"
        return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


@dataclass(frozen=True)
class Summary:
    """Figures of a track; ranges are over its cameras.

    sizes: the (width, height) that occur. fov_x, fov_y: whole angles in
    degrees, 2 atan(size / 2f) as files store them. focal_x, focal_y: pixels. centre_x,
    centre_y: of the principal point, and offset_x, offset_y from the middle of the picture, in pixels. distance: of
    the cameras from the world's origin, in world units. up: the world axis that is up in the pictures. azimuth,
    elevation: of the cameras about the origin, in degrees: 0 in front of the face (+z where y is up, -y where z is),
    positive azimuth to the face's left. turn: the largest angle between the first camera and another.
    """

    count: int
    sizes: tuple[tuple[int, int], ...]
    fov_x: Range
    fov_y: Range
    focal_x: Range
    focal_y: Range
    centre_x: Range
    centre_y: Range
    offset_x: Range
    offset_y: Range
    distance: Range
    up: str
    azimuth: Range
    elevation: Range
    turn: float


def summarise(track: CameraTrack) -> Summary:
    """Return the figures of a track."""
    cameras = track.cameras
    intrinsics = np.array([camera.K for camera in cameras])
    sizes = np.array([(camera.width, camera.height) for camera in cameras])
    focal, centre = intrinsics[:, (0, 1), (0, 1)], intrinsics[:, :2, 2]
    fov = np.degrees(2 * np.arctan(sizes / 2 / focal))
    offset = centre - sizes / 2
    places = np.array([camera.centre for camera in cameras])
    turns = np.array([camera.R for camera in cameras])
    up = up_axis(cameras)
    azimuth, elevation = orbit(places, up)
    return Summary(
        count=len(track),
        sizes=tuple(dict.fromkeys((camera.width, camera.height) for camera in cameras)),
        **{
            f"{name}_{axis}": Range.of(values[:, column])
            for name, values in (("fov", fov), ("focal", focal), ("centre", centre), ("offset", offset))
            for column, axis in enumerate("xy")
        },
        distance=Range.of(np.linalg.norm(places, axis=1)),
        up=up,
        azimuth=Range.of(azimuth),
        elevation=Range.of(elevation),
        turn=float(np.degrees(np.arccos(np.clip((np.einsum("nij,ij->n", turns, turns[0]) - 1) / 2, -1, 1))).max()),
    )


def up_axis(cameras: tuple[Camera, ...]) -> str:
    """Return the world axis, `+x` to `-z`, that is nearest to what is up in the pictures, on the mean."""
    up = -np.mean([camera.R[1] for camera in cameras], axis=0)
    axis = int(np.argmax(np.abs(up)))
    return f"{'-' if up[axis] < 0 else '+'}{'xyz'[axis]}"


def orbit(places: np.ndarray, up: str) -> tuple[np.ndarray, np.ndarray]:
    """Return azimuth and elevation [N] in degrees of places [N, 3] about the origin; azimuths run on without jumps.

    up: the world axis that is up. Azimuth 0 is in front of the face: +z, or -y where z is up; it grows to the face's
    left (+x).
    """
    sign = -1.0 if up[0] == "-" else 1.0
    left, height, front = places[:, 0], places[:, 1], places[:, 2]
    if up[1] == "z":
        left, height, front = places[:, 0], places[:, 2], -places[:, 1]
    elif up[1] == "x":
        left, height, front = -places[:, 1], places[:, 0], places[:, 2]
    azimuth = np.unwrap(np.arctan2(left * sign, front))
    elevation = np.arctan2(height * sign, np.hypot(left, front))
    return np.degrees(azimuth), np.degrees(elevation)


def rows(track: CameraTrack, title: str = "") -> list[tuple[str, str]]:
    """Return (name, value) for each line of a readable summary. title: of the format, for people."""
    facts = summarise(track)
    lines = [
        ("format", f"{track.format}: {title}" if title else track.format or "none, made here"),
        ("convention", CONVENTIONS.get(track.format, "OpenCV axes, continuous pixels, world to camera")),
        ("cameras", _names(track)),
        ("pictures", _pictures(track, facts)),
        ("field of view", f"{facts.fov_x.text(2)} x {facts.fov_y.text(2)} degrees"),
        ("focal length", _focal(facts)),
        ("principal point", f"({facts.centre_x.text(1)}, {facts.centre_y.text(1)}) px; {_offset(facts)}"),
        ("distance", _distance(track, facts)),
        ("orbit", _orbit(facts)),
        ("unit", f"{track.unit:g} world units per FLAME unit (metre)"),
        ("crop", _crop(track)),
        ("came with it", _head(track)),
    ]
    return lines + [("note", note) for note in track.notes]


def _names(track: CameraTrack) -> str:
    first, last = track.names[0], track.names[-1]
    span = f" ({first})" if len(track) == 1 else f" ({first} to {last})"
    return f"{len(track)}{span}{f', {float(track.fps):g} frames a second' if track.fps else ''}"


def _pictures(track: CameraTrack, facts: Summary) -> str:
    sizes = ", ".join(f"{width}x{height}" for width, height in facts.sizes[:4]) + (" ..." if facts.sizes[4:] else "")
    spaces = ", ".join(dict.fromkeys(camera.space for camera in track.cameras))
    names = f"; {track.images[0]}" if track.images else "; the format names none"
    return f"{sizes} pixels, space {spaces}{names}{' ...' if len(track.images) > 1 else ''}"


def _focal(facts: Summary) -> str:
    if _same(facts.focal_x, facts.focal_y):
        return f"{facts.focal_x.text(2)} px"
    return f"x {facts.focal_x.text(2)} px, y {facts.focal_y.text(2)} px"


def _same(one: Range, other: Range) -> bool:
    return bool(np.allclose((one.low, one.high), (other.low, other.high), rtol=1e-6))


def _offset(facts: Summary) -> str:
    if max(abs(edge) for side in (facts.offset_x, facts.offset_y) for edge in (side.low, side.high)) < 1e-6:
        return "in the middle of the picture"
    return f"({_signed(facts.offset_x)}, {_signed(facts.offset_y)}) from the middle"


def _signed(values: Range) -> str:
    text = values.text(1)
    return text if values.low < 0 else "+" + text.replace(" to ", " to +")


def _distance(track: CameraTrack, facts: Summary) -> str:
    if track.unit == 1:
        return f"{facts.distance.text(3)} world units from the origin"
    metres = Range(facts.distance.low / track.unit, facts.distance.high / track.unit)
    return f"{facts.distance.text(3)} world units from the origin, that is {metres.text(3)} FLAME units"


def _orbit(facts: Summary) -> str:
    if facts.count == 1:
        return f"azimuth {facts.azimuth.text(1)}, elevation {facts.elevation.text(1)} degrees, {facts.up} up"
    return (
        f"azimuth {facts.azimuth.text(1)}, elevation {facts.elevation.text(1)} degrees about the origin, {facts.up} up;"
        f" turned by up to {facts.turn:.1f}"
    )


def _crop(track: CameraTrack) -> str:
    crop = track.crop
    if crop is None:
        return "not known"
    left, right, top, bottom = crop.box
    affine = crop.affine
    scale = f"{affine.scale_x:.6g}"
    if not np.isclose(affine.scale_x, affine.scale_y, rtol=1e-9):
        scale += f" across, {affine.scale_y:.6g} down"
    padding = f"padded by {crop.padding[0]} and {crop.padding[1]}" if any(crop.padding) else "not padded"
    return (
        f"columns {left} to {right}, rows {top} to {bottom} of a {crop.video[0]}x{crop.video[1]} video"
        f" ({right - left}x{bottom - top}), {padding}, resized to {crop.size[0]}x{crop.size[1]} (scale {scale})"
    )


def _head(track: CameraTrack) -> str:
    head = track.head
    if head is None:
        return ", ".join(sorted(set(track.extra) - _OWN)) or "nothing but cameras"
    parts = {
        "shape": head.shape,
        "expression": head.expression,
        "jaw": head.jaw,
        "neck": head.neck,
        "eyes": head.eyes,
        "eyelids": head.eyelids,
        "head rotation": head.root,
    }
    there = [
        f"{name} ({values.shape[-1]})" if name in ("shape", "expression") else name
        for name, values in parts.items()
        if np.any(values)
    ]
    return f"FLAME parameters in basis {track.basis}: {', '.join(there) or 'all at rest'}"
