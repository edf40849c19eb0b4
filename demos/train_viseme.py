"""Train the viseme network: `python demos/train_viseme.py`, from synthesisers to weights, under 3 hours on two cores.

Needs espeak-ng, flite and festival with Debian's festvox-* voices, and `pip install -e '.[train]'`. The same seed,
programs and number of steps give the same speech. Speech is kept in the working folder and not made twice.
"""

import argparse
from pathlib import Path

import librosa
import numpy as np
import torch
from viseme_corpus import SHARES, make, pieces, read
from viseme_torch import Crops, accuracy, export, train

from marotte.models.viseme.mel import BANDS, FFT, RATE
from marotte.models.viseme.network import WEIGHTS

# One piece in so many is kept out of training, to see how the network does on speech of the same kind.
_KEPT = 25


def main() -> None:
    """Make the speech, train, export, and say how it did."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go (the shipped file)")
    parser.add_argument("--work", type=Path, default=Path("build/viseme"), help="folder for the speech (build/viseme)")
    parser.add_argument("--steps", type=int, default=13000, help="of 32 crops of 4 s (13000)")
    parser.add_argument("--minutes", type=float, default=1.0, help="factor on the amount of speech (1)")
    parser.add_argument("--without", default="", help="leave synthesisers out, to test on them: flite,festival")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without = tuple(filter(None, arguments.without.split(",")))

    filters = mel_filters()
    chosen = pieces(arguments.minutes, without)
    files = make(chosen, arguments.work, arguments.seed, filters, arguments.threads)
    kept = [(1.0, read(paths[::_KEPT])) for paths in files.values()]
    crops = Crops(
        [
            (SHARES[source], read([path for index, path in enumerate(paths) if index % _KEPT]))
            for source, paths in files.items()
            if len(paths) > 1
        ],
        arguments.seed,
    )
    network = train(crops, arguments.steps, arguments.seed, arguments.work / "log.txt")
    about = {"seed": str(arguments.seed), "steps": str(arguments.steps), "without": ",".join(without)}
    export(network, filters, arguments.out, about)
    unseen = Crops(kept, arguments.seed + 1)
    figures = accuracy(network, [unseen.draw(vary=False) for _ in range(20)])
    print(f"{arguments.out}: on speech kept out, by row:", ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))


def mel_filters() -> np.ndarray:
    """Return the 40 mel bands from 60 to 7600 Hz, [40, 257], each summing to 1, as float16 holds them."""
    bands = librosa.filters.mel(sr=RATE, n_fft=FFT, n_mels=BANDS, fmin=60, fmax=7600, htk=True, norm=None)
    return (bands / bands.sum(axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


if __name__ == "__main__":
    main()
