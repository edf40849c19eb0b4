"""Bake the demo avatars: Gaussians on the demo head, 60,000 for full quality and 20,000 for live.

    python demos/bake_demo_avatar.py

Everything derives from the shipped head file; the same input gives the same bytes.
"""

import argparse
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from splat_eyes import eye_colour, eye_lift, eye_lights
from splat_hair import hair
from splat_head import Head, linear
from splat_layer import PARTS, Layer, as_avatar, joined, sheet
from splat_light import openness
from splat_paint import Look, lining_lift, soft_edge, surface_colour
from splat_place import face_ellipses, spread
from splat_regions import spacing
from splat_strands import brows, hem, lashes, tooth_lines
from splat_toml import describe

from marotte.models.splatting_npz import Parts, write_splats

DATA = Path(__file__).parent.parent / "runtime/data/avatars"
HEAD = DATA / "demo/head.npz"
LIT_IN = ({}, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
OPACITY = 0.98
# Shares of a full set; of brows and lashes a smaller one keeps more.
FULL, FINE = 60_000, 0.0013
HAIR, BROWS, LASHES = 0.26, 0.016, 0.013


@dataclass(frozen=True)
class Person:
    """An avatar's title, its colours, and its identity on the head's axes by name."""

    title: str
    look: Look
    shape: dict[str, float] = field(default_factory=dict)


PEOPLE = {
    "demo": Person(
        title="Marotte's demo head",
        look=Look(
            skin=linear(226, 178, 154),
            lips=np.array([1.0, 1.10, 1.08]),
            hair=(linear(42, 29, 22), linear(122, 88, 62)),
            iris=(linear(70, 104, 128), linear(142, 140, 112)),
            shirt=linear(84, 106, 134),
            rib=linear(66, 85, 110),
        ),
    ),
    "demo-basil": Person(
        title="Basil, a demo head",
        look=Look(
            skin=linear(204, 152, 120),
            lips=np.array([0.82, 1.05, 1.05]),
            hair=(linear(22, 17, 15), linear(70, 54, 44)),
            iris=(linear(74, 50, 32), linear(128, 88, 50)),
            shirt=linear(96, 108, 92),
            rib=linear(76, 88, 74),
            age=0.5,
        ),
        shape={"gender": -2.3, "muscle": 0.8, "chin_width": 1.0, "nose_size": 0.4},
    ),
    "demo-imara": Person(
        title="Imara, a demo head",
        look=Look(
            skin=linear(142, 92, 66),
            lips=np.array([0.85, 0.80, 0.85]),
            hair=(linear(72, 63, 56), linear(188, 182, 176)),
            iris=(linear(52, 34, 24), linear(92, 60, 38)),
            shirt=linear(150, 92, 84),
            rib=linear(124, 72, 66),
            age=1.0,
        ),
        shape={"age": 1.6, "weight": 0.8, "gender": 0.6, "nose_size": 0.6},
    ),
}
SIZES = {"splats-60k.npz": 60_000, "splats-20k.npz": 20_000}


def bake(head: Head, look: Look, count: int) -> Layer:
    """All Gaussians of one person: exactly `count`."""
    opened = openness(head, LIT_IN)
    strands = [
        hair(head, opened, look, round(HAIR * count)),
        brows(head, look, round(BROWS * (FULL * count) ** 0.5)),
        lashes(head, look, round(LASHES * (FULL * count) ** 0.5)),
        tooth_lines(head),
        hem(head, look),
        eye_lights(head),
    ]
    # A smaller set saves least where the most is seen.
    wanted = spacing(head)
    favoured = (wanted < FINE) | (head.material == "mouth")
    density = np.where(favoured, (FULL / count) ** 0.5, 1.0) / wanted**2
    where, distance = spread(head, density, count - sum(map(len, strands)))
    eye = head.material[where.faces] == "eye"
    colour, lift = surface_colour(head, where, opened, look), np.zeros(len(distance))
    colour[eye] = eye_colour(head, where.taken(eye), opened.sky, look)
    lift[eye] = eye_lift(head, where.taken(eye))
    lift += lining_lift(head, where)
    opacity = np.full(len(distance), OPACITY)
    cloth = head.material[where.faces] == "cloth"
    opacity[cloth] *= soft_edge(head.at(head.plain, where.taken(cloth)))
    base = sheet(head, where, distance, face_ellipses(head), colour, opacity, lift)
    return joined([base, *strands])


def identity(person: Person) -> np.ndarray:
    """Coefficients [S] of the head file's identity axes."""
    with np.load(HEAD) as content:
        names = [str(name) for name in content["shape_names"]]
    return np.array([person.shape.get(name, 0.0) for name in names], np.float32)


def main() -> None:
    """Bake the avatars that are named, or all, into their folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", nargs="*", help=f"of {', '.join(PEOPLE)} (all)")
    parser.add_argument("-o", "--output", type=Path, default=DATA, help="folder of avatars")
    arguments = parser.parse_args()
    home = arguments.output / "demo"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "head.npz").is_file():  # all of them stand on it
        shutil.copyfile(HEAD, home / "head.npz")
    for name in arguments.people or PEOPLE:
        person, folder = PEOPLE[name], arguments.output / name
        folder.mkdir(parents=True, exist_ok=True)
        shape = identity(person)
        head = Head.load(HEAD, shape)
        for file, count in SIZES.items():
            layer = bake(head, person.look, count)
            write_splats(folder / file, as_avatar(head, layer), Parts(layer.part.astype(np.uint8), PARTS))
            print(f"{folder / file}: {count} Gaussians, {(folder / file).stat().st_size / 1e6:.2f} MB")
        if shape.any():
            np.save(folder / "shape.npy", shape)
        describe(folder, name, person.title)


if __name__ == "__main__":
    main()
