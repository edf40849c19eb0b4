"""The demo talker in torch: the published GaussianTalker network, trained without a rasterizer.

Each step draws some frames and some Gaussians and asks that they be where the teacher has them. Names and shapes are
those of the published `deformation.pth`; what the teacher does not change (scales, opacities, colours) has no part.
"""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields

import numpy as np
import torch
from talker_clips import Clip
from talker_teacher import BLINKS, Shapes, Teacher, pixels
from torch import Tensor
from torch.nn import functional
from tqdm import trange

from marotte.models.gaussian_talker import Canonical, GaussianTalker, TalkerConfig
from marotte.models.gaussian_talker.config import CLASSES, EYE_CODE, STEPS, WINDOWS
from marotte.models.gaussian_talker.windows import rows_to_windows
from marotte.runtime.arkit import SLOT

MOVES = frozenset({"xyz", "quats_wxyz"})
BATCH, CHOSEN = 96, 320
RATE, PLANE_RATE, WARM_STEPS = 4e-3, 8e-3, 100
AVERAGE = 0.998
MARGIN = 0.05  # units around what moves, in the planes' box
# Cycles of the planes' first waves, on each level.
CYCLES = (1.5, 5.0)
# Pixels of error from which it counts linearly, and what depth counts beside the picture's plane.
BEND, DEPTH = 0.5, 0.5
# The blink's fastest waves tell values apart that look alike; those above this never act.
FASTEST_EYE = 20.0
LIDS_OPEN = 0.5  # share of a step's frames
CLOSED = 2.0  # what shut lips count beside open ones, and more


