"""The audio encoder: wav2vec 2.0, as transformers has it, from sizes in the code; nothing is fetched.

Source: Baevski et al. 2020, Babu et al. 2021 (XLS-R).
"""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from marotte.errors import MarotteError
from marotte.models.artalk.config import Wav2VecConfig


def build_audio_encoder(config: Wav2VecConfig) -> nn.Module:
    """Return transformers' Wav2Vec2Model with untrained weights and the published names.

    Raises MarotteError where transformers is not installed, or too old or new for the installed torch.
    """
    settings: dict[str, Any] = {
        **asdict(config),
        "num_feat_extract_layers": len(config.conv_dim),
        "feat_extract_norm": "layer",
        "feat_extract_activation": "gelu",
        "hidden_act": "gelu",
        "conv_bias": True,
        "do_stable_layer_norm": True,
        "layer_norm_eps": 1e-5,
        # Nothing is masked in inference; a probability above 0 makes the entry `masked_spec_embed` of checkpoints.
        "apply_spec_augment": False,
        "mask_time_prob": 0.075,
        "add_adapter": False,
        "attn_implementation": "sdpa",
    }
    try:
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        return Wav2Vec2Model(Wav2Vec2Config(**settings))
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise MarotteError("ARTalk needs transformers, which is not installed: pip install 'marotte[artalk]'") from None
    except ImportError as error:  # what transformers gives instead of a model where it refuses the installed torch
        reason = " ".join(str(error).split())[:120]
        raise MarotteError(f"transformers has no wav2vec 2.0 ({reason}): pip install -U 'marotte[artalk]'") from error


def encode_audio(encoder: Any, audio: Tensor) -> Tensor:
    """Return the features [B, m, hidden] of sound [B, n] at 16 kHz, m about n / 320, in float32 at least.

    Each row is brought to mean 0 and deviation 1 by itself, zero padding included (a quirk: a padded last chunk sounds
    louder to the encoder), with the deviation of n - 1 and the epsilon outside of the root.
    """
    normal = (audio - audio.mean(dim=1, keepdim=True)) / (audio.std(dim=1, keepdim=True) + 1e-6)
    dtype = encoder.feature_projection.projection.weight.dtype
    features: Tensor = encoder(normal.to(dtype)).last_hidden_state
    return features.to(torch.promote_types(dtype, torch.float32))
