"""Camera files with planted faults: every format, every fault that it can have, noise and outliers."""

import json
import math
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

from marotte.models.torch_writer import write_torch
from marotte.runtime.affine import Affine2D, crop, pad, resize
from marotte.runtime.cameras.formats.metrical import packed_torch

F, P = np.diag([1.0, -1, -1]), np.diag([-1.0, -1, 1])
POSES = ("r_transposed", "yz_flipped", "c2w_as_w2c", "frame_shift")
PIXELS = ("wrong_resolution", "principal_point_dropped", "half_pixel", "fov_replaced")
CROPS = ("crop_offset_missing", "padding_missing", "resize_missing")
FAULTS = {
    "insta": (*POSES, *PIXELS, "fov_half_angle", "degrees_for_radians", "radians_for_degrees", "inconsistent_fields",
              "millimetres_for_metres", "xy_flip_missing", "padding_missing"),
    "nerf": (*POSES, "fov_half_angle", "degrees_for_radians", "fov_replaced", "principal_point_dropped"),
    "imavatar": (*POSES, *PIXELS, "scale4_missing"),
    "facelift": (*POSES, *PIXELS, *CROPS, "distance_normalised", "millimetres_for_metres", "xy_flip_missing",
                 "p3d_row_column_swapped", "fov_half_angle"),
    "mammal": (*POSES, *PIXELS, *CROPS, "metres_for_millimetres", "distance_normalised"),
    "metrical": (*POSES, *PIXELS, "xy_flip_missing", "p3d_row_column_swapped", "inconsistent_fields"),
    "pytorch3d": (*POSES, *PIXELS, "xy_flip_missing", "p3d_row_column_swapped", "distance_normalised"),
    "3dgs": (*POSES, "principal_point_dropped", "fov_half_angle", "fov_replaced", "distance_normalised"),
    "gaussian-talker": (*POSES, "principal_point_dropped", "degrees_for_radians", "fov_replaced"),
    "gagavatar": (*POSES, "principal_point_dropped", "scale5_missing", "xy_flip_missing", "p3d_row_column_swapped"),
}  # fmt: skip
CENTRED = ("nerf", "3dgs", "gaussian-talker", "gagavatar")
IN_VIDEO = ("facelift", "mammal")
KIND = {**dict.fromkeys(POSES, "pose"), "xy_flip_missing": "pose", "p3d_row_column_swapped": "pose"}
KIND |= dict.fromkeys(("scale4_missing", "scale5_missing", "distance_normalised"), "scale")
KIND |= dict.fromkeys(("metres_for_millimetres", "millimetres_for_metres"), "scale")


@dataclass(frozen=True)
class Scene:
    """A face, its right cameras, and the crop that its pictures were cut by."""

    points: np.ndarray
    R: np.ndarray
    t: np.ndarray
    K: np.ndarray
    size: tuple
    video: tuple
    box: tuple
    into_crop: tuple  # of Affine2D: corner, padding, resize
    options: frozenset = frozenset()

    @property
    def measured(self):
        at = np.einsum("nij,pj->npi", self.R, self.points) + self.t[:, None]
        return at[..., :2] / at[..., 2:] * self.K[[0, 1], [0, 1]] + self.K[:2, 2]


def turn(axis, angle):
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[j, i], matrix[i, j] = math.sin(angle), -math.sin(angle)
    return matrix