@dataclass(frozen=True)
class Sounds:
    """Frames at 25 a second. windows: [N, 29, 16] of all clips with zeros between; places: [T] each frame's own window;
    actions: [T, 103] of the teacher.
    """

    windows: np.ndarray
    places: np.ndarray
    actions: np.ndarray

    @classmethod
    def of(cls, clips: list[Clip]) -> "Sounds":
        """Return every second row of the clips as frames; of every second clip the odd ones."""
        gap = np.zeros((WINDOWS // 2, CLASSES, STEPS), np.float32)
        windows, places, actions, count = [gap], [], [], len(gap)
        for number, clip in enumerate(clips):
            heard = rows_to_windows(clip.logits[number % 2 :]).astype(np.float32)
            windows += [heard, gap]
            places.append(count + np.arange(len(heard)))
            actions.append(clip.actions[number % 2 :][: 2 * len(heard) : 2])
            count += len(heard) + len(gap)
        return cls(np.concatenate(windows), np.concatenate(places), np.concatenate(actions))

    def heard(self, frames: np.ndarray) -> Tensor:
        """Return the windows [B, 8, 29, 16] of frames [B]."""
        near = self.places[frames][:, None] + np.arange(-WINDOWS // 2, WINDOWS // 2)
        return torch.from_numpy(self.windows[near])


def box_of(teacher: Teacher, shapes: Shapes) -> np.ndarray:
    """Return the box [2, 3] of what moves, the largest corner before the smallest: planes spend no cell elsewhere."""
    chance = importance(teacher, shapes)
    moving = teacher.canonical[0][chance > 1.5 * chance.min()]
    return np.stack([moving.max(0) + MARGIN, moving.min(0) - MARGIN]).astype(np.float32)


def new_network(box: np.ndarray, seed: int) -> GaussianTalker:
    """Return a network to begin with: planes of slow and fast waves, a camera that says nothing, heads that do nothing.

    box: [2, 3] the largest corner, then the smallest.
    """
    torch.manual_seed(seed)
    network = GaussianTalker(TalkerConfig(moves=MOVES))
    net = network.deformation_net
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Conv1d):
                torch.nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    module.bias.zero_()
        for head in (net.pos_deform, net.scales_deform, net.rotations_deform, net.opacity_deform, net.shs_deform):
            head[-1].weight.zero_()
        net.cam_mlp.net[1].weight.zero_()
        net.eye_mlp.net[0].weight *= _slow_eye()
        grid = net.tri_plane.grid
        grid.aabb.copy_(torch.from_numpy(box))
        for planes, fastest in zip(grid.grids, CYCLES, strict=True):
            for plane in planes:
                plane.copy_(1 + 0.6 * _waves(plane.shape, fastest))
    return network


def _waves(shape: torch.Size, fastest: float) -> Tensor:
    """Return a plane [1, C, h, w] of a wave each, -1 to 1, in directions of their own, so many cycles across."""
    across, down = torch.linspace(0, math.pi, shape[3]), torch.linspace(0, math.pi, shape[2])[:, None]
    cycles, phase = torch.randn(2, shape[1], 1, 1) * fastest, torch.rand(shape[1], 1, 1) * 2 * math.pi
    return (cycles[0] * across + cycles[1] * down + phase).sin()[None]


def train(
    network: GaussianTalker,
    teacher: Teacher,
    shapes: Shapes,
    sounds: Sounds,
    cameras: np.ndarray,
    steps: int,
    seed: int,
    report: Callable[[int, float, GaussianTalker], None],
    every: int = 200,
) -> GaussianTalker:
    """Return the network after so many steps, its weights averaged over the last of them.

    cameras: [F, 12] tokens of the recording, one of which each frame is given. report: called every so many steps with
    the step, the mean error in pixels of what was drawn, and the averaged network.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    average = deepcopy(network)
    network.requires_grad_(True).deformation_net.tri_plane.grid.aabb.requires_grad_(False)
    net = network.deformation_net
    planes = list(net.tri_plane.grid.grids.parameters())
    parts = (net.transformer, net.pos_deform, net.rotations_deform, net.audio_net, net.audio_att_net)
    parts = (*parts, net.audio_mlp, net.eye_mlp, net.cam_mlp)
    others = [net.null_vector, *(weight for part in parts for weight in part.parameters())]
    optimizer = torch.optim.Adam(
        [{"params": others, "lr": RATE}, {"params": planes, "lr": PLANE_RATE}], betas=(0.9, 0.98)
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _pace(step, steps))
    chance, likely = importance(teacher, shapes), liveliness(sounds)
    canonical, scale = canonical_of(teacher), torch.from_numpy(pixels(teacher))
    scale[:, 2] *= DEPTH
    lips, shut = torch.from_numpy(lip_shares(teacher)), torch.from_numpy(closedness(sounds.actions))
    total = 0.0
    for step in trange(1, steps + 1, desc="training", mininterval=5):
        chosen = rng.choice(len(chance), CHOSEN, replace=False, p=chance)
        frames = rng.choice(len(likely), BATCH, p=likely)
        blink = np.where(rng.random(BATCH) < LIDS_OPEN, 0, np.clip(rng.uniform(-0.15, 1.2, BATCH), 0, 1))
        wanted = torch.from_numpy(shapes.moves(frames, blink, chosen))
        camera = torch.from_numpy(cameras[rng.integers(len(cameras), size=BATCH)])
        told = network.tokens(sounds.heard(frames), torch.from_numpy(blink), camera)
        drawn = taken(canonical, torch.from_numpy(chosen))
        with torch.autocast("cpu", torch.bfloat16):
            made = network.reference(drawn, told)
        moved = torch.cat([made.xyz - drawn.xyz, made.quats_wxyz - drawn.quats_wxyz], -1)
        error = (moved - wanted) * scale[chosen]
        weight = 1 + CLOSED * shut[frames][:, None, None] * lips[chosen][:, None]
        loss = (functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=BEND) * weight).mean()
        optimizer.zero_grad()
        loss.backward()
        net.eye_mlp.net[0].weight.grad *= _slow_eye()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        optimizer.step()
        schedule.step()
        total += float(error.detach()[..., :2].norm(dim=-1).mean())
        kept = min(AVERAGE, step / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - kept)
        if step % every == 0 or step == steps:
            report(step, total / ((step - 1) % every + 1), average)
            total = 0.0
    return average


def canonical_of(teacher: Teacher) -> Canonical:
    """Return the canonical head as the network's files have it."""
    means, quats = teacher.canonical
    sh = np.zeros((len(means), 16, 3), np.float32)
    sh[:, 0] = teacher.splats.sh[teacher.head, 0]
    arrays = (means, teacher.log_scales, quats, teacher.splats.opacity_logits[teacher.head], sh)
    return Canonical(*(torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays))


def taken(canonical: Canonical, chosen: Tensor) -> Canonical:
    """Return some of the Gaussians."""
    return Canonical(**{field.name: getattr(canonical, field.name)[chosen] for field in fields(canonical)})


def importance(teacher: Teacher, shapes: Shapes) -> np.ndarray:
    """Return the chance [P] that a step draws each Gaussian: by how far it moves, lips and what is in the mouth more,
    what never moves a little.
    """
    moved = np.abs(shapes.shapes * shapes.weights.std(0)[:, None, None]).max(0) * pixels(teacher)
    blinked = np.abs(shapes.blinks).max(0) * pixels(teacher)
    reach = np.maximum(np.minimum(moved.max(1), 4), np.minimum(blinked.max(1) / 4, 2))
    chance = 0.06 + reach + 3 * lip_shares(teacher)
    return chance / chance.sum()


def lip_shares(teacher: Teacher) -> np.ndarray:
    """Return [P] 1 for the lips' Gaussians, 0 for others, float32."""
    return (teacher.parts.ids == teacher.parts.names.index("lips")).astype(np.float32)


def closedness(actions: np.ndarray) -> np.ndarray:
    """Return [T] how far the lips are rolled onto each other or held shut while the sound goes on, 0..1, float32."""
    rolled = actions[:, [SLOT["mouthRollLower"], SLOT["mouthPressLeft"], SLOT["mouthClose"]]].max(1)
    return np.clip(2 * rolled, 0, 1).astype(np.float32)


def liveliness(sounds: Sounds) -> np.ndarray:
    """Return the chance [T] of each frame: silent ones, which are alike, come less often."""
    speech = np.delete(sounds.actions, BLINKS, axis=1)
    alive = np.abs(speech).max(1) > 0.03
    chance = np.where(alive, 1.0, 0.3)
    return chance / chance.sum()


def _pace(step: int, steps: int) -> float:
    """Return the rate's factor: up over the first steps, then down along a cosine."""
    return min(1, (step + 1) / WARM_STEPS) * (0.501 + 0.499 * math.cos(math.pi * step / steps))


def _slow_eye() -> Tensor:
    """Return [32] 1 for the parts of the blink's code that act, 0 for the others."""
    waves = torch.pow(10000.0, torch.arange(EYE_CODE // 2) * (2 / EYE_CODE))
    return (waves < FASTEST_EYE).float().repeat_interleave(2)
