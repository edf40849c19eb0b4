"""Experimental: a frame of metrical-tracker as a tracked picture of GAGAvatar, without tracking it again.

GAGAvatar's lens is fixed, 12 in NDC, centred, and its camera is of FLAME times 5. Both follow exactly from the
tracker's camera: R stays, t times 5, and the lens is a zoom of the picture about the principal point, which changes no
perspective. What does not follow is the matte, and how large the head is in the picture: the published tracker cuts by
a face box and so always sees it at about the same distance. Source: reference/cameras/SPEC.md, sections 4 and 9.
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.models.flame import FlameModel
from marotte.models.flame_numba import HeadEvaluator
from marotte.runtime.avatars.entry import entry_from
from marotte.runtime.avatars.fit_picture import fit_picture, outline_mask
from marotte.runtime.avatars.gagavatar import Tracked
from marotte.runtime.avatars.given import Given
from marotte.runtime.camera import Camera
from marotte.runtime.cameras import read_cameras
from marotte.runtime.cameras.formats.gagavatar import SIZE, UNIT, opencv_to_gagavatar
from marotte.runtime.cameras.formats.record import frame_number
from marotte.runtime.cameras.pictures import pictures_of
from marotte.runtime.cameras.track import CameraTrack
from marotte.runtime.cameras.warp import NEEDS, fit_pictures, warp_picture
from marotte.runtime.head import HeadState
from marotte.runtime.tracked_frames import Picture, read_masked, take

# Where masks and cut-out pictures lie, beside the frames, beyond those that `read_masked` looks into.
_MATTES = ("matted", "alpha")
# Of the head's height: hair and ears around FLAME's outline, where nothing better is known; and the soft edge's pixels.
_HAIR, _SOFT = 0.1, 2.0
# The published crop's side by the geometric mean of the head's box.
_PUBLISHED_CROP = 1.65
# Vertices that the root holds are shoulders and no part of the head.
_STILL = 0.5
_LISTED = 12


def tracked_from_frame(path: Path, given: Given, flame: FlameModel) -> Tracked:
    """Return a frame of metrical-tracker's as an entry, with a picture that shows how FLAME lies on it.

    given.entry: the frame, by its name or number; given.data: where the pictures are, if elsewhere; given.mask: white
    where the person is. Raises MarotteError where the frame, its picture or FLAME's parameters are missing.
    """
    track = read_cameras(path, "metrical")
    frame = _frame(path, track, given.entry)
    source = track.cameras[frame]
    shown = _picture(track, frame, given.data)
    if shown.rgb.shape[1::-1] != (source.width, source.height):
        raise MarotteError(
            f"the picture of {track.names[frame]} has {shown.rgb.shape[1]}x{shown.rgb.shape[0]} pixels, its camera is "
            f"for {source.width}x{source.height}: name the tracker's own pictures with --data FOLDER"
        )
    fit = fit_pictures(replace(track, cameras=(source,), names=track.names[:1], head=None), NEEDS["gagavatar"])
    camera, zoom = fit.track.cameras[0].scaled(UNIT / source.unit), fit.maps[0]
    assert track.head is not None
    state = take(track.head, [frame])
    vertices = _vertices(flame, state)
    rgb = warp_picture(_bytes(shown.rgb), zoom, (SIZE, SIZE)).astype(np.float32) / 255
    mask, matte, notes = _mask(track, frame, given.mask, shown)
    if mask is None:
        soft = _fallback(camera, vertices, np.asarray(flame.faces))
    else:
        soft = warp_picture(_bytes(mask), zoom, (SIZE, SIZE)).astype(np.float32) / 255
    pixels = _bytes(rgb * soft[..., None])
    entry = entry_from(
        path,
        f"{track.names[frame]}.png",
        {
            "image": np.moveaxis(pixels, -1, 0).astype(np.float32) / np.float32(255),
            "transform_matrix": opencv_to_gagavatar(camera),
            "shapecode": _wide(state.shape, 300),
            "expcode": _wide(state.expression[0], 100),
            "posecode": np.concatenate([state.root[0], state.jaw[0]]),
            "eyecode": state.eyes[0],
        },
    )
    marks = flame.landmarks
    points = flame.landmarks3d(vertices[None])[0] if marks is not None and marks.full68 is not None else None
    notes.insert(0, "experimental: seen with no real weights yet; look at fit.png before you trust it")
    notes += track.notes[:1] if track.notes and "differ" in track.notes[0] else []
    held = np.asarray(flame.skinning_weights)[:, 0] > _STILL
    seen = camera.project(vertices[~held] if not held.all() else vertices)
    low, high = seen.min(axis=0), seen.max(axis=0)
    wide, tall = (high - low).tolist()
    if fit.empty > 0.001:
        notes.append(f"the zoomed picture reaches beyond the tracked one: {100 * fit.empty:.1f} % of it is empty")
    if low.min() < 0 or high[0] > SIZE:
        notes.append("FLAME's head is cut by the picture's edge: take a frame where it is nearer to the middle")
    side = _PUBLISHED_CROP * float(np.sqrt(wide * tall))
    facts = [
        ("zoom", f"x{zoom.scale_x:.4g} about the principal point, {SIZE / zoom.scale_x:.1f} of {source.width} pixels"),
        ("head", f"{wide:.0f}x{tall:.0f} of {SIZE} pixels; a published crop of it would be {side:.0f}"),
        ("matte", matte),
        ("fit", "fit.png: FLAME over the picture"),
    ]
    origin = f"experimental: GAGAvatar, frame {track.names[frame]} of {path.name} (metrical-tracker)"
    overlay = fit_picture(_bytes(rgb), camera, vertices, np.asarray(flame.faces), points)
    return Tracked(entry, origin, facts, notes, overlay)


def _frame(path: Path, track: CameraTrack, name: str | None) -> int:
    """Return the index of a frame by its name or number."""
    names = list(track.names)
    if name is None and len(names) > 1:
        listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
        raise MarotteError(
            f"{path} holds {len(names)} frames: name one with --entry, best one that looks ahead ({listed})"
        )
    if name is None or name in names:
        return 0 if name is None else names.index(name)
    number = frame_number(name, -1)
    same = [index for index, own in enumerate(names) if frame_number(own, -2) == number]
    if len(same) != 1:
        raise unknown_name(f"frame of {path}", name, names[:_LISTED] if len(names) > _LISTED else names)
    return same[0]


def _picture(track: CameraTrack, frame: int, place: Path | None) -> Picture:
    try:
        pictures = pictures_of(track, place)
    except MarotteError as error:
        if place is not None:
            raise
        raise MarotteError(
            f"the pictures of {track.root} are not beside its frames (a folder input with their names): name the "
            "tracker's own with --data FOLDER"
        ) from error
    if pictures.video is None:
        return read_masked(pictures.paths[frame])
    found = next(islice(pictures, frame, None), None)
    if found is None:
        raise MarotteError(f"{pictures.video} ends before frame {track.names[frame]}: is it of another recording?")
    return Picture(found.astype(np.float32) / 255, None)


def _mask(
    track: CameraTrack, frame: int, given: Path | None, shown: Picture
) -> tuple[np.ndarray | None, str, list[str]]:
    """Return where the person is [H, W] in 0..1, where that is from, and notes; None where nothing says it."""
    if given is not None:
        return _mask_file(given, shown.rgb.shape[:2]), str(given), []
    if shown.mask is not None:
        return shown.mask, "the picture's fourth channel, or the mask beside it", []
    for root in (track.root, track.root.parent) if track.root is not None else ():
        for file in (root / folder / f"{track.names[frame]}.png" for folder in _MATTES):
            if file.is_file() and (mask := read_masked(file).mask) is not None and mask.shape == shown.rgb.shape[:2]:
                return mask, str(file), []
    note = (
        "no matte was found (fourth channel; a folder mask, masks, matting, matted or alpha beside; --mask FILE): "
        f"FLAME's outline, wider by {100 * _HAIR:.0f} % of its height, stands for it and cuts long hair and shoulders"
    )
    return None, "FLAME's outline, widened", [note]


def _mask_file(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask from a picture's fourth channel, or its grey. Raises MarotteError where the size is another."""
    picture = read_masked(path)
    mask = picture.mask if picture.mask is not None else picture.rgb.mean(axis=2)
    if mask.shape != shape:
        raise MarotteError(
            f"--mask {path} has {mask.shape[1]}x{mask.shape[0]} pixels, the tracked picture has {shape[1]}x{shape[0]}"
        )
    return mask


def _fallback(camera: Camera, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return FLAME's outline, widened for hair, with a soft edge."""
    from scipy.ndimage import distance_transform_edt

    inside = outline_mask(camera, vertices, faces) > 0.5
    rows = np.flatnonzero(inside.any(axis=1))
    wider = _HAIR * (rows[-1] - rows[0] + 1) if len(rows) else 0.0
    soft: np.ndarray = np.clip((wider - distance_transform_edt(~inside)) / _SOFT + 0.5, 0, 1)
    return soft.astype(np.float32)


def _vertices(flame: FlameModel, state: HeadState) -> np.ndarray:
    """Return the frame's posed head [V, 3] in GAGAvatar's unit. Lids move where the model has them, as tracked."""
    evaluator = HeadEvaluator(flame, state.shape, UNIT)
    lids = state.eyelids if flame.eyelid_fields is not None else None
    width = flame.expression_dirs.shape[-1]
    return evaluator.vertices(state.expression[:, :width], state.full_pose, lids, state.translation)[0]


def _wide(values: np.ndarray, width: int) -> np.ndarray:
    """Return coefficients with zeros behind, or cut, to a width."""
    return np.pad(values[:width], (0, max(width - len(values), 0)))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
