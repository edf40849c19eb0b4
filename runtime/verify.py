"""Whether tracked frames, their pictures and an avatar belong together, and if not, what is wrong.

Three witnesses, each from files alone: landmarks (where they were seen, against where the avatar's own are projected),
the outline (the mask against the projected head), and the training (the canonical mesh of the avatar against its head
posed by the tracking). Where cameras are off, the doctor of `marotte.runtime.cameras` names the fault: it is given
the landmarks, or, where only the outline speaks, the points that the mended cameras would see.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.models.plain_files import write_whole
from marotte.runtime.avatar import Avatar
from marotte.runtime.cameras.doctor import Diagnosis, diagnose
from marotte.runtime.cameras.doctor.readings import Reading
from marotte.runtime.cameras.doctor.recognise import read_as_published
from marotte.runtime.cameras.doctor.setting import Setting, canonical_format, read_setting
from marotte.runtime.offline import Progress
from marotte.runtime.tracked_frames import TrackedFrames, open_tracked
from marotte.runtime.verify_landmarks import JUDGED, Reprojection, blocks, measure, no_reason, reproject
from marotte.runtime.verify_outline import Outlines, OutlineVerdict, judge
from marotte.runtime.verify_training import Training, compare_training

# Of an outline: points of the mesh that stand for landmarks.
_STANDING = 60
# Two focal lengths are the same, or in a ratio, to this; and differ where a tracker gives one, from this on.
_SAME_RATIO, _UNEVEN = 1e-3, 0.02
# The doctor weighs by the landmarks' noise. Projections have none, which would make rounding matter; what the outline
# says is no better than a pixel. So they get this much, in pixels.
_NOISE_EXACT, _NOISE_OUTLINE = 0.25, 1.0


@dataclass(frozen=True, eq=False)
class Verification:
    """What was found. frames: which were compared; landmarks, outline, training: the witnesses, None where silent.

    diagnosis: the doctor's, where cameras are off. tracked: None where the cameras cannot be read at all; then
    unreadable says why. lens: what is wrong with K by itself, a sentence. silent: why a witness is, sentences.
    reading: the cameras as the published reader takes them.
    """

    avatar: Avatar
    path: Path
    frames: tuple[int, ...] = ()
    tracked: TrackedFrames | None = None
    landmarks: Reprojection | None = None
    outline: OutlineVerdict | None = None
    training: Training | None = None
    diagnosis: Diagnosis | None = None
    unreadable: str = ""
    lens: str = ""
    silent: tuple[str, ...] = ()
    reading: Reading | None = field(default=None, repr=False)

    @property
    def cameras_off(self) -> bool:
        """Whether the cameras do not put the head where it is in the pictures."""
        seen = self.landmarks is not None and self.landmarks.off
        return bool(self.unreadable or self.lens) or seen or (self.outline is not None and self.outline.off)

    @property
    def explained(self) -> bool:
        """Whether the doctor's faults leave no more than the landmarks' noise."""
        found = self.diagnosis
        if found is None or found.healthy:
            return False
        return found.landmarks is None or bool(found.evidence["within_noise"])

    @property
    def healthy(self) -> bool:
        """Whether nothing is off."""
        return not self.cameras_off and not (self.training is not None and self.training.off)

    @property
    def faults(self) -> tuple[str, ...]:
        """Names of what is wrong: the doctor's, then the training's."""
        names: list[str] = []
        if self.cameras_off:
            found = self.diagnosis.faults if self.diagnosis is not None and self.explained else ()
            lens = ("wrong_resolution",) if self.lens else ()
            names += dict.fromkeys((*lens, *found) or ("unexplained",))
        if self.training is not None and self.training.off:
            names.append(self.training.fault)
        return tuple(names)


def verify(
    avatar: Avatar,
    path: str | Path,
    *,
    frames: int = 250,
    landmarks: str | Path | None = None,
    images: str | Path | None = None,
    format: str | None = None,
    points: Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Compare tracked frames with their pictures and with the avatar.

    frames: how many at most, spread over the recording. landmarks: a file of seen points. points: where to write the
    landmarks that the doctor judges by, if it is called, so that its command can be run; None has it without. Raises
    MarotteError where files are missing or damaged.
    """
    path = Path(path)
    if frames < 1:
        raise MarotteError(f"--frames {frames}: compare 1 or more")
    try:
        tracked = open_tracked(avatar, path, images=images, format=format)
    except MarotteError as error:
        # Cameras that are none, mirrored ones say, are the doctor's alone.
        found = _patient(path, format)
        if found is None:
            raise
        return Verification(avatar, path, diagnosis=found, unreadable=str(error))
    chosen = _spread(len(tracked), frames)
    reading = _reading(tracked, path, format)
    setting = _setting(tracked, path, format)
    vertices = tracked.vertices(chosen)
    measured = measure(tracked, chosen, vertices, None if landmarks is None else Path(landmarks))
    seen = None if measured is None else reproject(measured, reading.take(np.array(chosen)))
    silent = [] if measured is not None else [f"landmarks: {no_reason(tracked.head)}"]
    judged = [chosen[i] for i in _spread(len(chosen), JUDGED)]
    outline = _outline(tracked, reading, judged, setting, progress)
    if outline is None:
        silent.append("outline: the pictures have no masks (fourth channel, or a folder mask beside)")
    training = compare_training(tracked)
    if training is None:
        silent.append("training: this avatar has no canonical mesh of its own")
    result = Verification(
        avatar,
        path,
        frames=tuple(chosen),
        tracked=tracked,
        landmarks=seen,
        outline=outline,
        training=training,
        silent=tuple(silent),
        reading=reading,
        lens=_lens(reading),
    )
    if not result.cameras_off:
        return result
    result = replace(result, diagnosis=_asked(result, format, points))
    if result.lens or result.explained or (seen is not None and seen.strange):
        return result
    return replace(result, lens=_uneven(reading))


