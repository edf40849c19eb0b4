"""marotte drive: make a motion file from a sound file."""

import argparse
from contextlib import closing

from marotte.runtime.cli import driver_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("audio", help="a sound or video file")
    parser.add_argument("-o", "--out", required=True, help="motion file to write (.npz, or ARTalk's .pt)")
    parser.add_argument("--driver", help="where motion comes from (viseme)")
    parser.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="begin there in the sound")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="use so much of it")
    parser.add_argument("--smooth", action="store_true", help="ARTalk's Savitzky-Golay smoother")
    driver_options.add_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors and notes")


def run(arguments: argparse.Namespace) -> None:
    """Drive, and say what was made."""
    from marotte.runtime.cli.progress import FrameBar
    from marotte.runtime.offline import drive

    with closing(FrameBar("driving", quiet=arguments.quiet)) as bar:
        motion = drive(
            arguments.audio,
            arguments.out,
            driver=arguments.driver,
            start=arguments.start,
            duration=arguments.duration,
            smooth=arguments.smooth,
            driver_options=driver_options.chosen(arguments),
            progress=bar,
        )
    if not arguments.quiet:
        print(
            f"{arguments.out}: {len(motion)} frames, {float(motion.duration):.2f} s at {float(motion.fps):g} fps "
            f"in {motion.basis}"
        )
