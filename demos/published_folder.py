"""Write what a user of SplattingAvatar has on disk, made from a demo avatar: to try the import without a licence.

    python demos/published_folder.py OUT --frames 24 --size 256

    OUT/flame/generic_model.pkl, flame2023.pkl, landmark_embedding.npy     a stand-in for FLAME, in its files' form
    OUT/data/flame_params.json, images/*.png                               tracked frames, as IMavatar writes them
    OUT/output/config.yaml, point_cloud/iteration_30000/*                  the trained avatar, as published

The stand-in is the demo head under another mesh (vertices moved within the surface, renumbered) with expression
components that mix its actions by principal components, so that nothing lines up by accident: neither FLAME's data
nor a likeness of it.
"""

import argparse
import json
import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.sparse import coo_array, csc_matrix

from marotte.models.flame import FlameModel
from marotte.models.rotations import rotvec_to_matrix
from marotte.models.splatting_avatar import SplattingAvatar
from marotte.models.splatting_files import write_splatting_avatar
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.arkit import ACTIONS
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.background import Background
from marotte.runtime.camera import Camera
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.head import HeadState
from marotte.runtime.imavatar import UNIT, opencv_to_imavatar
from marotte.runtime.splats import avatar_splats

PERSON = "demo-imara"
EXPRESSIONS, SHAPES = 50, 100
# FLAME's columns of identity and of expression.
_IDENTITY, _COMPONENTS = 300, 100
# How far each vertex goes towards the middle of one of its faces.
_SLIDE = 0.25
_FACES = {"generic_model.pkl": 1, "flame2023.pkl": 2}


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--variant")
    arguments = parser.parse_args()
    write(arguments.out, arguments.frames, arguments.size, arguments.variant)


def write(out: Path, frames: int = 24, size: int = 256, variant: str | None = None) -> None:
    """Write all of it under `out`, a new folder."""
    person = load_avatar(PERSON)
    demo = FlameModel.load(person.head_path)
    identity = np.load(person.path / person.shape).ravel()
    mesh = Mesh(demo, seed=0)
    (out / "flame").mkdir(parents=True)
    for name, seed in _FACES.items():
        write_flame(out / "flame" / name, demo, mesh, seed)
    write_landmarks(out / "flame" / "landmark_embedding.npy", demo, mesh)
    shape = np.zeros(SHAPES, np.float32)
    shape[: len(identity)] = identity
    embedding = out / "flame" / "landmark_embedding.npy"
    flame = FlameModel.load(
        out / "flame" / "generic_model.pkl",
        n_shape=SHAPES,
        n_expression=EXPRESSIONS,
        basis="flame2020",
        landmarks=embedding,
    )
    head = flame.baked(shape, UNIT)
    states, cameras = track(frames, size)
    first = head.imavatar(states.expression[:1], states.full_pose[:1]).vertices[0]
    splats = mesh.moved(avatar_splats(person, demo, variant), first, head.faces)
    folder = write_splatting_avatar(splats, out / "output")
    np.save(out / "output" / "identity.npy", shape)
    avatar = Avatar(
        name="published",
        path=out,
        renderer="splatting-avatar",
        basis="flame2020",
        head="flame/generic_model.pkl",
        shape="output/identity.npy",
        splats=str(folder.relative_to(out)),
        expressions=EXPRESSIONS,
        unit=UNIT,
        size=(size, size),
    )
    write_data(out / "data", avatar, head, shape, states, cameras)
    (out / "output" / "identity.npy").unlink()


