"""Write what a user of GAGAvatar has on disk, made from demo avatars: to try the import without a licence.

    python demos/gagavatar_standin.py OUT

    OUT/FLAME_with_eye.pt                          a stand-in for FLAME, in its file's form, with 5023 vertices
    OUT/tracked.pt                                 two tracked pictures, basil.jpg and imara.jpg
    OUT/metrical/checkpoint/*.frame, input, mask   frames of metrical-tracker, with pictures and masks
    OUT/GAGAvatar.pt                               with --weights: random numbers in the published network's places

The stand-in is the demo head with fewer vertices, and expression components that mix its actions: neither FLAME's data
nor a likeness of it. With random weights the network draws no face; the real ones come by `marotte assets`.
"""

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from standin_mesh import Thinned, thin

from marotte.models.flame import FlameModel
from marotte.models.flame_landmarks import CONTOUR_ROWS
from marotte.models.torch_writer import write_torch
from marotte.renderers.splatting_avatar import SplattingAvatarRenderer
from marotte.runtime.arkit import ACTIONS
from marotte.runtime.avatar import Avatar, load_avatar
from marotte.runtime.background import Background
from marotte.runtime.camera import Camera, pinhole
from marotte.runtime.cameras import CameraTrack, write_cameras
from marotte.runtime.cameras.face_codes import head_state
from marotte.runtime.cameras.formats.gagavatar import SIZE, gagavatar_to_opencv, head_motion_to_gagavatar
from marotte.runtime.clock import frame_ticks
from marotte.runtime.contracts import Drive, RenderOptions
from marotte.runtime.head import HeadState

VERTICES, IDENTITY, COMPONENTS = 5023, 300, 100
PEOPLE = ("demo-basil", "demo-imara")
VARIANT = "live"
# Where the published tracker puts heads, in units of FLAME times 5.
_PLACE = (0.02, -0.05, 9.1)
# metrical-tracker's lens at 512 pixels and its distance, in metres, as in the cameras' reference.
_FOCAL, _CENTRE, _DISTANCE = 2339.0, (259.5, 253.0), 1.69
_FRAMES = 3
_RATE = Fraction(25)
_SEED = 0


