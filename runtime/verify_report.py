"""A verification in words, on one screen, and as a table for machines."""

from typing import Any

import numpy as np

from marotte.runtime.cameras.doctor.report import describe
from marotte.runtime.verify import Verification
from marotte.runtime.verify_landmarks import Reprojection
from marotte.runtime.verify_outline import OutlineVerdict
from marotte.runtime.verify_training import TRAINING_FAULTS, Training


def report(result: Verification) -> list[str]:
    """Return the lines for a person: verdict, each witness, the doctor's words."""
    verdict = "healthy" if result.healthy else f"off: {', '.join(result.faults)}"
    if result.healthy and result.landmarks is None and result.outline is None:
        verdict = "nothing is off, but nothing shows whether the cameras are right"
    elif result.healthy and result.silent:
        verdict += ", as far as the other witnesses can tell"
    told = [f"{result.avatar.name} on {result.path}: {verdict}"]
    if result.unreadable:
        told.append(_line("cameras", result.unreadable))
    if result.tracked is not None:
        told.append(_line("frames", f"{len(result.frames)} of {len(result.tracked)}, {result.tracked.track.format}"))
    told += [_line("landmarks", text) for text in _landmark_words(result.landmarks)]
    told += [_line("outline", text) for text in _outline_words(result.outline)]
    told += [_line("training", text) for text in _training_words(result.training)]
    told += [_line("lens", f"off: {text}") for text in (result.lens,) if text]
    told += [_line("silent", text) for text in result.silent]
    if result.diagnosis is not None:
        told += ["doctor", *(f"  {text}" for text in describe(result.diagnosis))]
    return told


def _line(label: str, text: str) -> str:
    return f"  {label:<11} {text}"


def _landmark_words(seen: Reprojection | None) -> list[str]:
    if seen is None:
        return []
    words = [
        f"{'off' if seen.off else 'fit'}: median {_pixels(seen.median, seen)}, 95 % below {_pixels(seen.p95, seen)} "
        f"(between the eyes: {seen.eye_distance:.1f} px)"
    ]
    if seen.strange:
        kind = (
            f"no camera fits them (a free one for each frame leaves {seen.floor:.2f} px): they are of another head, "
            "other frames or other points"
        )
    elif not seen.exact:
        kind = (
            f"seen in pictures, or projections of another head; a free camera for each frame leaves {seen.floor:.2f} px"
        )
    elif seen.off:
        kind = "projections of this very head, by other cameras than these"
    else:
        kind = "projections of this very head by these cameras: they belong together; whether to the pictures, the "
        kind += "outline tells"
    return [*words, f"from {seen.measured.source}: {kind}"]


def _pixels(value: float, seen: Reprojection) -> str:
    if not np.isfinite(value):
        return "behind the camera"
    return f"{value:.2f} px ({100 * value / max(seen.eye_distance, 1e-6):.1f} %)"


def _outline_words(found: OutlineVerdict | None) -> list[str]:
    if found is None:
        return []
    fit = found.as_read
    if not np.isfinite(fit.score):
        words = [
            f"off: the head is behind the camera in {100 * (1 - fit.front):.0f} % of its points, or beside the picture"
        ]
    else:
        words = [
            f"{'off' if found.off else 'fits'}: the head leaves the mask by {fit.outside:.1f} px on the mean, its "
            f"margin changes by {fit.change:.1f} px ({100 * fit.share:.1f} % of the head's radius together)"
        ]
    if found.what:
        words.append(f"to {100 * found.best.share:.1f} %: {found.what}")
    return words


def _training_words(found: Training | None) -> list[str]:
    if found is None:
        return []
    if not found.fault:
        words = [f"fits: the canonical mesh is {found.frame} within {found.rms_mm:.4f} mm"]
    else:
        is_, mend = TRAINING_FAULTS[found.fault]
        words = [
            f"{'off' if found.off else 'note'}: the canonical mesh is {found.rms_mm:.2f} mm from {found.frame}: {is_}"
        ]
        words += [text for text in (found.what, mend) if text]
    return [*words, *([found.note] if found.note and found.fault else [])]


def as_json(result: Verification) -> dict[str, Any]:
    """Return it for `--json`; pixels that are infinite are null."""
    seen, outline, training = result.landmarks, result.outline, result.training
    names = () if result.tracked is None else result.tracked.track.names
    table: dict[str, Any] = {
        "avatar": result.avatar.name,
        "path": str(result.path),
        "healthy": result.healthy,
        "faults": list(result.faults),
        "unreadable": result.unreadable,
        "silent": list(result.silent),
        "lens": result.lens,
        "landmarks": None,
        "outline": None,
        "training": None,
        "doctor": None if result.diagnosis is None else result.diagnosis.as_json(),
    }
    if seen is not None:
        per_frame = zip(result.frames, seen.frames, strict=True)
        table["landmarks"] = {
            "off": seen.off,
            "source": seen.measured.source,
            "projections": seen.exact,
            "median_px": _number(seen.median),
            "p95_px": _number(seen.p95),
            "eyes_px": _number(seen.eye_distance),
            "median_share": _number(seen.median / max(seen.eye_distance, 1e-6)),
            "frames": [{"frame": f, "name": names[f], "median_px": _number(value)} for f, value in per_frame],
        }
    if outline is not None:
        fit = outline.as_read
        table["outline"] = {
            "off": outline.off,
            "outside_px": _number(fit.outside),
            "change_px": _number(fit.change),
            "share": _number(fit.share),
            "mended_share": _number(outline.best.share) if outline.what else None,
            "what": outline.what,
        }
    if training is not None:
        table["training"] = {
            "off": training.off,
            "frame": training.frame,
            "rms_mm": training.rms_mm,
            "fault": training.fault,
            "what": training.what,
        }
    return table


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
