"""One view for all arms: which camera each is drawn with, and how its picture is laid on the first arm's.

Renderers whose camera is fixed keep it. Free ones take the first fixed arm's: its lens, its picture's size and its
direction on the head, from where their own head at rest is as large and in the same place. The same size through the
same lens is the same distance in heads, so the perspective is the same too. What then still differs, and between fixed
cameras that is all, a similarity of the plane brings together: one factor and one shift for the whole film.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.affine import Affine2D
from marotte.runtime.avatar import NO_BASIS, Avatar
from marotte.runtime.background import Background
from marotte.runtime.camera import Camera
from marotte.runtime.clock import TICK_RATE
from marotte.runtime.contracts import Drive, RenderStream
from marotte.runtime.head import HeadState

# Without the jaw line, whose landmarks slide along it with the view.
_FIRM = slice(17, 68)
# So many landmarks, at least, lay one head on another.
_FEWEST = 6
# So near to the first arm's, a head stays where it is, and its picture as it was drawn.
NEAR_PIXELS, NEAR_SHARE = 2.0, 0.01
# The same for boxes that were found in pictures, the pixels as a share of the picture's width.
ROUGH_PLACE, ROUGH_SHARE = 0.02, 0.04
# Factors that make no sense of a picture.
_LEAST, _MOST = 1 / 32, 32
# Steps towards a camera, each of which leaves a hundredth of what is wrong or less, and what is good enough, in pixels.
_STEPS, _EXACT = 40, 0.01
# A head that moves by itself is looked at so often in a minute.
_LOOKS, _EVERY = 16, 4 * TICK_RATE


@dataclass(frozen=True, eq=False)
class Seen:
    """A head at rest in a picture: its 68 landmarks [68, 2], NaN for those that are not known, and its box [4] left,
    top, right, bottom, in pixels; None for what is not known. hair: whether the box has hair in it, as of Gaussians and
    films, which a bare mesh has not; rough: whether the box was found in pictures, as a film's is."""

    width: int
    height: int
    points: np.ndarray | None = None
    box: np.ndarray | None = None
    hair: bool = True
    rough: bool = False


@dataclass(frozen=True, eq=False)
class Candidate:
    """An arm that is to be seen. camera: its own where `fixed`, else its framing's; look: returns what of its head at
    rest a camera sees; the camera has the size of the picture."""

    name: str
    camera: Camera
    fixed: bool
    look: Callable[[Camera], Seen]


@dataclass(frozen=True, eq=False)
class View:
    """How an arm is drawn. camera: to be handed to it, of its picture's size; None where it keeps what it has. rule:
    `own`, `taken` or `framing`; words: the rule's in a sentence. seen: its head at rest in its picture."""

    camera: Camera | None
    rule: str
    words: str
    seen: Seen


@dataclass(frozen=True)
class Similarity:
    """x' = scale x + x, and likewise for y, in continuous pixels: from an arm's picture to the common one.

    applied: whether it is anything else than none at all. words: what was done and what is left.
    """

    scale: float = 1.0
    x: float = 0.0
    y: float = 0.0
    words: str = "the picture is as it was drawn"
    applied: bool = False

    @property
    def affine(self) -> Affine2D:
        """The map."""
        return Affine2D(self.scale, self.scale, self.x, self.y)


def candidate(name: str, stream: RenderStream, avatar: Avatar, camera: Camera) -> Candidate:
    """Return an arm of an open stream. camera: that of its framing, for streams that take any."""

    def look(through: Camera) -> Seen:
        return at_rest(stream, avatar, through)

    fixed = stream.camera is not None
    if stream.camera is not None:
        camera = shown_by(stream.neutral or stream.camera, stream.width, stream.height)
    return Candidate(name, camera, fixed, look)


