"""What a motion does: which dimensions move and how far, in words and in plots."""

from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.arkit import ACTIONS
from marotte.runtime.motion import Motion
from marotte.runtime.motion_files import MotionFile
from marotte.runtime.whole_file import written_whole

# A dimension that varies by less than this is still: expression units and radians alike.
_STILL = 1e-4


def names(motion: Motion) -> list[str]:
    """Return the name of each of the 106 dimensions."""
    expression = [f"expression {index}" for index in range(100)]
    if motion.basis == "arkit52":
        expression[: len(ACTIONS)] = ACTIONS
    return [*expression, *(f"{part} {axis}" for part in ("head", "jaw") for axis in "xyz")]


def describe(file: MotionFile) -> list[str]:
    """Return lines that say what the file holds, what moves in it and in which range."""
    motion = file.motion
    lines = [f"{len(motion)} frames, {float(motion.duration):.2f} s at {float(motion.fps):g} fps, basis {motion.basis}"]
    lines += [f"{key}: {value}" for key, value in file.about.items()]
    if motion.extras:
        lines.append(f"with {', '.join(motion.extras)}")
    if not len(motion):
        return lines
    span = np.ptp(motion.codes, axis=0)
    active = np.flatnonzero(span > _STILL)
    lines.append(f"{len(active)} of 106 dimensions move; mean |expression| {np.abs(motion.expression).mean():.4f}")
    if len(active):
        lines.append(f"{'dimension':<22}{'least':>9}{'mean':>9}{'most':>9}{'jitter':>9}")
    jitter = np.abs(np.diff(motion.codes, n=2, axis=0)).mean(axis=0) if len(motion) > 2 else np.zeros(106)
    label = names(motion)
    for index in active:
        track = motion.codes[:, index]
        unit = np.rad2deg(1) if index >= 100 else 1.0
        lines.append(
            f"{label[index]:<22}"
            + "".join(f"{value * unit:9.3f}" for value in (track.min(), track.mean(), track.max(), jitter[index]))
            + (" degrees" if index >= 100 else "")
        )
    return lines


def plot(motion: Motion, path: str | Path) -> None:
    """Write plots along time of jaw, head, the ten widest expression dimensions and the extras."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise MarotteError(f"plots cannot be written as {path}: use .png, .svg or .pdf")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    seconds = np.arange(len(motion)) / float(motion.fps)
    label = names(motion)
    widest = [i for i in np.argsort(-np.ptp(motion.expression, axis=0)) if np.ptp(motion.expression[:, i]) > _STILL]
    panels = {
        "jaw, degrees": {label[103 + axis]: np.rad2deg(motion.jaw[:, axis]) for axis in range(3)},
        "head, degrees": {label[100 + axis]: np.rad2deg(motion.head[:, axis]) for axis in range(3)},
        "expression": {label[i]: motion.expression[:, i] for i in widest[:10]},
    }
    for name, track in motion.extras.items():
        unit, factor = ("degrees", np.rad2deg(1)) if name in ("eyes", "neck") else ("", 1.0)
        panels[f"{name}, {unit}".rstrip(", ")] = {str(i): track[:, i] * factor for i in range(track.shape[1])}
    figure, axes = plt.subplots(len(panels), figsize=(12, 2.4 * len(panels)), sharex=True, layout="constrained")
    for axis, (title, tracks) in zip(axes, panels.items(), strict=True):
        for name, track in tracks.items():
            axis.plot(seconds, track, label=name, linewidth=1)
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if tracks:
            axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="small", frameon=False)
    axes[-1].set_xlabel("seconds")
    try:
        with written_whole(path) as part:
            figure.savefig(part, dpi=100, format=path.suffix[1:])
    finally:
        plt.close(figure)
