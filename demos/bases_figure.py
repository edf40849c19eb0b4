"""Draw docs/bases.png: one motion on heads of two bases, as it is and through a transfer.

    python demos/bases_figure.py docs/bases.png

Rows: a demo avatar in ARKit's basis; the same person trained on a stand-in for FLAME (published_folder.py), moved
through the transfer; the demo head; the demo head moved by what the stand-in was told, taken back to ARKit's basis.
Columns: moments of the demo speech, then actions at full weight.
"""

import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import published_folder
from PIL import Image, ImageDraw

from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.arkit import JAW_OPEN, SLOT
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.background import Background
from marotte.runtime.bridge import Bridge
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.motion import HEAD, JAW, Motion, concatenate
from marotte.runtime.offline import drive
from marotte.runtime.transfer.find import find_transfer

SIZE = 160
PERSON = published_folder.PERSON
SPEECH = Path(__file__).with_name("speech.wav")
ACTIONS = {
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "pucker": ("mouthPucker",),
    "funnel": ("mouthFunnel",),
    "brows": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "wink": ("eyeBlinkLeft", "cheekSquintLeft"),
    "close, jaw open": ("mouthClose",),
}


def main(out: Path) -> None:
    """Write the figure."""
    with tempfile.TemporaryDirectory() as folder:
        published = Path(folder) / "published"
        published_folder.write(published, frames=2, size=64)
        person, demo = load_avatar(PERSON), load_avatar("demo")
        trained = trained_avatar(published)
        there = find_transfer("arkit52", trained).transfer
        back = find_transfer("flame2020", demo, published / "flame").transfer
        titles, motion = moments()
        rows = [
            pictures(person, motion),
            pictures(trained, motion, transfer=there),
            pictures(demo, motion),
            pictures(demo, there.apply(motion), transfer=back),
        ]
    sheet = Image.fromarray(np.concatenate([np.concatenate(list(row), axis=1) for row in rows]))
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((column * SIZE + 4, 2), title, fill="#333333")
    for row, title in enumerate(("ARKit", "ARKit to FLAME", "ARKit", "ARKit to FLAME to ARKit")):
        draw.text((4, (row + 1) * SIZE - 14), title, fill="#ffffff", stroke_width=1, stroke_fill="#333333")
    sheet.quantize(200).save(out, optimize=True)


def trained_avatar(published: Path) -> Avatar:
    """Return the avatar in a folder of published_folder.py's, framed as the person that it was made from."""
    person = load_avatar(PERSON)
    shape = np.load(person.path / person.shape).ravel()
    np.save(published / "identity.npy", shape)
    iteration = next((published / "output" / "point_cloud").iterdir())
    return Avatar(
        name="trained",
        path=published,
        renderer="splatting-avatar",
        basis="flame2020",
        head="flame/generic_model.pkl",
        shape="identity.npy",
        splats=str(iteration.relative_to(published)),
        expressions=published_folder.EXPRESSIONS,
        unit=published_folder.UNIT,
    )


def moments() -> tuple[list[str], Motion]:
    """Return titles and frames: where speech moves the mouth most, in its own ways, then single actions."""
    speech = drive(SPEECH)
    picked = [int(np.argmax(speech.codes[:, column])) for column in (JAW.start, SLOT["mouthPressLeft"])]
    picked.append(int(np.argmax(speech.codes[:, SLOT["mouthPucker"]] + speech.codes[:, SLOT["mouthFunnel"]])))
    codes = np.zeros((len(ACTIONS), speech.codes.shape[1]), np.float32)
    for row, names in zip(codes, ACTIONS.values(), strict=True):
        row[[SLOT[name] for name in names]] = 1
    codes[-1, JAW] = JAW_OPEN
    frames = concatenate([*(speech[frame : frame + 1] for frame in picked), Motion(codes, speech.fps, "arkit52")])
    still = frames.codes.copy()
    still[:, HEAD] = 0
    titles = [f"{frame / float(speech.fps):.2f} s" for frame in picked] + list(ACTIONS)
    return titles, Motion(still, frames.fps, frames.basis)


def pictures(avatar: Avatar, motion: Motion, **bridge: Any) -> np.ndarray:
    """Return [T, SIZE, SIZE, 3] uint8."""
    renderer = SplattingAvatarRenderer()
    stream = renderer.open(avatar, RenderOptions(SIZE, SIZE))
    camera = load_avatar(PERSON).framing("head").camera(SIZE, SIZE).scaled(avatar.unit)
    bridged = Bridge(avatar, camera, **bridge)
    ticks = frame_ticks(0, len(motion), Fraction(25))
    return renderer.render(
        stream, Drive(ticks, bridged.head_state(motion), bridged.cameras(motion), Background())
    ).pixels


if __name__ == "__main__":
    main(Path(sys.argv[1]))