def at_rest(stream: RenderStream, avatar: Avatar, camera: Camera) -> Seen:
    """Return an avatar's head at rest as its stream shows it by a camera; nothing is drawn. A head that moves by itself
    is looked at over a minute, and what is in the middle counts."""
    looks = 1 if stream.neutral is None else _LOOKS
    # A fixed camera is the drive's, which may be of another square than the picture.
    through = stream.camera or camera
    wide, high = (camera.width, camera.height) if stream.camera is None else (stream.width, stream.height)
    drive = Drive(np.arange(looks) * _EVERY, _still(avatar, looks), (through,) * looks, Background())
    points, boxes = stream.face_points(drive), stream.head_boxes(drive)
    return Seen(
        wide,
        high,
        None if points is None else np.median(pictured(points.points, drive.cameras, wide, high), axis=0),
        None if boxes is None else np.median(boxes, axis=0),
        points is None or points.by != "vertices",
    )


def pictured(points: np.ndarray, cameras: Sequence[Camera], width: int, height: int) -> np.ndarray:
    """Return where points [T, N, 3] are in pictures of width x height that the cameras of a drive make, [T, N, 2]."""
    return np.array(
        [shown_by(camera, width, height).project(each) for each, camera in zip(points, cameras, strict=True)]
    ).reshape(len(points), -1, 2)


def shown_by(camera: Camera, width: int, height: int) -> Camera:
    """Return the camera of a picture that shows a camera's image in its middle, as large as fits; that is what becomes
    of a network's own square in pictures of another size."""
    if (camera.width, camera.height) == (width, height):
        return camera
    factor = min(width / camera.width, height / camera.height)
    # Whole pixels beside it, as pictures are padded.
    left, top = int(width - factor * camera.width) // 2, int(height - factor * camera.height) // 2
    return camera.through(Affine2D(factor, factor, left, top), width, height, camera.space)


def choose_views(arms: Sequence[Candidate]) -> list[View]:
    """Return the view of each arm, in their order: see this file's first lines."""
    first = next((arm for arm in arms if arm.fixed), None)
    views: dict[int, View] = {}
    for index, arm in enumerate(arms):
        if arm.fixed:
            views[index] = View(None, "own", "its own camera, which is fixed", arm.look(arm.camera))
        elif first is None:
            views[index] = View(None, "framing", "its avatar's camera", arm.look(arm.camera))
    if first is not None:
        target = views[arms.index(first)].seen
        # Those whose landmarks and hair are known come first: by them others find a head that is known by a box alone.
        free = {index: arm.look(arm.camera) for index, arm in enumerate(arms) if index not in views}
        for index in sorted(free, key=lambda index: -_known(free[index])):
            views[index] = _taken(arms[index], first, target)
            target = _completed(target, [views[index].seen])
    return [views[index] for index in range(len(arms))]


def similarities(seen: Sequence[Seen]) -> list[Similarity]:
    """Return how the picture of each arm is laid on the first one's: by landmarks where both heads have some, else by
    the heads' boxes. Raises MarotteError where two cannot be compared at all."""
    target = _completed(seen[0], [each for each in seen[1:] if each.hair])
    return [Similarity(), *(similarity(each, target) for each in seen[1:])]