def main() -> None:
    """Write the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", action="store_true", help="also a GAGAvatar.pt of random numbers (680 MB; torch)")
    arguments = parser.parse_args()
    write(arguments.out, weights=arguments.weights)
    if not arguments.weights:
        print(f"{arguments.out}: no GAGAvatar.pt; --weights writes one of random numbers (680 MB)")


def write(out: Path, *, weights: bool = False) -> None:
    """Write all of it under `out`, a new folder."""
    out.mkdir(parents=True)
    demo = FlameModel.load(load_avatar(PEOPLE[0]).head_path)
    mixing = mixtures(demo)
    write_flame(out / "FLAME_with_eye.pt", demo, mixing)
    write_tracked(out / "tracked.pt", mixing)
    write_frames(out / "metrical", mixing)
    if weights:
        write_weights(out / "GAGAvatar.pt")


def mixtures(model: FlameModel) -> np.ndarray:
    """Return [52, 100]: what each stand-in component does of each action; the last columns are zero.

    Principal components of random mixtures of the actions, each at one deviation, as FLAME's are of faces.
    """
    random = np.random.default_rng(_SEED)
    weights = random.gamma(0.35, 0.5, (600, len(ACTIONS))).clip(0, 1)
    weights *= np.abs(model.expression_dirs[..., : len(ACTIONS)]).max(axis=(0, 1)) > 0
    _, deviations, mixed = np.linalg.svd(weights - weights.mean(axis=0), full_matrices=False)
    full = np.zeros((len(ACTIONS), COMPONENTS))
    full[:, : len(deviations)] = mixed.T * (deviations / np.sqrt(len(weights)))
    return full


def write_flame(path: Path, demo: FlameModel, mixing: np.ndarray) -> None:
    """Write the stand-in as FLAME_with_eye.pt is: a dict of tensors and its landmarks."""
    thinned = thin(demo.v_template, demo.faces, VERTICES)
    order = _forehead_first(demo, thinned)
    kept, faces = thinned.kept[order], np.argsort(order)[thinned.faces]
    onto = np.argsort(order)[thinned.onto]
    directions = np.zeros((VERTICES, 3, IDENTITY + COMPONENTS), np.float32)
    directions[..., : demo.shape_dirs.shape[-1]] = demo.shape_dirs[kept]
    directions[..., IDENTITY:] = demo.expression_dirs[kept][..., : len(ACTIONS)] @ mixing
    regressor = np.zeros((len(demo.joint_regressor), VERTICES), np.float32)
    np.add.at(regressor.T, onto, demo.joint_regressor.T)
    assert demo.landmarks is not None and demo.landmarks.full68 is not None
    points = demo.landmarks.full68.points(demo.v_template[None], demo.faces)[0]
    at, bary = _nearest(points, demo.v_template[kept], faces)
    content = {
        "flame_model": {
            "v_template": np.asarray(demo.v_template[kept], np.float32),
            "f": faces.astype(np.int64),
            "shapedirs": directions,
            "posedirs": np.asarray(demo.pose_dirs[kept], np.float32),
            "J_regressor": regressor,
            "weights": np.asarray(demo.skinning_weights[kept], np.float32),
            "kintree_table": np.array([demo.parents, range(5)], np.int64),
        },
        "lmk_embeddings": {
            "static_lmk_faces_idx": at[17:],
            "static_lmk_bary_coords": bary[17:],
            "dynamic_lmk_faces_idx": np.tile(at[:17], (CONTOUR_ROWS, 1)),
            "dynamic_lmk_bary_coords": np.tile(bary[:17], (CONTOUR_ROWS, 1, 1)),
            "full_lmk_faces_idx": at[None],
            "full_lmk_bary_coords": bary[None],
        },
    }
    write_torch(path, content)


def _forehead_first(demo: FlameModel, thinned: Thinned) -> np.ndarray:
    """Return the order [N] in which vertices get their numbers: those that GAGAvatar holds still are on the forehead.

    Without torch, which the renderer needs anyway, they stay in the mesh's own order.
    """
    order = np.arange(VERTICES)
    try:
        from marotte.models.gagavatar.forehead import FOREHEAD
    except ModuleNotFoundError:
        return order
    places = demo.v_template[thinned.kept]
    brows = np.concatenate([demo.masks["brow_left"], demo.masks["brow_right"]])
    middle = demo.v_template[brows].max(axis=0) * (0, 1, 1) + (0, 0.03, 0)
    nearest = np.argsort(((places - middle) ** 2).sum(axis=1))[: len(FOREHEAD)]
    rest = np.setdiff1d(order, nearest)
    free = np.setdiff1d(order, FOREHEAD)
    order[list(FOREHEAD)], order[free] = nearest, rest
    return order


def _nearest(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each point [L, 3] the face that it is nearest to, [L], and where on it, [L, 3]."""
    first = vertices[faces[:, 0]]
    u, v = vertices[faces[:, 1]] - first, vertices[faces[:, 2]] - first
    uu, uv, vv = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    w = points[:, None] - first
    wu, wv = (w * u).sum(2), (w * v).sum(2)
    size = np.maximum(uu * vv - uv * uv, 1e-18)
    bary = np.stack([np.zeros_like(wu), (vv * wu - uv * wv) / size, (uu * wv - uv * wu) / size], axis=2)
    bary[..., 0] = 1 - bary[..., 1] - bary[..., 2]
    bary = bary.clip(0, None)
    bary /= bary.sum(axis=2, keepdims=True)
    there = (bary[..., None] * vertices[faces][None]).sum(axis=2)
    best = ((there - points[:, None]) ** 2).sum(axis=2).argmin(axis=1)
    return best.astype(np.int64), bary[np.arange(len(points)), best].astype(np.float32)


def _shape(avatar: Avatar) -> np.ndarray:
    """Return an avatar's identity as the stand-in's coefficients [300]."""
    shape = np.zeros(IDENTITY, np.float32)
    own = np.load(avatar.path / avatar.shape).ravel()
    shape[: len(own)] = own
    return shape


def _drawn(avatar: Avatar, states: HeadState, cameras: tuple[Camera, ...], background: Background) -> np.ndarray:
    """Return pictures of a demo avatar, whose head states are ARKit's, by cameras of any unit."""
    renderer = SplattingAvatarRenderer()
    options = RenderOptions(SIZE, SIZE, background.transparent, extra={"variant": VARIANT})
    stream = renderer.open(avatar, options)
    scaled = tuple(camera.scaled(avatar.unit / camera.unit) for camera in cameras)
    drive = Drive(frame_ticks(0, len(states), _RATE), states, scaled, background)
    pixels = renderer.render(stream, drive).pixels
    stream.close()
    return pixels


