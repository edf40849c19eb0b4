"""Where the numbers of the published code are found.

`MAROTTE_REFERENCE` names the folder (default: ../shared/reference beside the checkout); `MAROTTE_REFERENCE_SEED`
the seed of its synthetic weights where it cannot be told from the files. Without the folder these tests skip.

A test marked `reference_files("flame/artalk_v*.npz")` runs once for each file that matches, as `reference_file`;
`without="..."` leaves out file names that match it.
"""

import importlib.util
import json
import os
import re
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from marotte.models.splatting_avatar import SplattingAvatar

CHECKOUT = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("MAROTTE_REFERENCE", CHECKOUT.parent / "shared" / "reference"))


def pytest_configure(config):
    config.addinivalue_line("markers", "reference_files(pattern): run for each file of the reference that matches")


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("reference_files")
    if marker is None:
        return
    without = marker.kwargs.get("without", "")
    files = sorted(f for pattern in marker.args for f in ROOT.glob(pattern) if not fnmatch(f.name, without))
    if files:
        metafunc.parametrize("reference_file", files, ids=[str(f.relative_to(ROOT)) for f in files])
    else:
        skip = pytest.mark.skip(reason=f"no {' or '.join(marker.args)} in {ROOT}: set MAROTTE_REFERENCE")
        metafunc.parametrize("reference_file", [pytest.param(None, marks=skip)], ids=["absent"])


@pytest.fixture(scope="session")
def reference() -> Path:
    if not ROOT.is_dir():
        pytest.skip(f"no reference fixtures at {ROOT}: set MAROTTE_REFERENCE")
    return ROOT


@pytest.fixture(scope="session")
def reference_seed() -> int:
    return int(os.environ.get("MAROTTE_REFERENCE_SEED", "0"))


@pytest.fixture(scope="session")
def seeded_array(reference):
    """The fixtures' own recipe for weights, `reference/seeded.py`."""
    spec = importlib.util.spec_from_file_location("reference_seeded", reference / "seeded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.seeded_array


@pytest.fixture(scope="session")
def fixtures(reference) -> Path:
    """The published systems' camera files."""
    return reference / "cameras" / "fixtures"


@pytest.fixture(scope="session")
def truth(fixtures) -> dict[str, np.ndarray]:
    """The cameras and points that all of them describe."""
    with np.load(fixtures / "truth.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def avatar_of():
    """A function that makes the avatar of a fixture's mesh and raw parameters."""

    def make(mesh, raw, **settings):
        return SplattingAvatar(
            face_ids=mesh["sample_fidxs"],
            bary=mesh["sample_bary"],
            uvd=raw["_xyz"],
            rotations_wxyz=raw["_rotation"],
            log_scales=raw["_scaling"],
            opacity_logits=raw["_opacity"][:, 0],
            sh=np.concatenate([raw["_features_dc"], raw["_features_rest"]], axis=1),
            canonical=mesh["cano_verts"],
            faces=mesh["faces"],
            **settings,
        )

    return make


@pytest.fixture(scope="session")
def published_scene():
    """A function that reads a scene of the rasterizer's reference: what stands in test_rasterizer.py beside this."""
    spec = importlib.util.spec_from_file_location("published", Path(__file__).with_name("test_rasterizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.scene


@pytest.fixture(scope="session")
def reference_seed_of(reference_seed):
    """A function that says with which seed a file was made: a `seed<n>` in its name, or else the one of all."""

    def get(file):
        match = re.search(r"seed_?(\d+)", file.stem)
        return int(match[1]) if match else reference_seed

    return get


@pytest.fixture(scope="session")
def gagavatar_fill(reference, seeded_array):
    """A function that gives a module, which GAGAvatar's network has under `prefix`, the weights of a seed."""
    import torch

    rules = json.loads((reference / "gagavatar" / "overrides.json").read_text())["overrides"]

    def filled(module, prefix, seed):
        with torch.no_grad():
            for short, tensor in module.state_dict(keep_vars=True).items():
                name = prefix + short
                value = seeded_array(name, tuple(tensor.shape), seed)
                if rule := rules.get(name):
                    value = np.float32(rule["mul"]) * value + np.float32(rule["add"])
                tensor.data = torch.from_numpy(value).to(tensor.dtype)
        return module

    return filled


@pytest.fixture(scope="session")
def gagavatar_network(gagavatar_fill, reference_seed_of):
    """A function that gives the network with which a file was made, without its own random numbers; one is kept."""
    import torch

    from marotte.models.gagavatar import GAGAvatar

    made = {}

    def get(file):
        seed = reference_seed_of(file)
        if seed not in made:
            made.clear()
            with torch.device("meta"):
                empty = GAGAvatar()
            made[seed] = gagavatar_fill(empty.to_empty(device="cpu"), "", seed)
        return made[seed]

    return get


@pytest.fixture(scope="session")
def gagavatar_photo():
    """A function that gives the photo [1, 3, 512, 512] of a dino_decoder file, and skips where there is none."""
    import torch

    def get(file):
        if not file.is_file():
            pytest.skip(f"{file} is missing, which has the photo")
        with np.load(file) as arrays:
            return torch.from_numpy(arrays["image_u8"].astype(np.float32) / np.float32(255))[None]

    return get


@pytest.fixture(scope="session")
def gagavatar_seen():
    """What was seen in the photos of dino_decoder files, by their paths."""
    return {}