def similarity(own: Seen, target: Seen) -> Similarity:
    """Return what lays a head at rest on another: least squares of landmarks, or centre and size of boxes.

    Nothing is done, and said to be, where pictures have one size and heads agree within 2 pixels and 1 % (where one was
    found in pictures within 2 % of their width and 4 %); nor where of either head nothing is known: then pictures are
    brought to one size. Raises MarotteError for a head of no size.
    """
    found = _laid(own, target)
    if found is None:
        scale = min(target.width / own.width, target.height / own.height)
        shift = (target.width - scale * own.width) / 2, (target.height - scale * own.height) / 2
        same = (own.width, own.height) == (target.width, target.height)
        words = "where its head is, is not known: the pictures are laid on each other as they are"
        return Similarity(scale, *shift, words if same else f"{words}, times {scale:.3f}", not same)
    scale, (x, y), middle, left, by = found
    moved = np.hypot(*((scale - 1) * middle + (x, y)))
    if not _LEAST < scale < _MOST:
        raise MarotteError(f"a head is {scale:.3g} times as large in one picture as in the other: look at both")
    same_size = (own.width, own.height) == (target.width, target.height)
    rough = own.rough or target.rough
    near, share = (ROUGH_PLACE * target.width, ROUGH_SHARE) if rough else (NEAR_PIXELS, NEAR_SHARE)
    if same_size and moved <= near and abs(scale - 1) <= share:
        off = f"{moved:.1f} pixels and {100 * abs(1 / scale - 1):.1f} %"
        return Similarity(words=f"as it was drawn: heads at rest agree within {off} by {by}")
    words = f"times {scale:.3f}, head moved by {moved:.1f} pixels, by {by} at rest, which then agree within {left:.1f}"
    return Similarity(float(scale), float(x), float(y), f"{words} pixels", True)


def align(
    pixels: np.ndarray, how: Similarity, size: tuple[int, int], background: Sequence[float] | None = None
) -> np.ndarray:
    """Return a picture [H, W, 3] uint8 in the common one, of `size` (width, height): a new array only where it changes.

    Resampled in one step by a triangle as wide as the coarser of the two pixels. What the picture does not reach gets
    the background, sRGB 0..1, or the colour of its nearest edge where that is None.
    """
    height, width = pixels.shape[:2]
    if not how.applied:
        if (width, height) != size:
            raise MarotteError(f"a picture of {width}x{height} is not of the common size {size[0]}x{size[1]}")
        return pixels
    from PIL import Image

    corners = how.affine.apply(np.array([[0, 0], [width, height]]))
    low = np.clip(np.floor(corners[0]).astype(int), 0, size)
    high = np.clip(np.ceil(corners[1]).astype(int), 0, size)
    out = np.empty((size[1], size[0], 3), np.uint8)
    out[:] = 0 if background is None else np.floor(255 * np.clip(background, 0, 1) + 0.5)
    if (high <= low).any():
        raise MarotteError("a picture would not be seen in the common one: its head is far outside")
    # The part that is seen may begin and end within a pixel beside the picture: its edge goes on there.
    beside = int(np.ceil(1 / how.scale)) + 1
    wide = np.pad(pixels, ((beside, beside), (beside, beside), (0, 0)), mode="edge")
    box = tuple((how.affine.inverse.apply(np.stack([low, high])) + beside).ravel().tolist())
    span = (int(high[0] - low[0]), int(high[1] - low[1]))
    seen = np.asarray(Image.fromarray(wide).resize(span, Image.Resampling.BILINEAR, box=box))
    if background is None:
        around = ((low[1], size[1] - high[1]), (low[0], size[0] - high[0]), (0, 0))
        return np.pad(seen, around, mode="edge")
    out[low[1] : high[1], low[0] : high[0]] = seen
    return out


def _still(avatar: Avatar, frames: int) -> HeadState:
    """Return neutral heads."""
    reads = 0 if avatar.basis == NO_BASIS else avatar.expressions
    parts = {"expression": reads, "root": 3, "neck": 3, "jaw": 3, "eyes": 6, "eyelids": 2, "translation": 3}
    zeros: dict[str, Any] = {name: np.zeros((frames, width), np.float32) for name, width in parts.items()}
    return HeadState(shape=np.zeros(0, np.float32), **zeros)


def _known(seen: Seen) -> int:
    """Return how much others can take from a head."""
    return (seen.points is not None) + (seen.box is not None and seen.hair)


