"""marotte compare: put renderers, drivers and settings side by side, and measure what differs."""

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marotte.runtime.compare.model import Arm

# What `marotte.runtime.compare.run.compare` calls the same.
_OPTIONS = "reference reference_landmarks text fps size start duration title lpips seed".split()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("audio", nargs="?", help="a sound or video file that all arms say")
    parser.add_argument(
        "--arm",
        action="append",
        default=[],
        metavar="NAME=AVATAR[,key=value...]",
        help="what to compare: driver, renderer, rasterizer, variant, motion, expressiveness, ... as `marotte render` "
        "calls them; or NAME=video:FILE, a film that is there already. The first is what the others are compared with",
    )
    parser.add_argument("--plan", metavar="FILE.toml", help="a table [arms.NAME] for each arm, and these options")
    parser.add_argument("-o", "--out", help="the folder to make (compare)")
    parser.add_argument("--replace", action="store_true", help="in place of a comparison that is there")
    parser.add_argument("--reference", metavar="VIDEO", help="a real video, or a teacher's, that all are measured by")
    parser.add_argument(
        "--reference-landmarks", metavar="FILE.npy", help="its 68 landmarks, [frames, 68, 2] in its pixels"
    )
    parser.add_argument(
        "--text", help="what is said, in English, or a file with it: where lips should close (else heard)"
    )
    parser.add_argument("--fps", help="frames a second of all arms (25, or a fixed arm's own)")
    parser.add_argument("--size", help="pixels: 512 or 640x480 (the first arm's own)")
    parser.add_argument("--start", type=float, metavar="SECONDS", help="begin there in the sound")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="use so much of it")
    parser.add_argument("--title", help="of the report")
    parser.add_argument("--seed", type=int, help="of idle life, the same in all arms, and of the intervals (0)")
    parser.add_argument("--lpips", action="store_true", default=None, help="LPIPS too (needs marotte[lpips])")
    parser.add_argument("--no-cost", action="store_true", default=None, help="do not measure what arms cost")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors and notes")


def run(arguments: argparse.Namespace) -> None:
    """Compare, and say what was found."""
    from marotte.errors import MarotteError
    from marotte.runtime.cli.progress import FrameBar, announce_slow
    from marotte.runtime.compare.arms import read_arm, read_plan
    from marotte.runtime.compare.run import compare

    options: dict[str, Any] = {}
    arms: list[Arm] = []
    if arguments.plan:
        plan = read_plan(arguments.plan)
        options.update(plan.settings)
        arms.extend(plan.arms)
    arms.extend(read_arm(text) for text in arguments.arm)
    for name in ("audio", "out", *_OPTIONS):
        if getattr(arguments, name) is not None:
            options[name] = getattr(arguments, name)
    if arguments.no_cost:
        options["cost"] = False
    if arguments.replace:
        options["replace"] = True
    if "audio" not in options:
        raise MarotteError("there is no sound that the arms could say: marotte compare AUDIO --arm NAME=AVATAR ...")
    audio, out = options.pop("audio"), options.pop("out", "compare")
    with closing(FrameBar("comparing", quiet=arguments.quiet)) as bar:
        report = compare(audio, out, arms, progress=bar, slow=announce_slow, **options)
    for line in report.notes:
        print(f"marotte: note: {line}", file=sys.stderr)
    if arguments.quiet:
        return
    for line in report.summary:
        print(line)
    what = "1 arm" if len(arms) == 1 else f"{len(arms)} arms"
    print(
        f"{report.page}: {what} over {report.seconds:.2f} s at {float(report.fps):g} fps, compared in "
        f"{report.wall_seconds:.0f} s"
    )
