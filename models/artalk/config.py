"""The sizes of an ARTalk network; the published ones are the defaults."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marotte.errors import MarotteError
from marotte.models.artalk.frames import HOP

# Fixed in the published code, whatever its configuration says.
WIDTH = 768
MOTION = 106
STYLE_WIDTH = 128
# The style encoder's table of positions; a clip must be shorter.
STYLE_POSITIONS = 600
# The length of a style clip that the published code accepts, in frames.
STYLE_FRAMES = 50


@dataclass(frozen=True)
class Wav2VecConfig:
    """The audio encoder's sizes, named as in transformers; by default those of XLS-R 300M (Babu et al. 2021)."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Wav2VecConfig":
        """Take the sizes from a transformers configuration; what else it holds does not change inference."""
        names = {f.name for f in dataclasses.fields(cls)}
        sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names}
        return cls(**sizes)


# Where `config.json` has the sizes.
_JSON = {
    "depth": ("AR_CONFIG", "T_DEPTH"),
    "heads": ("AR_CONFIG", "T_NUM_HEADS"),
    "prev_ratio": ("AR_CONFIG", "PREV_RATIO"),
    "code_dim": ("VAE_CONFIG", "V_CODE_DIM"),
    "vae_depth": ("VAE_CONFIG", "T_DEPTH"),
    "vae_heads": ("VAE_CONFIG", "T_NUM_HEADS"),
    "vae_width": ("VAE_CONFIG", "T_HIDDEN_DIM"),
    "patch_nums": ("VAE_CONFIG", "V_PATCH_NUMS"),
}


@dataclass(frozen=True)
class ARTalkConfig:
    """The network's sizes.

    patch_nums: tokens at each time scale, coarse to fine; the last is the frames of a chunk. prev_ratio: chunks of
    history that the transformer sees. code_dim: bits a token. depth, heads: of the autoregressive transformer;
    vae_*: of the motion VAE's encoder and decoder.
    """

    depth: int = 12
    heads: int = 12
    prev_ratio: int = 1
    code_dim: int = 32
    vae_depth: int = 8
    vae_heads: int = 8
    vae_width: int = 512
    patch_nums: tuple[int, ...] = (1, 5, 25, 50, 100)
    wav2vec: Wav2VecConfig = dataclasses.field(default_factory=Wav2VecConfig)

    @property
    def frames(self) -> int:
        """Frames of motion in a chunk."""
        return self.patch_nums[-1]

    @property
    def tokens(self) -> int:
        """Tokens of a chunk, over all scales."""
        return sum(self.patch_nums)

    @property
    def chunk_samples(self) -> int:
        """Samples at 16 kHz in a chunk."""
        return self.frames * HOP

    @classmethod
    def from_json(cls, values: Mapping[str, Any], wav2vec: Mapping[str, Any] | None = None) -> "ARTalkConfig":
        """Take the content of a published `config.json` (AR_CONFIG, VAE_CONFIG).

        wav2vec: the audio encoder's transformers configuration, where it is not XLS-R 300M; a `WAV2VEC_CONFIG` in the
        file counts as well. Raises MarotteError where a size is missing or the audio encoder is another one.
        """
        try:
            encoder = values["AR_CONFIG"].get("AUDIO_ENCODER", "wav2vec")
            found = {field: values[part][name] for field, (part, name) in _JSON.items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise MarotteError(f"the ARTalk configuration lacks {error}: use the published config.json") from None
        for field, (part, name) in _JSON.items():
            sizes = found[field] if field == "patch_nums" else [found[field]]
            if type(sizes) is not list or not sizes or any(type(n) is not int or n < 1 for n in sizes):
                wanted = "whole numbers above 0: use the published config.json"
                raise MarotteError(f"the ARTalk configuration's {part} {name} is {found[field]!r}, expected {wanted}")
        if encoder != "wav2vec":
            raise MarotteError(f"ARTalk's {encoder!r} audio encoder is not supported: use ARTalk_wav2vec.pt")
        found["patch_nums"] = tuple(found["patch_nums"])
        hearing = wav2vec or values.get("WAV2VEC_CONFIG") or {}
        return cls(**found, wav2vec=Wav2VecConfig.from_json(hearing))

    @classmethod
    def read(cls, path: str | Path) -> "ARTalkConfig":
        """Read a `config.json`. Raises MarotteError where it is missing, no JSON, or not ARTalk's."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise MarotteError(f"cannot read {path}: {error.strerror or error}") from None
        except ValueError as error:
            raise MarotteError(f"{path} is not JSON ({error}): use the published config.json") from None
        try:
            return cls.from_json(values)
        except MarotteError as error:
            raise MarotteError(f"{path}: {error}") from None
