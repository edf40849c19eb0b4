"""marotte motion: look at a motion file: what moves and how far, plots, a preview, how it differs from another."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marotte.runtime.motion import Motion
    from marotte.runtime.motion_head import MeasuredHead

# Files that say neither basis nor rate.
_BARE = (".pt", ".npy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("motion", help=".npz, .npy, ARTalk's .pt, a Live Link Face .csv, or a tracker's folder")
    parser.add_argument("--basis", help="expression basis, where the file does not say it")
    parser.add_argument("--fps", help="frame rate, where the file does not say it")
    parser.add_argument("--plot", metavar="FILE.png", help="write plots along time")
    parser.add_argument("--preview", metavar="FILE.mp4", help="write a silent video of the motion on an avatar")
    parser.add_argument("--avatar", default="demo", help="avatar of the preview (demo)")
    parser.add_argument("--basis-approx", choices=("jaw+head",), help="as in `marotte render`")
    comparing = parser.add_argument_group("comparing")
    comparing.add_argument("--against", metavar="MOTION", help="say how far the motion is from this one")
    comparing.add_argument(
        "--head",
        metavar="FILE|AVATAR",
        help="head model to measure lips and face on (the demo's for arkit52; for FLAME that of `marotte assets`)",
    )
    comparing.add_argument("--landmarks", metavar="FILE", help="the head's landmark_embedding.npy, if it has none")
    comparing.add_argument("--masks", metavar="FILE", help="FLAME_masks.pkl, for the regions of lips and upper face")
    comparing.add_argument("--json", action="store_true", help="print one object with every figure")
    comparing.add_argument("--definitions", action=_Definitions, nargs=0, help="say what each figure is")


def run(arguments: argparse.Namespace) -> None:
    """Print the ranges, or the differences; plot and preview where asked."""
    from marotte.errors import MarotteError
    from marotte.runtime.motion_files import read_motion
    from marotte.runtime.motion_report import describe, plot

    for option in ("head", "landmarks", "masks", "json"):
        if getattr(arguments, option) and not arguments.against:
            raise MarotteError(f"--{option} says how to compare: name the other motion with --against")
    file = read_motion(arguments.motion, **_told(arguments, arguments.motion, arguments.against))
    if arguments.against:
        _compare(arguments, file.motion)
    else:
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


def _compare(arguments: argparse.Namespace, first: "Motion") -> None:
    import json

    from marotte.runtime.compiled import prepare

    prepare()
    from marotte.runtime.motion_compare import compare, describe
    from marotte.runtime.motion_files import read_motion

    other = read_motion(arguments.against, **_told(arguments, arguments.against, arguments.motion))
    found = compare(first, other.motion, _head(arguments, first.basis))
    if arguments.json:
        print(json.dumps(found.as_json(), indent=2))
        return
    print(f"{arguments.motion} against {arguments.against}")
    print("\n".join([*(f"{key}: {value}" for key, value in other.about.items()), *describe(found)]))


def _told(arguments: argparse.Namespace, path: str, other: str | None) -> dict[str, Any]:
    """Return what is said of a file: nothing where the other one is a bare array, this one is not."""
    if other and other.endswith(_BARE) and not path.endswith(_BARE):
        return {}
    return {"basis": arguments.basis, "fps": arguments.fps}


def _head(arguments: argparse.Namespace, basis: str) -> "MeasuredHead | None":
    """Return the head that was asked for, or the one that serves a basis by itself, or None."""
    from marotte.runtime.assets import catalogue, examine
    from marotte.runtime.motion_head import MeasuredHead

    def here(name: str) -> Any:
        found = examine(catalogue()[name], hashed=True)
        return found.path if found.state == "present" else None

    if arguments.head or basis == "arkit52":
        head = arguments.head or "demo"
        return MeasuredHead.load(head, landmarks=arguments.landmarks, masks=arguments.masks)
    names = {"flame2020": ("FLAME_with_eye.pt", "generic_model.pkl"), "flame2023": ("flame2023.pkl",)}
    for name in names.get(basis, ()):
        if path := here(name):
            marks = arguments.landmarks or (None if name.endswith(".pt") else here("landmark_embedding.npy"))
            return MeasuredHead.load(path, landmarks=marks, masks=arguments.masks or here("FLAME_masks.pkl"))
    return None


class _Definitions(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from marotte.runtime.motion_compare import DEFINITIONS

        for name, text in DEFINITIONS.items():
            print(f"{name}: {text}")
        parser.exit()
