"""marotte avatars verify and evaluate: whether an avatar and its tracking fit each other, and how well it is drawn."""

import argparse
from typing import Any


def add_arguments(actions: Any) -> None:
    """Add `verify` and `evaluate` to what `parser.add_subparsers` returned; each sets `act`."""
    verify = actions.add_parser("verify", help="project the tracked head over the frames and say whether it fits")
    _add_verify(verify)
    verify.set_defaults(act=_verify)
    evaluate = actions.add_parser("evaluate", help="render the tracked frames and compare them with the pictures")
    _add_evaluate(evaluate)
    evaluate.set_defaults(act=_evaluate)


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("avatar", help="name or folder")
    parser.add_argument("tracking", metavar="TRACKING", help="folder or file of tracked frames, in any camera format")
    parser.add_argument("-o", "--out", default="verify.mp4", metavar="FILE.mp4", help="overlay to write (verify.mp4)")
    parser.add_argument(
        "--frames", type=int, default=250, metavar="N", help="how many, spread over the recording (250)"
    )
    parser.add_argument("--landmarks", metavar="FILE", help="measured points: points2d, and points3d as for the doctor")
    parser.add_argument("--json", action="store_true", help="print one object: errors, verdict, faults, mend")
    _add_reading(parser)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("avatar", help="name or folder")
    parser.add_argument("frames", metavar="FRAMES", help="folder or file of tracked frames with their pictures")
    parser.add_argument("-o", "--out", default="evaluation", metavar="FOLDER", help="new folder to write (evaluation)")
    parser.add_argument("--split", choices=("test", "train", "all"), default="test", help="as published (test)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take every Nth frame of these (1)")
    parser.add_argument(
        "--lpips",
        nargs="?",
        const="alex",
        metavar="alex|vgg",
        help="LPIPS as well, by this network (alex); needs marotte[lpips], which downloads weights at first use",
    )
    parser.add_argument("--background", default="white", metavar="COLOUR", help="under avatar and picture (white)")
    parser.add_argument("--variant", help="one of the avatar's variants")
    parser.add_argument("--worst", type=int, default=4, metavar="N", help="how many frames to show side by side (4)")
    _add_reading(parser)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", metavar="FORMAT", help="what the tracking is, where its content does not decide")
    parser.add_argument("--images", metavar="FOLDER", help="where the pictures are, if elsewhere")


def _verify(arguments: argparse.Namespace) -> int:
    """Print how well the tracked head fits; 0 healthy, 1 off."""
    import json
    from pathlib import Path

    from marotte.errors import MarotteError
    from marotte.runtime.avatar import load_avatar
    from marotte.runtime.avatars.check import check_measurable
    from marotte.runtime.cli.progress import FrameBar
    from marotte.runtime.verify import verify
    from marotte.runtime.verify_overlay import write_overlay
    from marotte.runtime.verify_report import as_json, report
    from marotte.runtime.whole_file import check_place

    out = Path(arguments.out)
    if out.suffix.lower() not in (".mp4", ".webm", ".gif"):
        raise MarotteError(f"{out} is no film: name a file that ends in .mp4, .webm or .gif")
    check_place(out)
    avatar = load_avatar(arguments.avatar)
    check_measurable(avatar, "verify")
    bar = FrameBar("reading")
    try:
        found = verify(
            avatar,
            arguments.tracking,
            frames=arguments.frames,
            landmarks=arguments.landmarks,
            images=arguments.images,
            format=arguments.format,
            points=out.with_name(f"{out.stem}.landmarks.npz"),
            progress=bar,
        )
    finally:
        bar.close()
    lines = report(found)
    if found.tracked is not None:
        bar = FrameBar("overlay")
        try:
            write_overlay(found, out, progress=bar)
        finally:
            bar.close()
        lines.append(f"overlay: {out}")
    print(json.dumps(as_json(found), indent=2) if arguments.json else "\n".join(lines))
    return 0 if found.healthy else 1


def _evaluate(arguments: argparse.Namespace) -> None:
    """Print how well the avatar is drawn, and write the folder."""
    from pathlib import Path

    from marotte.runtime.avatar import load_avatar
    from marotte.runtime.avatars.check import check_measurable
    from marotte.runtime.cli.progress import FrameBar, announce_slow
    from marotte.runtime.evaluate import evaluate, lines
    from marotte.runtime.evaluation_files import check_folder, write_evaluation
    from marotte.runtime.picture_metrics import Lpips
    from marotte.runtime.registry import create
    from marotte.runtime.tracked_frames import open_tracked

    out = Path(arguments.out)
    check_folder(out)
    avatar = load_avatar(arguments.avatar)
    check_measurable(avatar, "evaluate")
    lpips = Lpips(arguments.lpips) if arguments.lpips else None
    tracked = open_tracked(avatar, arguments.frames, images=arguments.images, format=arguments.format)
    renderer = create("renderer", avatar.renderer)
    with announce_slow("preparing the renderer"):
        renderer.warm_up()
    bar = FrameBar("rendering")
    try:
        result = evaluate(
            tracked,
            renderer,
            split=arguments.split,
            every=arguments.every,
            background=arguments.background,
            variant=arguments.variant,
            lpips=lpips,
            worst=arguments.worst,
            progress=bar,
        )
    finally:
        bar.close()
    write_evaluation(result, out)
    print("\n".join([*lines(result), f"written: {out}"]))