def _outline(
    tracked: TrackedFrames, reading: Reading, frames: Sequence[int], setting: Setting, progress: Progress | None
) -> OutlineVerdict | None:
    """Return the outline's verdict, None without masks; frames whose mask has no outline say nothing."""
    masks, used = [], []
    for done, (frame, picture) in enumerate(zip(frames, tracked.read(frames), strict=True), 1):
        if picture.mask is not None and _is_outline(picture.mask):
            masks.append(picture.mask)
            used.append(frame)
        if progress is not None:
            progress(done, len(frames))
    if not masks:
        return None
    return judge(Outlines(tracked.head, masks, tracked.vertices(used)), reading, used, setting)


def _is_outline(mask: np.ndarray) -> bool:
    """Tell whether a mask has both the person and what is not."""
    return 0.01 < float((mask > 0.5).mean()) < 0.99


def _asked(result: Verification, format: str | None, points: Path | None) -> Diagnosis:
    """Return the doctor's verdict on the tracking, by the landmarks or by what the outline found."""
    import tempfile

    assert result.tracked is not None and result.reading is not None
    data = _for_doctor(result)
    if data is None:
        return _diagnosed(result, format, None)
    if points is not None:
        write_whole(points, data)
        return _diagnosed(result, format, points)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "landmarks.npz"
        file.write_bytes(data)
        return replace(_diagnosed(result, format, file), mend="")  # its command names a file that goes


def _diagnosed(result: Verification, format: str | None, points: Path | None) -> Diagnosis:
    assert result.reading is not None
    return diagnose(
        result.path, points, format=format, size=result.reading.image, points_unit=1.0 if points is not None else None
    )