class Mesh:
    """Another mesh of the same surface: vertices slid and renumbered, faces renumbered."""

    def __init__(self, model: FlameModel, seed: int) -> None:
        random = np.random.default_rng(seed)
        count, faces = len(model.v_template), model.faces
        self.new_vertex = random.permutation(count)  # old number -> new number
        self.new_face = random.permutation(len(faces))
        towards = np.empty((count, 3), np.int64)
        order = random.permutation(len(faces))
        towards[faces[order].ravel()] = np.repeat(faces[order], 3, axis=0)
        own = np.arange(count)
        rows = np.concatenate([own, np.repeat(own, 3)])
        columns = np.concatenate([own, towards.ravel()])
        shares = np.concatenate([np.full(count, 1 - _SLIDE), np.full(3 * count, _SLIDE / 3)])
        self._slide = coo_array((shares, (self.new_vertex[rows], columns)), shape=(count, count)).tocsr()
        self.faces = np.empty_like(faces)
        self.faces[self.new_face] = self.new_vertex[faces]

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Return an array [V, ...] of the old mesh on the new one."""
        return (self._slide @ array.reshape(len(array), -1)).reshape(array.shape)

    def moved(self, splats: SplattingAvatar, canonical: np.ndarray, faces: np.ndarray) -> SplattingAvatar:
        """Return Gaussians of the old mesh in metres on the new one, in the trained avatar's unit."""
        uvd = splats.uvd * np.float32(UNIT)
        return replace(
            splats,
            face_ids=self.new_face[splats.face_ids].astype(np.int32),
            uvd=uvd,
            log_scales=splats.log_scales + np.float32(np.log(UNIT)),
            canonical=canonical.astype(np.float32),
            faces=faces.astype(np.int32),
        )


def components(model: FlameModel, seed: int) -> np.ndarray:
    """Return [V, 3, 100]: principal components of random mixtures of the actions, each at one deviation."""
    random = np.random.default_rng(seed)
    weights = random.gamma(0.35, 0.5, (600, len(ACTIONS))).clip(0, 1)
    actions = model.expression_dirs[..., : len(ACTIONS)]
    centred = weights - weights.mean(axis=0)
    active = np.flatnonzero(np.abs(actions).max(axis=(0, 1)) > 0)
    flat = actions[..., active].reshape(-1, len(active))
    basis, lengths, turns = np.linalg.svd(flat, full_matrices=False)
    _, deviations, mixed = np.linalg.svd(centred[:, active] @ (turns.T * lengths), full_matrices=False)
    fields = basis @ (mixed.T * (deviations / np.sqrt(len(weights))))
    fields *= random.choice((-1.0, 1.0), fields.shape[1])
    full = np.zeros((*model.v_template.shape, _COMPONENTS))
    full[..., : fields.shape[1]] = fields.reshape(*model.v_template.shape, -1)
    return full


