"""The whole network: what a frame brings, and how it moves a head's Gaussians.

Its pieces are pure: weights are all that the module holds, and what does not change between frames (`Prepared`) is a
value. Source: Cho et al. 2024 (GaussianTalker), and the published inference code's numbers.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marotte.errors import MarotteError
from marotte.models.gaussian_talker.attention import Transformer
from marotte.models.gaussian_talker.config import (
    AUDIO_CODE,
    CAMERA_CODE,
    CLASSES,
    EYE_CODE,
    STEPS,
    TOKENS,
    WINDOWS,
    TalkerConfig,
)
from marotte.models.gaussian_talker.folder import find_model
from marotte.models.gaussian_talker.fused import Fused
from marotte.models.gaussian_talker.gaussians import Canonical, Deformed
from marotte.models.gaussian_talker.loading import assign, read_checkpoint
from marotte.models.gaussian_talker.planes import TriPlane, head
from marotte.models.gaussian_talker.tokens import AudioAttention, AudioNet, Mlp, eye_encoding
from marotte.models.precision import full_float32
from marotte.models.published_network import PublishedNetwork


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that does not change while a head speaks. features: [P, C], of each Gaussian's place."""

    canonical: Canonical
    features: Tensor
    fused: Fused


class _Deformation(nn.Module):
    """What the published file keeps under one prefix; the last three parts are leftovers that nothing uses."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        width, net = config.d_model, config.net_width
        self.null_vector = nn.Parameter(torch.randn(1, 1, width))
        self.tri_plane = TriPlane(config)
        self.transformer = Transformer(config)
        self.pos_deform = head(width, net, 3)
        self.scales_deform = head(width, net, 3)
        self.rotations_deform = head(width, net, 4)
        self.opacity_deform = head(width, net, 1)
        self.shs_deform = head(width, net, 3 * config.sh)
        self.audio_net = AudioNet()
        self.audio_att_net = AudioAttention()
        self.audio_mlp = Mlp(AUDIO_CODE, 64, width)
        self.eye_mlp = Mlp(EYE_CODE, 64, width)
        self.cam_mlp = Mlp(CAMERA_CODE, 64, width)
        self.aud_ch_att_net = Mlp(AUDIO_CODE, 64, AUDIO_CODE)
        self.eye_att_net = Mlp(EYE_CODE, 16, 1)
        self.enc_x_mlp = Mlp(config.features, 64, width)

    def heads(self, moves: Collection[str]) -> dict[str, nn.Sequential]:
        """Return what moves each of these attributes."""
        every = {
            "xyz": self.pos_deform,
            "log_scales": self.scales_deform,
            "quats_wxyz": self.rotations_deform,
            "opacity_logits": self.opacity_deform,
            "sh": self.shs_deform,
        }
        return {name: layers for name, layers in every.items() if name in moves}


class GaussianTalker(PublishedNetwork):
    """The network, always in eval mode, with the published names in its state_dict.

    On CUDA, float32 means float32: TF32 is off while a method runs.
    """

    def __init__(self, config: TalkerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TalkerConfig()
        for name, length in zip(("pos_poc", "rotation_scaling_poc", "opacity_poc"), config.waves, strict=True):
            self.register_buffer(name, 2.0 ** torch.arange(length))
        self.deformation_net = _Deformation(config)
        self.eval()

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        config: TalkerConfig | None = None,
        cfg_args: Mapping[str, Any] | None = None,
    ) -> "GaussianTalker":
        """Read a trained network, strictly: `deformation.pth`, its entries as safetensors, or a folder that has it.

        cfg_args: what the training noted (`read_cfg_args`); a folder's own by default. config: to say all sizes
        instead. The weights are mapped from the file; nothing is unpickled freely. Raises MarotteError where the file
        cannot be read, is another checkpoint, an entry is missing, extra or misshapen, or cfg_args disagrees.
        """
        path = Path(path)
        if path.is_dir():
            model = find_model(path)
            path, cfg_args = model.deformation, model.cfg_args if cfg_args is None else cfg_args
        entries = read_checkpoint(path)
        if config is None:
            try:
                config = TalkerConfig.from_entries({k: tuple(v.shape) for k, v in entries.items()}, cfg_args)
            except MarotteError as error:
                raise MarotteError(f"{path}: {error}") from None
        return cls.in_place(entries, path, assign, device, torch.float32, config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.deformation_net.null_vector.device

    @torch.no_grad()
    def forward(self, canonical: Canonical, audio: Tensor, eye: Tensor, cam12: Tensor) -> Deformed:
        """Return Gaussians in B frames, with the attention: all of the below in one."""
        return self.deform(self.prepare(canonical), self.tokens(audio, eye, cam12), attention=True)

    def tokens(self, audio: Tensor, eye: Tensor, cam12: Tensor) -> Tensor:
        """Return the tokens [B, 4, C] of frames, in the order audio, eye, camera, null.

        audio: [B, 8, 29, 16], as `windows.context` gives it. eye: [B] float64, 0 open to 1 shut. cam12: [B, 12], as
        `camera_token` gives it. Raises MarotteError for another shape, and for eyes that were rounded to float32.
        """
        _check("audio windows", audio, None, WINDOWS, CLASSES, STEPS)
        _check("eyes", eye, len(audio))
        _check("camera tokens", cam12, len(audio), CAMERA_CODE)
        if eye.dtype != torch.float64:
            raise MarotteError(f"eyes are {str(eye.dtype).removeprefix('torch.')}, expected float64: do not round them")
        net = self.deformation_net
        with full_float32(self.device):
            heard = net.audio_mlp(net.audio_att_net(self.audio_codes(audio)))
            eyes = net.eye_mlp(self._like_weights(eye_encoding(eye.to(self.device))))
            camera = net.cam_mlp(self._like_weights(cam12))
            return torch.stack([heard, eyes, camera, net.null_vector[0].expand(len(audio), -1)], dim=1)

    def audio_codes(self, audio: Tensor) -> Tensor:
        """Return the codes [B, 8, 32] of windows [B, 8, 29, 16], each by itself."""
        return self.deformation_net.audio_net(self._like_weights(audio))

    def audio_weights(self, codes: Tensor) -> Tensor:
        """Return how much each of a frame's windows counts [B, 8], of their codes [B, 8, 32]."""
        return self.deformation_net.audio_att_net.weights(codes)

    def plane_features(self, xyz: Tensor) -> Tensor:
        """Return the features [P, C] of Gaussians at rest at [P, 3]; no frame changes them."""
        _check("Gaussians", xyz, None, 3)
        return self.deformation_net.tri_plane.grid(self._like_weights(xyz))

    @torch.no_grad()
    def prepare(self, canonical: Canonical, dtype: torch.dtype | None = None) -> Prepared:
        """Return what does not change between frames, on the model's device, with the weights as they are now.

        dtype: bfloat16 or float16 shortens the large products of `deform`, not what they are added to.
        """
        canonical = canonical.to(self.device)
        features = self.plane_features(canonical.xyz)
        net = self.deformation_net
        fused = Fused.of(net.transformer.layers, net.heads(self.config.moves), dtype or features.dtype)
        return Prepared(canonical, features, fused)

    @torch.no_grad()
    def deform(self, prepared: Prepared, tokens: Tensor, *, attention: bool = False) -> Deformed:
        """Return Gaussians as they stand in the frames of tokens [B, 4, C]; attention: with its maps.

        Equal to `reference` but for rounding. On CUDA nothing is waited for and shapes depend on B and P alone, so a
        graph can hold it.
        """
        _check("tokens", tokens, None, TOKENS, self.config.d_model)
        with full_float32(self.device):
            return prepared.fused.deform(prepared.canonical, prepared.features, tokens, attention)

    def reference(self, canonical: Canonical, tokens: Tensor) -> Deformed:
        """Return what `deform` does, with the attention, in the published order of steps: slow, and differentiable."""
        net = self.deformation_net
        _check("tokens", tokens, None, TOKENS, self.config.d_model)
        with full_float32(self.device):
            features = self.plane_features(canonical.xyz)
            hidden, attention = net.transformer(features.expand(len(tokens), -1, -1), tokens)
            rest = {field.name: getattr(canonical, field.name) for field in fields(canonical)}
            raw = {name: x.expand(len(tokens), *x.shape) for name, x in rest.items()}
            for name, layers in net.heads(self.config.moves).items():
                raw[name] = raw[name] + layers(hidden).reshape(raw[name].shape)
            return Deformed(**raw, attention=attention)

    def _like_weights(self, x: Tensor) -> Tensor:
        return x.to(device=self.device, dtype=self.deformation_net.null_vector.dtype)


def _check(what: str, x: Tensor, *shape: int | None) -> None:
    """Raise MarotteError unless x has this shape, where None stands for any number."""
    if x.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, x.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise MarotteError(f"{what} have shape {list(x.shape)}, expected [{wanted}]")
