"""Plots of a benchmark: how the cost of a frame grows with Gaussians and with pixels."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from marotte.errors import MarotteError
from marotte.runtime.bench import Result

# What may grow, and what the axis says.
_GROWTH = {"gaussians": "Gaussians", "size": "pixels"}


def plot(results: Iterable[Result], path: str | Path) -> None:
    """Write CPU-ms a frame at one thread over each setting that varies, a line for each case and other setting.

    Raises MarotteError where nothing varies: give several sizes or counts.
    """
    lines = {setting: _lines(results, setting) for setting in _GROWTH}
    drawn = {setting: found for setting, found in lines.items() if found}
    if not drawn:
        raise MarotteError("nothing to plot: give several --sizes or --gaussians, so that something grows")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(drawn), figsize=(6 * len(drawn), 4), layout="constrained", squeeze=False)
    for axis, (setting, found) in zip(axes[0], drawn.items(), strict=True):
        for label, points in found.items():
            x, y = zip(*sorted(points), strict=True)
            axis.plot(x, y, marker="o", label=label)
        axis.set(xlabel=_GROWTH[setting], ylabel="CPU-ms a frame, one thread", xlim=(0, None), ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small", frameon=False)
    try:
        figure.savefig(path, dpi=80)
    except (OSError, ValueError) as error:
        raise MarotteError(f"cannot write {path}: {error}") from error
    finally:
        plt.close(figure)


def _lines(results: Iterable[Result], setting: str) -> dict[str, list[tuple[float, float]]]:
    """Return points by label, of the lines with more than one point."""
    lines = defaultdict(list)
    for result in results:
        if setting in result.settings and not result.twin_of:
            value = float(result.settings[setting])
            others = [f"{name} {other}" for name, other in result.settings.items() if name != setting]
            point = value * value if setting == "size" else value, result.total.cpu_ms
            lines[", ".join([result.name, *others])].append(point)
    return {label: points for label, points in lines.items() if len(points) > 1}
