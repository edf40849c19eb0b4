"""marotte doctor: name what is wrong with a camera file, by its own contradictions and by landmarks."""

import argparse
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("path", metavar="PATH", help="camera file, or folder of them, in any format that is known")
    parser.add_argument(
        "--landmarks",
        metavar="FILE.npz",
        help="points3d [N, 3] and points2d [frames, N, 2] (the folder's landmarks.npz)",
    )
    parser.add_argument("--json", action="store_true", help="print one object: faults, alternatives, evidence, mend")
    parser.add_argument("--mend", metavar="OUT", help="write the file with the faults undone")
    parser.add_argument("--to", metavar="FORMAT", help="write the mended cameras alone, in another format")
    parser.add_argument("--overlay", metavar="OUT.png", help="draw measured and projected points before and after")
    parser.add_argument("--image", metavar="FILE", help="picture of the first frame, for the overlay and its size")
    parser.add_argument("--mesh", metavar="FILE", help=".obj, .ply or .npy whose vertices the overlay draws as well")
    parser.add_argument("--format", help="what it is, where its content does not decide")
    parser.add_argument("--size", metavar="WxH", help="size of the pictures, where the file does not say it")
    parser.add_argument("--video", metavar="WxH", help="size of the video that the pictures were cut from")
    parser.add_argument("--bbox", metavar="FILE", help="metrical-tracker's bbox.pt (the folder's)")
    parser.add_argument("--points-unit", type=float, metavar="N", help="units per metre of points3d (1)")


def run(arguments: argparse.Namespace) -> int:
    """Print the diagnosis; 0 healthy, 1 where a fault was found."""
    from marotte.runtime.cameras.doctor import diagnose
    from marotte.runtime.cameras.doctor.mend import check_target, write_mended
    from marotte.runtime.cameras.doctor.report import describe

    if arguments.mend:
        check_target(arguments.mend)
    found = diagnose(
        arguments.path,
        arguments.landmarks,
        mesh=arguments.mesh,
        image=arguments.image,
        format=arguments.format,
        size=_size("--size", arguments.size),
        video=_size("--video", arguments.video),
        bbox=arguments.bbox,
        points_unit=arguments.points_unit,
        overlay=arguments.overlay,
    )
    lines = describe(found)
    if arguments.mend:
        write_mended(found, arguments.mend, arguments.to)
        lines.append(f"  written     {arguments.mend}")
    if arguments.overlay:
        lines.append(f"  overlay     {arguments.overlay}")
    print(json.dumps(found.as_json(), indent=2) if arguments.json else "\n".join(lines))
    return 0 if found.healthy else 1


def _size(option: str, text: str | None) -> tuple[int, int] | None:
    from marotte.errors import MarotteError

    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise MarotteError(f"{option} is {text!r}: give width and height, such as 1920x1080")
    return int(parts[0]), int(parts[1])