def _for_doctor(result: Verification) -> bytes | None:
    """Return landmarks for the doctor as an npz, None where nothing is known of where points should be."""
    assert result.tracked is not None and result.reading is not None
    tracked, reading = result.tracked, result.reading
    seen = result.landmarks
    rows = _spread(len(result.frames), JUDGED)
    frames = [result.frames[row] for row in rows]
    if seen is not None and seen.off and not seen.strange:
        points, pixels = seen.measured.points[rows], seen.measured.pixels[rows]
        noise = _NOISE_EXACT if seen.exact else 0.0
    elif result.outline is not None and result.outline.reading is not None:
        vertices = tracked.vertices(frames).astype(np.float64) / tracked.head.unit
        points = vertices[:, _spread(vertices.shape[1], _STANDING)]
        pixels = _projected(result.outline.reading.take(np.array(frames)), points)
        noise = _NOISE_OUTLINE
    else:
        return None
    pixels = pixels + np.random.default_rng(0).normal(0, 1, pixels.shape) * noise
    found = blocks(points, pixels)
    points2d = np.full((len(reading), *found.points2d.shape[1:]), np.nan, np.float32)
    points2d[frames] = np.where(found.seen[..., None], found.points2d, np.nan)
    stream = io.BytesIO()
    np.savez_compressed(stream, points3d=found.points3d, points2d=points2d)
    return stream.getvalue()


def _lens(reading: Reading) -> str:
    """Return what two focal lengths say by themselves, `` for nothing: in pictures that are not square a ratio that is
    the picture's own comes from a division by the wrong side."""
    (fx, fy), (width, height) = reading.K[0, [0, 1], [0, 1]], reading.image
    if width == height or min(fx, fy) <= 0:
        return ""
    for ratio, words in (
        ((width / height), "both were divided by one side"),
        ((width / height) ** 2, "each by the other"),
    ):
        for found in (ratio, 1 / ratio):
            if abs(fx / fy / found - 1) < _SAME_RATIO:
                return (
                    f"fx is {fx / fy:.4g} times fy, which is what the picture's {width}x{height} would do: {words}; "
                    "divide fx by the width and fy by the height"
                )
    return ""


def _uneven(reading: Reading) -> str:
    """Return that there are two focal lengths, `` where there is one: trackers of faces give one."""
    fx, fy = reading.K[0, [0, 1], [0, 1]]
    if abs(fx / fy - 1) < _UNEVEN:
        return ""
    return (
        f"fx is {fx / fy:.4g} times fy, and nothing else explains the landmarks: trackers give one focal length; "
        "divide it by the picture's width for fx and by its height for fy, the size that it was estimated on"
    )


def _projected(reading: Reading, points: np.ndarray) -> np.ndarray:
    at = np.einsum("tij,tpj->tpi", reading.R, points) + reading.t[:, None]
    pixels: np.ndarray = at[..., :2] / at[..., 2:] * reading.K[:, None, [0, 1], [0, 1]] + reading.K[:, None, :2, 2]
    return pixels


def _patient(path: Path, format: str | None) -> Diagnosis | None:
    """Return the doctor's verdict on a file that is no camera to others, None where it finds nothing or cannot read."""
    try:
        found = diagnose(path, format=format)
    except MarotteError:
        return None
    return None if found.healthy else found


def _setting(tracked: TrackedFrames, path: Path, format: str | None) -> Setting:
    camera = tracked.cameras[0]
    folder = path if path.is_dir() else path.parent
    name = canonical_format(format) if format else None
    return read_setting(folder, format=name, image=(camera.width, camera.height))


def _reading(tracked: TrackedFrames, path: Path, format: str | None) -> Reading:
    """Return the cameras as the published reader takes them; the track's own where that reads others."""
    track = tracked.track.scaled(1.0)
    own = Reading(
        track.format,
        path,
        np.stack([camera.R for camera in track.cameras]),
        np.stack([camera.t for camera in track.cameras]),
        np.stack([camera.K for camera in track.cameras]),
        (track.cameras[0].width, track.cameras[0].height),
        track.names,
        unit=tracked.track.unit,
    )
    try:
        published = read_as_published(path, _setting(tracked, path, format))
    except MarotteError:
        return own
    same = len(published) == len(own) and np.allclose(published.R, own.R, atol=1e-4)
    return published if same and np.allclose(published.K, own.K, atol=1e-2) else own


def _spread(count: int, most: int) -> list[int]:
    return [int(i) for i in np.unique(np.linspace(0, count - 1, min(most, count)).round())]
