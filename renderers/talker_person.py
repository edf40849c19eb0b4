"""A GaussianTalker's head on a torch device: weights, Gaussians and recording, for all streams that show it."""

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marotte.models.gaussian_talker import Canonical, GaussianTalker, camera_token, read_canonical
from marotte.models.gaussian_talker.config import CLASSES, STEPS, WINDOWS
from marotte.models.gaussian_talker.folder import ModelFolder
from marotte.models.spherical_harmonics import sh_basis
from marotte.renderers.talker_poses import Pose
from marotte.runtime.recording import Recording


class Heard(NamedTuple):
    """What the network gets of T frames, on the host. audio: [T, 8, 29, 16] float32; eye: [T] float64; cam12: [T, 12]
    float32."""

    audio: Tensor
    eye: Tensor
    cam12: Tensor

    @classmethod
    def of(cls, features: np.ndarray, eye: np.ndarray, poses: Sequence[Pose]) -> "Heard":
        """Return what frames with windows [T, 8, 464], blink values [T] and poses bring."""
        audio = np.ascontiguousarray(features, np.float32).reshape(-1, WINDOWS, CLASSES, STEPS)
        R, t = (np.stack([getattr(pose.camera, name) for pose in poses]) for name in "Rt")
        cam12 = camera_token(torch.from_numpy(R), torch.from_numpy(t))
        return cls(torch.from_numpy(audio), torch.from_numpy(np.ascontiguousarray(eye, np.float64)), cam12)

    def part(self, span: slice) -> "Heard":
        """Return some of the frames."""
        return Heard(*(each[span] for each in self))

    def to(self, device: torch.device) -> "Heard":
        """Return the same on a device, which nothing waits for."""
        if device.type == "cpu":
            return self
        return Heard(*(each.pin_memory().to(device, non_blocking=True) for each in self))


class Splats(NamedTuple):
    """P Gaussians in B frames, as rasterizers take them. means, scales: [B, P, 3]; quats_wxyz: [B, P, 4] of unit
    length; opacities: [B, P]; sh: [B, P, 16, 3], maybe one frame's expanded."""

    means: Tensor
    scales: Tensor
    quats_wxyz: Tensor
    opacities: Tensor
    sh: Tensor


class Person:
    """One head. Holds no state of any stream; all that does not change between frames is worked out here, once.

    precision: float32, or bfloat16 or float16 for the network's large products.
    """

    def __init__(
        self, network: GaussianTalker, canonical: Canonical, recording: Recording, precision: str = "float32"
    ) -> None:
        self.recording, self.network, self.count = recording, network, len(canonical)
        self.prepared = network.prepare(canonical, getattr(torch, precision))

    @classmethod
    def load(cls, model: ModelFolder, recording: Recording, device: torch.device, precision: str) -> "Person":
        """Return the head of a trained model on a device. Raises MarotteError where its files are missing or damaged,
        or do not fit together."""
        network = GaussianTalker.load(model.deformation, device=device, cfg_args=model.cfg_args)
        return cls(network, read_canonical(model.ply), recording, precision)

    def warm_up(self) -> None:
        """Let a silent frame through the network, so that libraries set themselves up."""
        silence = np.zeros((1, WINDOWS, CLASSES * STEPS), np.float32)
        self.splats(Heard.of(silence, np.zeros(1), [Pose(0, self.recording.cameras[0])]))

    def one_by_one(self, heard: Heard) -> Iterator[Splats]:
        """Yield the Gaussians of each frame, B = 1: on the CPU, as many frames side by side as torch may use threads.

        Within a frame there is nothing to gain: products are small, and threads that wait for each other at the end of
        each take five times as long as one alone where the cores have other work, an encoder's say.
        """
        most = torch.get_num_threads()
        rest = deque(heard.part(slice(index, index + 1)) for index in range(len(heard.audio)))
        under_way = deque[Future[Splats]]()
        while rest or under_way:
            while rest and len(under_way) < most:
                under_way.append(self._workers.submit(self.splats, rest.popleft()))
            yield under_way.popleft().result()

    @cached_property
    def _workers(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count(), "talker", initializer=_use_one_thread)

    def splats(self, heard: Heard) -> Splats:
        """Return the Gaussians of frames."""
        with torch.inference_mode():
            on_device = heard.to(self.network.device)
            tokens = self.network.tokens(on_device.audio, on_device.eye, on_device.cam12)
            means, scales, quats, opacities, sh = self.network.deform(self.prepared, tokens).activated()
            return Splats(means.contiguous(), scales.contiguous(), quats.contiguous(), opacities.contiguous(), sh)


_SETTING = threading.Lock()


def _use_one_thread() -> None:
    """Let torch use one thread where this is called from, and as many as before in threads to come."""
    with _SETTING:
        usual = torch.get_num_threads()
        torch.set_num_threads(1)
        # The last number said by any thread is what later ones start with.
        back = threading.Thread(target=torch.set_num_threads, args=(usual,))
        back.start()
        back.join()


def colours(splats: Splats, centres: Tensor) -> Tensor:
    """Return the colours [B, P, 3] of Gaussians seen from [B, 3], at least 0."""
    away = splats.means - centres[:, None]
    basis = sh_basis(away / torch.linalg.vector_norm(away, dim=-1, keepdim=True), splats.sh.shape[2])
    total = torch.full_like(away, 0.5)
    for k in range(splats.sh.shape[2]):
        total = torch.addcmul(total, basis[..., k, None], splats.sh[:, :, k])
    return total.clamp_min_(0)