def _face(mixing: np.ndarray, frames: int) -> tuple[HeadState, np.ndarray]:
    """Return head states of a demo avatar, and the same expressions as the stand-in's coefficients [T, 100]."""
    random = np.random.default_rng(_SEED + 1)
    codes = np.zeros((frames, COMPONENTS), np.float32)
    codes[:, :10] = random.normal(0, 0.6, (frames, 10))
    codes[0] = 0
    actions = np.zeros((frames, 100))
    actions[:, : len(ACTIONS)] = codes @ mixing.T
    jaw = np.zeros((frames, 3))
    jaw[:, 0] = 0.08 * np.arange(frames)
    return head_state(frames, expression=actions, jaw=jaw), codes


def write_tracked(path: Path, mixing: np.ndarray) -> None:
    """Write two people as GAGAvatar's tracker does: the first at rest, the second with an expression."""
    states, codes = _face(mixing, len(PEOPLE))
    content: dict[str, Any] = {}
    for index, (name, turn) in enumerate(zip(PEOPLE, ((0.0, 0.0, 0.0), (0.08, -0.12, 0.03)), strict=True)):
        avatar = load_avatar(name)
        matrix = head_motion_to_gagavatar(np.array(turn), _PLACE).astype(np.float32)
        camera = gagavatar_to_opencv(matrix)
        one = head_state(1, expression=states.expression[[index]], jaw=states.jaw[[index]])
        pixels = _drawn(avatar, one, (camera,), Background(colour=(0.0, 0.0, 0.0)))[0]
        seen = np.flatnonzero(pixels.any(axis=(0, 2))), np.flatnonzero(pixels.any(axis=(1, 2)))
        box = [seen[0][0], seen[1][0], seen[0][-1] + 1, seen[1][-1] + 1]
        content[f"{name.removeprefix('demo-')}.jpg"] = {
            "bbox": np.array(box, np.float32) / SIZE,
            "shapecode": _shape(avatar),
            "expcode": codes[index],
            "posecode": np.concatenate([np.zeros(3), states.jaw[index]]).astype(np.float32),
            "eyecode": np.zeros(6, np.float32),
            "transform_matrix": matrix,
            "image": np.moveaxis(pixels[..., :3], -1, 0).astype(np.float32) / np.float32(255),
        }
    write_torch(path, content)


def write_frames(out: Path, mixing: np.ndarray) -> None:
    """Write frames of metrical-tracker: another lens, off-centre, in front of a grey wall; the head turns."""
    avatar = load_avatar(PEOPLE[0])
    states, codes = _face(mixing, _FRAMES)
    turns = np.array([(0, 0, 0), (0.05, 0.15, 0.02), (-0.06, -0.2, -0.03)])[:_FRAMES]
    K = pinhole(_FOCAL, _FOCAL, *_CENTRE)
    cameras = []
    for turn in turns:
        pose = gagavatar_to_opencv(head_motion_to_gagavatar(turn, _PLACE))
        shift = np.array([pose.t[0] / pose.unit, pose.t[1] / pose.unit, _DISTANCE])
        cameras.append(Camera(pose.R, shift, K, SIZE, SIZE, space=f"tracked:{SIZE}"))
    head = head_state(_FRAMES, shape=_shape(avatar), expression=codes, jaw=states.jaw)
    names = tuple(f"{index:05d}" for index in range(_FRAMES))
    write_cameras(CameraTrack(tuple(cameras), names, head=head), out, "metrical", allow_loss=True)
    (out / "input").mkdir()
    (out / "mask").mkdir()
    for name, pixels in zip(names, _drawn(avatar, states, tuple(cameras), Background(transparent=True)), strict=True):
        share = pixels[..., 3:].astype(np.float32) / 255
        wall = np.float32(120) + np.float32(40) * np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None]
        over = pixels[..., :3] * share + wall * (1 - share)
        Image.fromarray(np.rint(over).astype(np.uint8)).save(out / "input" / f"{name}.png")
        Image.fromarray(pixels[..., 3]).save(out / "mask" / f"{name}.png")


def write_weights(path: Path) -> None:
    """Write a checkpoint of the published sizes with random numbers, always the same."""
    import torch

    from marotte.models.gagavatar import GAGAvatar

    torch.manual_seed(_SEED)
    settings = {"MODEL": {"NAME": "GAGAvatar"}, "DATASET": {"POINT_PLANE_SIZE": 296, "FLAME_SCALE": 5.0}}
    torch.save({"model": GAGAvatar().state_dict(), "meta_cfg": settings}, path)


if __name__ == "__main__":
    main()
