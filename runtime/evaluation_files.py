"""What an evaluation leaves on disk: scores.csv, scores.json, scores.png and the worst frames side by side."""

import csv
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from marotte.errors import MarotteError
from marotte.runtime.evaluate import MEASURES, Comparison, Evaluation, columns
from marotte.runtime.frames import to_bytes

_GAIN = 4
_GAP, _HEADER = 8, 24
_LEAST_WIDTH = 320


def check_folder(out: Path) -> None:
    """Raise MarotteError where `out` cannot become the folder of an evaluation."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise MarotteError(f"{out} is there already: name a new or an empty folder")
    if not out.absolute().parent.is_dir():
        raise MarotteError(f"cannot write {out}: there is no folder {out.absolute().parent}")


def write_evaluation(result: Evaluation, out: Path) -> None:
    """Write the folder; it appears when it is whole. Raises MarotteError where it cannot be written."""
    with _whole_folder(out) as folder:
        names = columns(result.scores)
        with (folder / "scores.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["frame", "name", *names])
            for score in result.scores:
                table.writerow([score.frame, score.name, *(f"{getattr(score, name):.6f}" for name in names)])
        content = {
            "avatar": result.avatar,
            "split": result.split,
            "background": result.background,
            "summary": result.summary(),
            "notes": list(result.notes),
            "frames": [asdict(score) for score in result.scores],
        }
        (folder / "scores.json").write_text(json.dumps(content, indent=2))
        _plot(result, folder / "scores.png")
        for rank, comparison in enumerate(result.worst, 1):
            _side_by_side(comparison, folder / f"worst-{rank}.png")


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `out` when the block ends well."""
    check_folder(out)
    part = None
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.absolute().parent))
        yield part
        if out.is_dir():
            out.rmdir()
        part.chmod(0o755)
        part.replace(out)
    except OSError as error:
        raise MarotteError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _plot(result: Evaluation, path: Path) -> None:
    """Draw each measure over the frames, with its mean, and the worst frames marked."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    measured = result.measured()
    frames = [score.frame for score in result.scores]
    shown = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}
    rows = [name for name in shown if name in measured]
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(9, 2.4 * len(rows) + 0.4), sharex=True, layout="constrained", squeeze=False
    )
    worst = {comparison.score.frame for comparison in result.worst}
    for axis, name in zip(axes[:, 0], rows, strict=True):
        better, unit = MEASURES[name]
        axis.plot(frames, measured[name], color="tab:blue", linewidth=1.2, label="whole picture")
        if name == "psnr" and "psnr_masked" in measured:
            axis.plot(frames, measured["psnr_masked"], color="tab:orange", linewidth=1.2, label="within the mask")
        axis.axhline(measured[name].mean(), color="tab:blue", linewidth=0.8, linestyle="--", label="mean")
        marked = [(frame, value) for frame, value in zip(frames, measured[name], strict=True) if frame in worst]
        if marked:
            axis.plot(*zip(*marked, strict=True), "v", color="tab:red", label="worst by PSNR")
        axis.set_ylabel(f"{shown[name]}{f' [{unit}]' if unit else ''}, {'more' if better else 'less'} is better")
        axis.grid(alpha=0.3)
        axis.margins(x=0.02, y=0.1)
    axes[0, 0].legend(fontsize="small", frameon=False, ncols=4, loc="lower left", bbox_to_anchor=(0, 1))
    axes[-1, 0].set_xlabel("frame")
    figure.savefig(path, dpi=90, format="png")
    plt.close(figure)


def _side_by_side(comparison: Comparison, path: Path) -> None:
    """Write truth, render and four times their difference, with words above."""
    from PIL import Image, ImageDraw, ImageFont

    score, truth, render = comparison.score, comparison.truth, comparison.render
    panels = [to_bytes(truth), to_bytes(render), to_bytes(np.abs(render - truth) * _GAIN)]
    height, width = truth.shape[:2]
    enlarged = max(-(-_LEAST_WIDTH // width), 1)
    width, height = width * enlarged, height * enlarged
    sheet = Image.new("RGB", (3 * width + 2 * _GAP, height + 2 * _HEADER), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    words = f"{score.name} (frame {score.frame}): PSNR {score.psnr:.2f} dB, SSIM {score.ssim:.4f}"
    if score.lpips is not None:
        words += f", LPIPS {score.lpips:.4f}"
    draw.text((6, 3), words, fill="black", font=font)
    for index, (label, pixels) in enumerate(zip(("picture", "render", f"difference x {_GAIN}"), panels, strict=True)):
        left = index * (width + _GAP)
        draw.text((left + 6, _HEADER + 2), label, fill="black", font=font)
        sheet.paste(Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), (left, 2 * _HEADER))
    sheet.save(path, "PNG")
