"""The verdict on a camera file: what landmarks say, and what the file says against itself, put together."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from marotte.errors import MarotteError, unknown_name
from marotte.runtime.cameras.doctor.checks import alike, contradictions, improbable, remarks
from marotte.runtime.cameras.doctor.fit import Sample, fit_shift, score
from marotte.runtime.cameras.doctor.names import FAULTS
from marotte.runtime.cameras.doctor.readings import Finding, Reading
from marotte.runtime.cameras.doctor.recognise import READERS, read_as_published
from marotte.runtime.cameras.doctor.search import Explanation, Outcome, Search
from marotte.runtime.cameras.doctor.setting import (
    Landmarks,
    Setting,
    Size,
    canonical_format,
    read_box,
    read_landmarks,
    read_setting,
)

NONE = "none"
# Without a known noise, a reading this much above what any camera would leave is still taken as healthy.
_REAL_WORLD = 1.5
_LANDMARKS = "landmarks.npz"


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What is wrong with a camera file.

    faults: names of FAULTS, or ("none",). alternatives: other names that the data allow as well. evidence: figures
    for machines. how: what was undone, sentences. mend: a command, `` where there is nothing to mend. confidence:
    0 to 1. findings: what the file shows by itself; remarks: what is no fault. reading: as published readers take it;
    mended: with the faults undone. landmarks: what it was judged by, None without.
    """

    path: Path
    faults: tuple[str, ...]
    alternatives: tuple[str, ...]
    evidence: dict[str, Any]
    how: tuple[str, ...]
    mend: str
    confidence: float
    reading: Reading
    mended: Reading
    findings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    landmarks: Landmarks | None = field(default=None, repr=False)

    @property
    def healthy(self) -> bool:
        """Whether no fault was found."""
        return self.faults == (NONE,)

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "path": str(self.path),
            "format": self.reading.format,
            "faults": list(self.faults),
            "alternatives": list(self.alternatives),
            "evidence": self.evidence,
            "mend": self.mend,
            "confidence": round(self.confidence, 4),
        }


