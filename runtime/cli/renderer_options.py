"""The arguments of single renderers, for every command that draws."""

import argparse
from typing import Any

# By the renderer's own name of each: where the command's differs, a driver has that name already.
_NAMES = {
    "noise": "noise",
    "watermark": "watermark",
    "pose": "pose",
    "features": "features",
    "normalise": "normalise",
    "precision": "renderer_precision",
    "compile": "renderer_compile",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe them."""
    group = parser.add_argument_group("the renderer gagavatar")
    group.add_argument(
        "--noise", choices=("stored", "random"), help="stored: the same picture every time; random: as published"
    )
    group.add_argument("--watermark", metavar="IMAGE", help="a picture to put into the lower right corner")
    group.add_argument(
        "--renderer-precision", choices=("float32", "bfloat16", "float16"), help="of its networks (float32)"
    )
    group.add_argument(
        "--renderer-compile", action="store_true", default=None, help="torch.compile: slow to start, then faster"
    )
    group = parser.add_argument_group("the renderer gaussian-talker")
    group.add_argument(
        "--pose", choices=("recorded", "motion"), help="the head moves as in the recording, or as driven (recorded)"
    )
    group.add_argument(
        "--features", metavar="phones|FILE", help="audio features: our phones, an aud_ds.npy, an .onnx (the avatar's)"
    )
    group.add_argument(
        "--normalise", choices=("clip", "running"), help="of the sound for an .onnx: the whole clip, or as it comes"
    )


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was given, as options of the renderer, which refuses what it does not know."""
    given = ((name, getattr(arguments, argument)) for name, argument in _NAMES.items())
    return {name: value for name, value in given if value is not None}