def write_flame(path: Path, model: FlameModel, mesh: Mesh, seed: int) -> None:
    """Write the stand-in as FLAME's own pickles are: a dict of arrays and a sparse regressor."""
    directions = np.zeros((len(model.v_template), 3, _IDENTITY + _COMPONENTS))
    directions[..., : model.shape_dirs.shape[-1]] = model.shape_dirs
    directions[..., _IDENTITY:] = components(model, seed)
    regressor = np.zeros_like(model.joint_regressor)
    regressor[:, mesh.new_vertex] = model.joint_regressor
    content = {
        "v_template": mesh(model.v_template.astype(np.float64)),
        "f": mesh.faces.astype(np.uint32),
        # FLAME's are float64, which would make this file of more vertices 160 MB.
        "shapedirs": mesh(directions).astype(np.float32),
        "posedirs": mesh(model.pose_dirs),
        "J_regressor": csc_matrix(regressor.astype(np.float64)),
        "weights": mesh(model.skinning_weights.astype(np.float64)),
        "kintree_table": np.array([[2**32 - 1, *model.parents[1:]], range(5)], np.int64),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    # FLAME's are of protocol 2, which Python 2 wrote bytes in as they are: Python 3 does from protocol 3 on.
    path.write_bytes(pickle.dumps(content, protocol=3))


def write_landmarks(path: Path, model: FlameModel, mesh: Mesh) -> None:
    """Write the 68 landmarks as landmark_embedding.npy has them; the contour does not slide."""
    marks = model.landmarks.full68
    faces, bary = mesh.new_face[marks.faces], marks.bary.astype(np.float32)
    content = {
        "static_lmk_faces_idx": faces[17:],
        "static_lmk_bary_coords": bary[17:].astype(np.float64),
        "dynamic_lmk_faces_idx": np.tile(faces[:17], (79, 1)),
        "dynamic_lmk_bary_coords": np.tile(bary[:17], (79, 1, 1)),
        "full_lmk_faces_idx": faces[None],
        "full_lmk_bary_coords": bary[None],
    }
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


def track(frames: int, size: int) -> tuple[HeadState, tuple[Camera, ...]]:
    """Return the head states and cameras of a recording: the face moves, the camera turns about it."""
    random = np.random.default_rng(3)
    turns = random.uniform(0.5, 2.5, (EXPRESSIONS + 6, 1)) * np.linspace(0, 2 * np.pi, frames)
    waves = np.sin(turns + random.uniform(0, 2 * np.pi, (EXPRESSIONS + 6, 1))).T.astype(np.float32)
    fade = np.float32(1 / (1 + np.arange(EXPRESSIONS) / 8))
    jaw = np.zeros((frames, 3), np.float32)
    jaw[:, 0] = 0.1 + 0.1 * waves[:, EXPRESSIONS]
    neck = np.float32(0.08) * waves[:, EXPRESSIONS + 1 : EXPRESSIONS + 4]
    zero = np.zeros((frames, 3), np.float32)
    states = HeadState(
        shape=np.zeros(0, np.float32),
        expression=waves[:, :EXPRESSIONS] * fade,
        root=zero,
        neck=neck,
        jaw=jaw,
        eyes=np.zeros((frames, 6), np.float32),
        eyelids=np.zeros((frames, 2), np.float32),
        translation=zero,
    )
    swing = np.zeros((frames, 3))
    swing[:, :2] = waves[:, EXPRESSIONS + 4 :] * (0.1, 0.25)
    K = np.array([[3.2 * size, 0, 0.5 * size], [0, 3.2 * size, 0.52 * size], [0, 0, 1]])
    straight = Camera(np.diag([1.0, -1, -1]), np.array([0.0, 0.0, 1.1 * UNIT]), K, size, size, unit=UNIT)
    pivot = np.array([0, 0, 0.04]) * UNIT
    return states, tuple(straight.moved(turn, pivot) for turn in rotvec_to_matrix(swing))


def write_data(
    out: Path, avatar: Avatar, head: FlameModel, shape: np.ndarray, states: HeadState, cameras: tuple[Camera, ...]
) -> None:
    """Write the recording: the avatar's own pictures, with the mask in their fourth channel, and the parameters."""
    (out / "images").mkdir(parents=True)
    renderer = SplattingAvatarRenderer()
    size = avatar.size[0]
    stream = renderer.open(avatar, RenderOptions(*avatar.size, transparent=True))
    ticks = frame_ticks(0, len(states), Fraction(25))
    rgba = renderer.render(stream, Drive(ticks, states, cameras, Background(transparent=True))).pixels
    records: list[dict[str, Any]] = []
    points = head.landmarks3d(head.imavatar(states.expression, states.full_pose).vertices)
    for index, (picture, camera) in enumerate(zip(rgba, cameras, strict=True)):
        picture[picture[..., 3] == 0] = (255, 255, 255, 0)
        Image.fromarray(picture).save(out / "images" / f"{index + 1}.png")
        world_mat, intrinsics = opencv_to_imavatar(camera)
        records.append(
            {
                "file_path": f"./image/{index + 1}",
                "world_mat": world_mat.tolist(),
                "expression": states.expression[index].tolist(),
                "pose": states.full_pose[index].tolist(),
                "bbox": [0.0, 0.0, 1.0, 1.0],
                "flame_keypoints": (camera.project(points[index]) * (2 / size) - 1).tolist(),
            }
        )
    table = {"intrinsics": intrinsics.tolist(), "shape_params": shape.tolist(), "frames": records}
    (out / "flame_params.json").write_text(json.dumps(table))
    stream.close()


if __name__ == "__main__":
    main()