def diagnose(
    path: str | Path,
    landmarks: str | Path | None = None,
    *,
    mesh: str | Path | None = None,
    image: str | Path | None = None,
    format: str | None = None,
    size: Size | None = None,
    video: Size | None = None,
    bbox: str | Path | None = None,
    points_unit: float | None = None,
    overlay: str | Path | None = None,
) -> Diagnosis:
    """Name what is wrong with the cameras of a file or folder.

    landmarks: an npz of `points3d` [N, 3] and `points2d` [frames, N, 2] in continuous pixels; None takes the folder's
    `landmarks.npz`, and without any only what the file shows by itself is checked. A `puzzle.json` and a `bbox.pt` in
    the folder are used; format, size of the pictures, video size, bbox and points_unit (units per metre of the points)
    come before them. overlay: a PNG to write, of the points (and the vertices of `mesh`) on `image` before and after.
    Raises MarotteError where the file cannot be read at all.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if format is not None and canonical_format(format) not in READERS:
        raise unknown_name("camera format", format, READERS)
    if size is None and image is not None:
        size = _size_of(Path(image))
    setting = read_setting(
        folder,
        format=canonical_format(format) if format else None,
        image=size,
        video=video,
        box=read_box(Path(bbox)) if bbox else None,
        points_unit=points_unit,
    )
    reading = read_as_published(path, setting)
    points = None
    if landmarks is not None or (folder / _LANDMARKS).is_file():
        file = Path(landmarks) if landmarks is not None else folder / _LANDMARKS
        points = read_landmarks(file, setting, reading.unit)
    found = _alone(path, reading, setting) if points is None else _judged(path, reading, setting, points)
    if not found.healthy:
        options: dict[str, Any] = {
            "landmarks": landmarks,
            "format": format,
            "size": _by(size if image is None else None),
        }
        options |= {"image": image, "video": _by(video), "bbox": bbox, "points-unit": points_unit}
        found = replace(found, mend=_command(found, options))
    if overlay is not None:
        from marotte.runtime.cameras.doctor.overlay import draw

        draw(found, overlay, image=image, mesh=mesh)
    return found


def _by(size: Size | None) -> str | None:
    return None if size is None else f"{size[0]}x{size[1]}"


def _command(found: Diagnosis, options: dict[str, Any]) -> str:
    """Return the command that mends the file, or, without landmarks, the one that tells more."""
    from marotte.runtime.cameras.doctor.mend import can_hold

    words = ["marotte", "doctor", str(found.path)]
    for name, value in options.items():
        words += [f"--{name}", str(value)] if value is not None else []
    if found.landmarks is None:
        return shlex.join([*words, "--landmarks", "LANDMARKS.npz"])
    if not found.evidence["within_noise"]:
        return ""
    if not can_hold(found.mended):
        return shlex.join([*words, "--mend", "MENDED.json", "--to", "facelift"])
    source = found.reading.path
    return shlex.join([*words, "--mend", f"MENDED{source.suffix if source.is_file() else ''}"])


def _alone(path: Path, reading: Reading, setting: Setting) -> Diagnosis:
    """Return what can be said without landmarks."""
    hard = list(contradictions(reading, setting, None))
    # One absurd number brings others with it: the first is named.
    soft = [] if any(finding.fault for finding in hard) else list(improbable(reading, setting))
    findings = hard + soft
    named = [finding for finding in findings if finding.fault]
    faults = tuple(dict.fromkeys(finding.fault for finding in named)) or (NONE,)
    also = tuple(dict.fromkeys(name for finding in named for name in finding.alternatives if name not in faults))
    evidence = {
        "landmarks": None,
        "findings": [finding.text for finding in findings],
        "remarks": list(remarks(reading)),
        "sees": "redundant fields, rotations, angles, what lies in front, the head's size",
        "cannot_see": "a transposed rotation, a shifted principal point, a scale or focal length within a factor 3",
    }
    return Diagnosis(
        path=path,
        faults=faults,
        alternatives=also,
        evidence=evidence,
        how=(),
        mend="",
        confidence=max((finding.sure for finding in named), default=0.5),
        reading=reading,
        mended=reading,
        findings=tuple(findings),
        remarks=tuple(remarks(reading)),
    )


def _judged(path: Path, reading: Reading, setting: Setting, landmarks: Landmarks) -> Diagnosis:
    """Return what the landmarks say, and what the file says against itself."""
    search = Search(reading, landmarks, setting)
    outcome = search.run()
    best = outcome.best
    mended = search.mended(best)
    _, sample = search.sample(whole=True)
    before, after = score(reading, sample), score(mended, search.sample(best.shift, whole=True)[1])
    passed = outcome.passed or (not search.noise_known and after.rms < _REAL_WORLD * search.sigma)
    findings = _unexplained(reading, mended, best, setting, landmarks, exact=best.fit is None)
    faults, alternatives = _named(outcome, findings, reading, search, passed)
    confidence = outcome.odds * (1.0 if outcome.passed else 0.6 if passed else 0.3)
    if best.fit is not None and best.also:
        confidence *= 0.5
    told = list(remarks(reading))
    if len(reading) != len(landmarks.points2d):
        frames = len(landmarks.points2d)
        told.append(f"{len(reading)} cameras, landmarks of {frames} frames: compared from the first on")
    _, shift = fit_shift(mended, search.sample(best.shift, whole=True)[1], each=False)
    if np.abs(shift[0]).max() > 0.3 and best.fit is None:
        x, y = shift[0]
        told.append(f"measured points lie ({x:+.2f}, {y:+.2f}) pixels beside, on the mean: detectors have such a bias")
    evidence: dict[str, Any] = {
        "rms_before_px": _rounded(before.rms),
        "rms_after_px": _rounded(after.rms),
        "noise_px": _rounded(search.sigma),
        "noise_from": _noise_source(search),
        "noise_in_common": round(search.common, 3),
        "in_front_before": round(before.front, 3),
        "frames": int(sample.seen.any(axis=1).sum()),
        "points": int(sample.seen.sum()),
        "outliers": int(landmarks.seen.sum() - search.landmarks.seen.sum()),
        "within_noise": bool(passed),
        "undone": list(best.what),
        "explanations": [
            {"faults": list(each.faults) or [NONE], "undone": list(each.what), "rms_px": _rounded(each.score.rms)}
            for each in (best, *outcome.others)
        ],
        "findings": [finding.text for finding in findings],
        "remarks": told,
        "would_decide": {name: FAULTS[name].decide for name in alternatives if name in FAULTS},
    }
    return Diagnosis(
        path=path,
        faults=faults,
        alternatives=alternatives,
        evidence=evidence,
        how=best.what,
        mend="",
        confidence=float(min(confidence, 0.99)),
        reading=reading,
        mended=mended,
        findings=tuple(findings),
        remarks=tuple(told),
        landmarks=search.landmarks,
    )


def _unexplained(
    reading: Reading, mended: Reading, best: Explanation, setting: Setting, landmarks: Landmarks, exact: bool
) -> list[Finding]:
    """Return what the file says against itself that the landmarks' explanation does not cover."""
    if not best.faults:
        return list(contradictions(reading, setting, landmarks.points3d))
    # Other fields agree with the mended cameras, or have the same fault: then nothing is left to say.
    fields = []
    for other, index in reading.fields:
        undone = other
        for step in best.steps:
            undone = step.undo(undone)
        at = mended.take(index)
        if not any(alike(at, each, 1e-3 if exact else 1e-2) for each in (other, undone)):
            fields.append((other, index))
    return [
        finding
        for finding in contradictions(reading, setting, landmarks.points3d, tuple(fields))
        if finding.fault not in best.faults
    ]


def _named(
    outcome: Outcome, findings: Sequence[Finding], reading: Reading, search: Search, passed: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the faults and of the alternatives."""
    best = outcome.best
    faults = list(best.faults)
    also = [name for other in outcome.others for name in other.faults] + list(best.also)
    for finding in findings:
        if finding.fault and finding.fault not in faults:
            faults.append(finding.fault)
        also += finding.alternatives
    doubted = any(finding.alternatives for finding in findings)
    if doubted or (faults and reading.fields and _other_field_fits(reading, search)):
        also.append("inconsistent_fields")
    if not faults and not passed:
        faults, also = ["inconsistent_fields"], [*also, *FAULTS]
    named = tuple(dict.fromkeys(faults)) or (NONE,)
    return named, tuple(name for name in dict.fromkeys(also) if name not in named)


def _other_field_fits(reading: Reading, search: Search) -> bool:
    """Tell whether another place of the file explains the landmarks as it stands."""
    _, sample = search.sample(whole=True)
    for other, index in reading.fields:
        part = Sample(sample.points, sample.measured[index], sample.seen[index], sample.sigma)
        if part.count and score(other, part).rms < part.limit and np.isfinite(score(other, part).chi2):
            return True
    return False


def _noise_source(search: Search) -> str:
    if search.noise_known:
        return "given, and borne out by free cameras" if search.measured else "given"
    return "free cameras fitted to the landmarks" if search.measured else "the best explanation: too few points"


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _size_of(image: Path) -> Size:
    from PIL import Image

    try:
        with Image.open(image) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MarotteError(f"cannot read the picture {image}: {error}") from None
