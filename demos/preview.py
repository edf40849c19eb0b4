"""Make the README's picture: frames of the demo speech side by side. `python demos/preview.py`."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import marotte

HERE = Path(__file__).parent
SECONDS = (0.2, 6.56, 6.68, 8.16)  # at rest; in "mum may buy": an open vowel, closed lips; a round one in "boat"
SIZE = 320


def main() -> None:
    """Render the speech as PNG files and put four of them in a row."""
    with tempfile.TemporaryDirectory() as folder:
        marotte.render(HERE / "speech.wav", f"{folder}/frames/", size=SIZE, duration=max(SECONDS) + 0.1)
        paths = sorted(Path(folder, "frames").glob("*.png"))
        row = [np.asarray(Image.open(paths[round(second * 25)])) for second in SECONDS]
    Image.fromarray(np.concatenate(row, axis=1)).save(HERE / "preview.png", optimize=True)


if __name__ == "__main__":
    main()