def scene(random, form, pitch=0.25, oblong=False):
    count, frames = int(random.integers(20, 90)), int(random.integers(4, 16))
    front = random.uniform(-1, 1, (count, 2))
    depth = np.sqrt(np.maximum(1 - 0.5 * (front**2).sum(1), 0))
    points = np.column_stack([front, depth + random.normal(0, 0.15, count)]) * (0.07, 0.09, 0.07) + (0, 0.005, -0.02)
    angles = random.normal(0, (pitch, 0.25, 0.15), (frames, 3))
    R = np.stack([F @ turn(1, yaw) @ turn(0, tilt) @ turn(2, roll) for tilt, yaw, roll in angles])
    distance = random.uniform(0.5, 2.5)
    t = np.column_stack([random.normal(0, 0.01, (frames, 2)), distance * random.normal(1, 0.015, frames)])
    wide, high = video = [(1920, 1080), (1280, 720), (1080, 1920)][random.integers(3)]
    side = int(random.integers(400, min(wide, high) - 40)) // 2 * 2
    left, top = int(random.integers(20, wide - side - 2)), int(random.integers(10, high - side - 2))
    width, height = [(side, side), (side, side - 2 * int(random.integers(6, 40)))][oblong or random.integers(2)]
    box = (left, left + width, top, top + height)
    padding = ((side - width) // 2, (side - height) // 2)
    into_crop = crop(left, top), pad(*padding), resize((side, side), (512, 512))
    focal = random.uniform(0.3, 0.6) * 512 / 0.15 * distance
    K = np.array([[focal, 0, 256 + random.uniform(5, 30)], [0, focal, 256 - random.uniform(5, 30)], [0, 0, 1.0]])
    size = (512, 512)
    if form in CENTRED:
        size = (512, 512) if form == "gagavatar" else [(512, 512), (640, 480)][random.integers(2)]
        if form == "gaussian-talker":
            size = (512, 512)
        focal = 3072.0 if form == "gagavatar" else focal
        K = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
        if form == "gagavatar":
            t = t * (3072 / 512 * 0.15 / 0.45 / distance)
    elif form in IN_VIDEO:
        size = video
        K = (into_crop[2] @ into_crop[1] @ into_crop[0]).inverse.matrix @ K
    return Scene(points, R, t, K, size, video, box, into_crop)


def plant(random, form, right, fault):
    """Return the scene as a faulty program would write it."""
    R, t, K = right.R, right.t, right.K.copy()
    size, options = np.array(right.size), set(right.options)
    if fault == "r_transposed":
        axes = F if form in ("imavatar", "nerf") and random.random() < 0.4 else np.eye(3)
        R = axes @ R.swapaxes(1, 2) @ axes
    elif fault == "yz_flipped":
        R, t = F @ R, t @ F
    elif fault == "xy_flip_missing":
        R, t = P @ R, t @ P
    elif fault == "p3d_row_column_swapped":
        R = P @ R.swapaxes(1, 2) @ P
    elif fault == "c2w_as_w2c":
        axes = {"imavatar": F, "nerf": F, "gagavatar": P, "pytorch3d": P}.get(form, np.eye(3))
        axes = axes if random.random() < 0.5 else np.eye(3)
        R, t = axes @ R, t @ axes
        R, t = axes @ R.swapaxes(1, 2), -np.einsum("nji,nj->ni", R, t) @ axes
    elif fault == "frame_shift":
        shift = int(random.choice([-2, -1, 1, 2])) if len(R) > 5 else 1
        R, t = np.roll(R, shift, 0), np.roll(t, shift, 0)
    elif fault in ("scale4_missing", "scale5_missing"):
        t = t / int(fault[5])
    elif fault == "metres_for_millimetres":
        t = t / 1000
    elif fault == "millimetres_for_metres":
        t = t * 1000
    elif fault == "distance_normalised":
        goals = [goal for goal in (1.0, 2.0, 2.7, 4.0) if abs(goal / np.linalg.norm(t, axis=1).mean() - 1) > 0.3]
        t = t * (random.choice(goals) / np.linalg.norm(t, axis=1).mean())
    elif fault in CROPS:
        whole = right.into_crop[2] @ right.into_crop[1] @ right.into_crop[0]
        parts = [Affine2D() if name == fault else part for name, part in zip(CROPS, right.into_crop, strict=True)]
        wrong = parts[2] @ parts[1] @ parts[0]
        K = (wrong.inverse @ whole if form in IN_VIDEO else wrong @ whole.inverse).matrix @ K
    elif fault == "wrong_resolution":
        K = np.diag([*[random.choice([0.5, 2.0, 256 / 384, 1.5])] * 2, 1]) @ K
    elif fault == "principal_point_dropped":
        K[:2, 2] = size / 2
    elif fault == "half_pixel":
        K[:2, 2] -= 0.5
    elif fault == "fov_replaced":
        K[[0, 1], [0, 1]] = size[0] / 2 / math.tan(math.radians(random.choice([40, 50, 60])) / 2)
        if random.random() < 0.5:
            K[:2, 2] = size / 2
    elif fault == "fov_half_angle" and form not in ("insta", "nerf"):
        K[[0, 1], [0, 1]] = size[0] / 2 / math.tan(math.atan(size[0] / 2 / K[0, 0]) / 2)
    elif fault is not None:
        options.add(fault)
    return replace(right, R=R, t=t, K=K, options=frozenset(options))


def write(folder, form, s, random):
    """Write a scene's cameras as a format has them."""
    (fx, _, cx), (_, fy, cy) = s.K[:2]
    w2c = np.tile(np.eye(4), (len(s.R), 1, 1))
    w2c[:, :3, :3], w2c[:, :3, 3] = s.R, s.t
    (w, h), count = s.size, len(s.R)
    p3d = (P @ s.R).swapaxes(1, 2)
    if form in ("insta", "nerf"):
        c2w = np.linalg.inv(w2c)
        ax, ay = (2 * math.atan(n / 2 / f) for n, f in ((w, fx), (h, fy)))
        table = {"w": w, "h": h}
        if form == "nerf":
            c2w[:, :3, :3] = c2w[:, :3, :3] @ F
            keys = {"camera_angle_x", "camera_angle_y"}
        else:
            table |= {"cx": cx, "cy": cy, "integer_depth_scale": 0.001}
            keys = {"camera_angle_x", "camera_angle_y", "fl_x", "fl_y", "x_fov", "y_fov"}
        if s.options & {"fov_half_angle", "degrees_for_radians"}:
            keys = {"camera_angle_x", "camera_angle_y"}
            unit = 0.5 if "fov_half_angle" in s.options else 180 / math.pi
            ax, ay = ax * unit, ay * unit
        if "radians_for_degrees" in s.options:
            keys, ax, ay = {"x_fov", "y_fov"}, math.radians(ax), math.radians(ay)
        lens = {"camera_angle_x": ax, "camera_angle_y": ay, "fl_x": fx, "fl_y": fy}
        lens |= {"x_fov": math.degrees(ax), "y_fov": math.degrees(ay)}
        if "inconsistent_fields" in s.options:
            lens[["fl_x", "camera_angle_x", "x_fov"][random.integers(3)]] *= 1.07
        frames = [{"file_path": f"images/{i:05d}.png", "transform_matrix": m.tolist()} for i, m in enumerate(c2w)]
        name, table = "transforms.json", {**table, **{k: lens[k] for k in keys}, "frames": frames}
    elif form == "imavatar":
        mats = [np.column_stack([F @ R, 4 * F @ t]).tolist() for R, t in zip(s.R, s.t, strict=True)]
        frames = [{"file_path": f"./image/{i}", "world_mat": m} for i, m in enumerate(mats)]
        name, table = "flame_params.json", {"intrinsics": [-fx / w, fy / h, cx / w, cy / h], "frames": frames}
    elif form == "facelift":
        lens = {"w": w, "h": h, "fx": fx, "fy": fy, "cx": cx, "cy": cy}
        name, table = "opencv_cameras.json", {"frames": [{**lens, "w2c": m.tolist()} for m in w2c]}
    elif form == "3dgs":
        centres = -np.einsum("nji,nj->ni", s.R, s.t)
        name, table = (
            "cameras.json",
            [
                {"id": i, "width": w, "height": h, "fx": fx, "fy": fy, "rotation": R.T.tolist(), "position": c.tolist()}
                for i, (R, c) in enumerate(zip(s.R, centres, strict=True))
            ],
        )
    elif form == "mammal":
        rig = [{"K": s.K, "R": R, "T": 1000 * t} for R, t in zip(s.R, s.t, strict=True)]
        (folder / "new_cam.pkl").write_bytes(pickle.dumps(rig))
        return
    elif form == "metrical":
        centre = (np.array([w, h]) / 2 - (cx, cy)) / 256
        for i in range(count):
            camera = {
                "R": p3d[i, :2].reshape(1, 6),
                "t": (P @ s.t[i])[None],
                "fl": np.array([[fx / 256]]),
                "pp": centre[None],
            }
            if "inconsistent_fields" in s.options:
                camera["t"] = camera["t"] * 1.1
            block = {"R": s.R[i][None], "t": s.t[i][None], "K": s.K[None]}
            table = {"camera": camera, "opencv": block, "img_size": np.array([h, w]), "frame_id": f"{i:05d}"}
            (folder / f"{i:05d}.frame").write_bytes(packed_torch(table))
        return
    elif form == "pytorch3d":
        half = min(w, h) / 2
        np.savez(
            folder / "cameras.npz", R=p3d, T=s.t @ P, focal_length=np.tile([fx / half, fy / half], (count, 1)),
            principal_point=np.tile([(w / 2 - cx) / half, (h / 2 - cy) / half], (count, 1)),
            image_size=np.tile([h, w], (count, 1)), in_ndc=True,
        )  # fmt: skip
        return
    elif form == "gaussian-talker":
        gl = F @ s.R
        euler = np.column_stack(
            [np.arctan2(-gl[:, 1, 2], gl[:, 2, 2]), np.arcsin(gl[:, 0, 2]), np.arctan2(gl[:, 0, 1], gl[:, 0, 0])]
        )
        euler = np.rad2deg(euler) if "degrees_for_radians" in s.options else euler
        content = {"euler": euler, "trans": 10 * s.t @ F, "focal": np.array([fx])}
        write_torch(folder / "track_params.pt", {key: value.astype(np.float32) for key, value in content.items()})
        return
    elif form == "gagavatar":
        mats = np.concatenate([p3d, 5 * (s.t @ P)[..., None]], axis=2).astype(np.float32)
        write_torch(folder / "tracked.pt", {f"{i}.jpg": {"transform_matrix": m} for i, m in enumerate(mats)})
        return
    (folder / name).write_text(json.dumps(table))


def puzzle(folder, seed, form, faults, *, noise=1.0, told=True, outliers=0.0, pitch=0.25):
    """Write a folder with a faulty camera file and landmarks."""
    random = np.random.default_rng([seed, *map(ord, form)])
    right = scene(random, form, pitch, "padding_missing" in faults)
    wrong = right
    if "principal_point_dropped" in faults and form in CENTRED:
        right = replace(right, K=right.K + np.array([[0, 0, 12.0], [0, 0, -9], [0, 0, 0]]))
    for fault in faults:
        wrong = plant(random, form, wrong, fault)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, form, wrong, random)
    measured = right.measured + random.normal(0, noise, right.measured.shape)
    lost = random.random(measured.shape[:2]) < outliers
    measured[lost] += random.normal(0, 40, (int(lost.sum()), 2))
    np.savez(folder / "landmarks.npz", points3d=right.points, points2d=measured)
    space = "video" if form in IN_VIDEO else form if form in CENTRED else "tracked"
    about = {"format": form, "image_space": space, "image_wh": right.size, "video_wh": right.video, "bbox": right.box}
    about |= {"tracked_size": 512, "points_unit": "metre (FLAME scale 1)"}
    if told:
        about["noise_px"] = noise
    (folder / "puzzle.json").write_text(json.dumps(about))
    before = wrong.measured - right.measured
    return float(np.sqrt((before**2).mean()))


@pytest.fixture(name="puzzle")
def _puzzle():
    """`puzzle(folder, seed, format, faults)` writes a folder with a faulty camera file and landmarks."""
    return puzzle


@pytest.fixture
def workshop():
    """A scene whose rotations and translations a test may bend before it writes it: `make` and `write`."""
    return Workshop()


class Workshop:
    """What `puzzle` is made of."""

    make, write = staticmethod(scene), staticmethod(write)
    turn = staticmethod(turn)


def pytest_generate_tests(metafunc):
    """Give `form` all formats, where a test asks for them and says nothing else."""
    if "each_form" in metafunc.fixturenames:
        metafunc.parametrize("each_form", FAULTS)


@pytest.fixture(scope="session")
def faults_of():
    """Names of the faults that a format can have, by its name."""
    return FAULTS
