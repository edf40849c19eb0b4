"""marotte motion: look at a motion file: what moves, how far, plots and a preview."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("motion", help=".npz, .npy, ARTalk's .pt, or a Live Link Face .csv")
    parser.add_argument("--basis", help="expression basis, where the file does not say it")
    parser.add_argument("--fps", help="frame rate, where the file does not say it")
    parser.add_argument("--plot", metavar="FILE.png", help="write plots along time")
    parser.add_argument("--preview", metavar="FILE.mp4", help="write a silent video of the motion on an avatar")
    parser.add_argument("--avatar", default="demo", help="avatar of the preview (demo)")
    parser.add_argument("--basis-approx", choices=("jaw+head",), help="as in `marotte render`")


def run(arguments: argparse.Namespace) -> None:
    """Print the ranges; plot and preview where asked."""
    from marotte.runtime.motion_files import read_motion
    from marotte.runtime.motion_report import describe, plot

    file = read_motion(arguments.motion, basis=arguments.basis, fps=arguments.fps)
    print("\n".join(describe(file)))
    if arguments.plot:
        plot(file.motion, arguments.plot)
        print(f"plots: {arguments.plot}")
    if arguments.preview:
        from marotte.runtime.cli.progress import announce_slow
        from marotte.runtime.offline import render

        report = render(
            None,
            arguments.preview,
            motion=file.motion,
            avatar=arguments.avatar,
            basis_approx=arguments.basis_approx,
            idle=0,
            slow=announce_slow,
        )
        print(f"preview: {report.path}, {report.frames} frames")
