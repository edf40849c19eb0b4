"""marotte render: make a video of a talking head from a sound file."""

import argparse
import sys
from contextlib import closing

from marotte.runtime.cli import driver_options, renderer_options

# What `marotte.render` calls the same.
_OPTIONS = (
    "avatar driver renderer size fps background framing start duration motion motion_basis motion_fps jaw "
    "head_motion expressiveness fix_pose smooth idle seed basis_approx head_rotation flame match_expression "
    "variant rasterizer device threads crf preset"
).split()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("audio", help="a sound or video file: wav, flac, ogg, mp3, m4a, mp4, ...")
    parser.add_argument("-o", "--out", required=True, help=".mp4, .webm, .gif, or a folder/ for PNG files")
    picture = parser.add_argument_group("picture")
    picture.add_argument("--avatar", default="demo", help="name or folder of the avatar (demo)")
    picture.add_argument("--renderer", help="back end that draws it (the avatar's own)")
    picture.add_argument("--variant", help="another set of the avatar's data, such as live")
    picture.add_argument("--rasterizer", help="for renderers that splat: cpu, triton, gsplat, ... (the best here)")
    picture.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where it is drawn (auto)")
    picture.add_argument("--size", help="pixels: 768 or 1280x720 (the avatar's own)")
    picture.add_argument("--fps", help="frames a second: 25, 60, 30000/1001 (the avatar's own, else 25)")
    picture.add_argument("--background", metavar="COLOUR|IMAGE|transparent|own", help="what stands behind the head")
    picture.add_argument("--framing", default="head", help="head or bust (head)")
    sound = parser.add_argument_group("sound")
    sound.add_argument("--start", type=float, default=0.0, metavar="SECONDS", help="begin there in the sound")
    sound.add_argument("--duration", type=float, metavar="SECONDS", help="use so much of it")
    motion = parser.add_argument_group("motion")
    motion.add_argument("--driver", help="where motion comes from (viseme)")
    motion.add_argument(
        "--motion", metavar="FILE", help="play this motion: .npz, .npy, .pt, Live Link Face's .csv, a tracker's folder"
    )
    motion.add_argument("--motion-basis", help="expression basis of a file that does not say it")
    motion.add_argument("--motion-fps", help="frame rate of a file that does not say it")
    motion.add_argument("--jaw", choices=("full", "pitch"), default="full", help="all of the jaw, or opening only")
    motion.add_argument("--head-motion", type=float, default=1.0, metavar="0..1", help="share of head motion to keep")
    motion.add_argument("--expressiveness", type=float, default=1.0, metavar="0..3", help="1: as driven")
    motion.add_argument("--fix-pose", action="store_true", help="no head motion from the driver")
    motion.add_argument("--smooth", action="store_true", help="ARTalk's Savitzky-Golay smoother on the motion")
    motion.add_argument("--idle", type=float, default=1.0, metavar="0..2", help="blinks, gaze, breath, nods; 0: none")
    motion.add_argument("--seed", type=int, default=0, help="of idle life")
    motion.add_argument(
        "--basis-approx", choices=("jaw+head",), help="show motion of a foreign basis without its expression"
    )
    motion.add_argument("--flame", metavar="FILE|FOLDER", help="FLAME, for motion of another basis than the avatar's")
    motion.add_argument(
        "--match-expression", action="store_true", help="scale expression to the level of the avatar's training"
    )
    motion.add_argument("--head-rotation", choices=("root", "neck", "camera"), help="where head rotation goes")
    driver_options.add_arguments(parser)
    renderer_options.add_arguments(parser)
    work = parser.add_argument_group("work")
    work.add_argument("--threads", type=int, metavar="N", help="how many threads to use (all)")
    work.add_argument("--crf", type=int, help="quality of the video, lower is better (18)")
    work.add_argument("--preset", default="veryfast", help="x264 preset (veryfast)")
    work.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors and notes")


def run(arguments: argparse.Namespace) -> None:
    """Render, and say what was made."""
    from marotte.runtime.cli.progress import FrameBar, announce_slow
    from marotte.runtime.compiled import limit_threads
    from marotte.runtime.offline import render

    limit_threads(arguments.threads)
    with closing(FrameBar("rendering", quiet=arguments.quiet)) as bar:
        options = {name: getattr(arguments, name) for name in _OPTIONS}
        options["driver_options"] = driver_options.chosen(arguments)
        options["renderer_options"] = renderer_options.chosen(arguments)
        report = render(arguments.audio, arguments.out, progress=bar, slow=announce_slow, **options)
    if arguments.quiet:
        return
    for line in report.approximations:
        print(f"marotte: note: approximated: {line}", file=sys.stderr)
    for line in report.notes:
        print(f"marotte: note: {line}", file=sys.stderr)
    width, height = report.size
    print(
        f"{report.path}: {report.frames} frames, {report.seconds:.2f} s at {width}x{height} and "
        f"{float(report.fps):g} fps, made in {report.wall_seconds:.1f} s ({report.speed:.2g} times real time)"
    )
