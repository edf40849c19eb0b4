"""Train the demo talker: `python demos/train_demo_talker.py`, the demo avatar as a GaussianTalker, on the CPU.

Needs espeak-ng, flite and festival with Debian's festvox-* voices, and `pip install -e '.[train]'`. The speech is kept
in the working folder. The avatar's file is written every thousand steps, so that there is something to look at early.
"""

import argparse
import time
import warnings
from pathlib import Path

import torch
from talker_clips import hear
from talker_corpus import corpus, held_out
from talker_file import NAME, write_talker
from talker_measure import Student, measure
from talker_teacher import Teacher, shapes_of
from talker_torch import Sounds, box_of, new_network, train
from talker_track import make_track

from marotte.models.gaussian_talker import GaussianTalker
from marotte.runtime.avatar import SHIPPED, load_avatar
from marotte.runtime.avatars.talker_expand import expand

_WRITTEN_EVERY = 1000
_PICTURED_EVERY = 20  # frames


def main() -> None:
    """Make the speech, pose the teacher, train, write the avatar, and say how near it comes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=SHIPPED / NAME, help="the avatar's folder (the shipped one)")
    parser.add_argument("--work", type=Path, default=Path("build/talker"), help="folder for the speech (build/talker)")
    parser.add_argument("--steps", type=int, default=9500, help="of 96 frames of 320 Gaussians (9500); 0 measures only")
    parser.add_argument("--minutes", type=float, default=40, help="of speech (40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    teacher = Teacher()
    if arguments.steps:
        run(teacher, arguments.out, arguments.work, arguments.steps, arguments.minutes, arguments.seed)
    warnings.simplefilter("ignore")  # a note that the avatar is unpacked
    student = Student(expand(load_avatar(arguments.out)))
    for name, sounds in held_out().items():
        figures = measure(teacher, student, hear(sounds), _PICTURED_EVERY)
        print(f"{name}:", *figures.lines(), sep="\n  ")


def run(teacher: Teacher, out: Path, work: Path, steps: int, minutes: float, seed: int) -> None:
    """Train and write the avatar into the folder `out`; the speech is kept in `work`."""
    began = time.process_time()
    sounds = Sounds.of(corpus(minutes, seed + 1, work / f"speech-{minutes:g}-{seed}.npz"))
    shapes = shapes_of(teacher, sounds.actions, seed)
    track = make_track(teacher)

    def report(step: int, error: float, network: GaussianTalker) -> None:
        used = time.process_time() - began
        print(f"step {step}: {error:.3f} pixels after {used:.0f} s of the CPU", flush=True)
        if step % _WRITTEN_EVERY == 0 or step == steps:
            about = {"seed": str(seed), "steps": f"{step} of {steps}", "minutes": f"{minutes:g}"}
            write_talker(out, network, teacher, track, about)

    network = new_network(box_of(teacher, shapes), seed)
    train(network, teacher, shapes, sounds, track.tokens(), steps, seed, report)


if __name__ == "__main__":
    main()
