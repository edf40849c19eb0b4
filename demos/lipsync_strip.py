"""Make docs/lipsync.png: phones over lip gap, with pictures of the mouth. `python demos/lipsync_strip.py`.

Needs flite, for speech whose phones are known.
"""

import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

import marotte
from marotte.runtime.lipsync import flite
from marotte.runtime.lipsync.lips import lip_track
from marotte.runtime.lipsync.plot import plot
from marotte.runtime.lipsync.report import motion_of
from marotte.runtime.registry import create

HERE = Path(__file__).parent
OUT = HERE.parent / "docs" / "lipsync.png"
TEXT = "Bob's mum may buy a big blue boat, father saw five foxes."
SIZE, FPS = 640, 50
MOUTH = slice(370, 530), slice(215, 425)  # rows and columns of the mouth in a picture of that size
SHOWN = ("PB", "AA", "M", "OW", "UW", "AH", "FV", "SZ", "AO", "EY", "KG")


def main() -> None:
    """Speak, drive, render and plot."""
    speech = flite.speak(TEXT, "slt", stretch=1.15)
    motion = motion_of(create("driver", "viseme"), speech.samples)
    longest = [max((s for s in speech.spans if s.phone == phone), key=lambda s: s.end - s.start) for phone in SHOWN]
    times = sorted((span.start + span.end) / 2 for span in longest)
    with tempfile.TemporaryDirectory() as folder:
        sound = Path(folder, "speech.wav")
        soundfile.write(sound, speech.samples, 16000)
        marotte.render(sound, f"{folder}/frames/", motion=motion, size=SIZE, fps=FPS, idle=0)
        paths = sorted(Path(folder, "frames").glob("*.png"))
        pictures = [(at, np.asarray(Image.open(paths[round(at * FPS)]).convert("RGB"))[MOUTH]) for at in times]
    OUT.parent.mkdir(exist_ok=True)
    plot(speech, [("viseme", lip_track(motion))], OUT, pictures)


if __name__ == "__main__":
    main()