def _completed(target: Seen, others: Sequence[Seen]) -> Seen:
    """Return a head with what others know of heads that lie on it: landmarks that it lacks, or the box with hair."""
    for other in others:
        if _known(target) == 2 or _known(other) < 2 or (found := _laid(other, target)) is None:
            continue
        affine = Affine2D(found[0], found[0], *found[1])
        assert other.points is not None and other.box is not None
        if target.points is None:
            target = replace(target, points=affine.apply(other.points))
        else:
            target = replace(target, box=affine.apply(other.box.reshape(2, 2)).ravel(), hair=True)
    return target


Laid = tuple[float, np.ndarray, np.ndarray, float, str]


def _laid(own: Seen, target: Seen) -> Laid | None:
    """Return scale, shift [2], the head's own middle [2], what is left (pixels) and what it went by; None for nothing
    that both know. Raises MarotteError for a head of no size."""
    if own.points is not None and target.points is not None:
        both = np.isfinite(own.points[_FIRM]).all(axis=1) & np.isfinite(target.points[_FIRM]).all(axis=1)
        if both.sum() >= _FEWEST:
            return _on_points(own.points[_FIRM][both], target.points[_FIRM][both])
    if own.box is None or target.box is None or not np.isfinite([own.box, target.box]).all():
        return None
    a, b = own.box.reshape(2, 2), target.box.reshape(2, 2)
    ratio = _sound(np.ptp(b, axis=0)) / _sound(np.ptp(a, axis=0))
    # Neither hair to the sides nor hair on the top decides alone.
    scale, middle = float(np.sqrt(ratio.prod())), a.mean(axis=0)
    shift = b.mean(axis=0) - scale * middle
    by = "the heads' boxes" if own.hair == target.hair else "the heads' boxes, one without its hair"
    return scale, shift, middle, float(abs(scale * a + shift - b).max()), by


def _on_points(own: np.ndarray, target: np.ndarray) -> Laid:
    middle, centre = own.mean(axis=0), target.mean(axis=0)
    scale = float(((own - middle) * (target - centre)).sum() / _sound(((own - middle) ** 2).sum()))
    if scale <= 0:
        raise MarotteError("the landmarks of two heads cannot be laid on each other: one of them is upside down")
    shift = centre - scale * middle
    left = np.sqrt(((scale * own + shift - target) ** 2).sum(axis=1).mean())
    return scale, shift, middle, float(left), f"{len(own)} landmarks"


def _sound(size: Any) -> Any:
    if not np.all(np.asarray(size) > 0):
        raise MarotteError("a head at rest has no size in its picture: look at its camera")
    return size


def _taken(arm: Candidate, fixed: Candidate, target: Seen) -> View:
    """Return the view of a free arm by a fixed arm's camera, moved to where its own head looks as the fixed one's."""
    own, like = arm.camera, replace(fixed.camera, space="render", unit=arm.camera.unit)
    seen = arm.look(own)
    found = _laid(seen, target)
    if found is None:
        words = f"its avatar's camera: where the head of {fixed.name} is, or its own, is not known"
        return View(None, "framing", words, seen)
    # Somewhere in the head: seen in its middle, as far away as the world's origin, which heads are built around.
    away = max(float(own.to_camera(np.zeros(3))[2]), 0.1 * float(np.linalg.norm(own.t)))
    inside = own.unproject(found[2], np.array(away))
    depth, at = away * like.K[1, 1] / own.K[1, 1], found[2]
    for _ in range(_STEPS):
        scale, shift = found[:2]
        depth, at = depth / scale, scale * at + shift
        camera = replace(like, t=like.to_camera(like.unproject(at, np.array(depth))) - like.R @ inside)
        seen = arm.look(camera)
        found = _laid(seen, target)
        assert found is not None
        if np.hypot(*((found[0] - 1) * found[2] + found[1])) < _EXACT and abs(found[0] - 1) * camera.height < _EXACT:
            break
    words = (
        f"the camera of {fixed.name}: its lens, size and direction, from where the head at rest is as large and in the "
        f"same place, by {found[4]}"
    )
    return View(camera, "taken", words, seen)
