"""The whole network: from chunks of sound, a style and what went before to FLAME motion.

A speaker's state is a value (`ChunkState`) that is handed in and out; the module holds weights only, so any number of
speakers share one, and several are stepped in one batch. Nothing is drawn at random: the same input gives the same
motion. Source: Chu et al. 2025 (ARTalk), and the published inference code's numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from marotte.errors import MarotteError
from marotte.models.artalk.audio_encoder import build_audio_encoder, encode_audio
from marotte.models.artalk.config import MOTION, STYLE_POSITIONS, STYLE_WIDTH, WIDTH, ARTalkConfig
from marotte.models.artalk.frames import frame_count
from marotte.models.artalk.loading import assign, read_checkpoint
from marotte.models.artalk.quantizer import Quantizer
from marotte.models.artalk.resize import area
from marotte.models.artalk.style import StyleEncoder
from marotte.models.artalk.transformer import Block, ModulatedNorm
from marotte.models.artalk.vae import MotionVAE
from marotte.models.precision import full_float32
from marotte.models.published_network import PublishedNetwork

# With a style clip its condition is pushed away from that of no style: c + 0.1 (c - null).
_GUIDANCE = 1.1


@dataclass(frozen=True)
class ChunkState:
    """What B speakers bring from their last chunk to the next; never changed in place.

    condition: [B, 1, 768] of the style. bits: bool [B, L, C] of the last chunk's motion, encoded anew. history:
    [B, L times prev_ratio, 768], the tokens that the transformer sees of the last chunks, without positions.
    """

    condition: Tensor
    bits: Tensor
    history: Tensor

    def __len__(self) -> int:
        return len(self.condition)

    def __getitem__(self, rows: slice) -> "ChunkState":
        """Return some of the speakers, as a copy that keeps no other's memory."""
        return ChunkState(self.condition[rows].clone(), self.bits[rows].clone(), self.history[rows].clone())

    def split(self) -> list["ChunkState"]:
        """Return one state a speaker."""
        return [self[i : i + 1] for i in range(len(self))]

    @staticmethod
    def stack(states: Sequence["ChunkState"]) -> "ChunkState":
        """Return the states of several speakers as one, in this order."""
        return ChunkState(
            torch.cat([s.condition for s in states]),
            torch.cat([s.bits for s in states]),
            torch.cat([s.history for s in states]),
        )


class Codes(NamedTuple):
    """A chunk's codes. bits: bool [B, L, C]; logits: float32 [B, L, 2 C], for each bit that of 0, then that of 1."""

    bits: Tensor
    logits: Tensor


class ARTalk(PublishedNetwork):
    """The network, always in eval mode, with the published names in its state_dict.

    A chunk is T = config.frames frames at 25 fps (100), config.chunk_samples samples at 16 kHz (64000), L =
    config.tokens tokens (181) of C = config.code_dim bits (32). Motion is [B, T, 106] in raw FLAME units.

    `to(bfloat16)` and the like change the two large transformers (audio_encoder, attn_blocks) only; the rest, and every
    decision between bits, stays in float32. On CUDA, float32 means float32: TF32 is off while a method runs.
    """

    attn_bias_for_masking: Tensor
    lvl_idx: Tensor

    shortened = ("audio_encoder", "attn_blocks")

    def __init__(self, config: ARTalkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ARTalkConfig()
        levels, tokens, history = len(config.patch_nums), config.tokens, config.tokens * config.prev_ratio
        audio_width = config.wav2vec.hidden_size
        self.quantizer = Quantizer(config.patch_nums, config.code_dim)
        self.null_style_cond = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, WIDTH))
        self.prev_pos_embed = nn.Parameter(torch.zeros(1, history, WIDTH))
        level_of = torch.tensor([level for level, count in enumerate(config.patch_nums) for _ in range(count)])
        self._register_mask(level_of, history)
        self.basic_vae = MotionVAE(config)
        self.vqfeat_embed = nn.Linear(config.code_dim, WIDTH)
        self.style_encoder = StyleEncoder()
        self.style_cond_embed = nn.Linear(STYLE_WIDTH, WIDTH)
        self.audio_encoder = build_audio_encoder(config.wav2vec)
        self.attn_blocks = nn.ModuleList(Block(config.heads, audio_width) for _ in range(config.depth))
        self.cond_logits_head = ModulatedNorm(audio_width)
        self.logits_head = nn.Linear(WIDTH, 2 * config.code_dim)
        self.lvl_embed = nn.Embedding(levels, WIDTH)
        self.eval()

    def _register_mask(self, level_of: Tensor, history: int) -> None:
        """Register the published buffers.

        The mask (a token sees the history and no finer level than its own) is kept for its name alone: levels are
        decoded one after the other, so no token ever meets one that it must not see.
        """
        mask = torch.zeros(1, 1, len(level_of), history + len(level_of))
        mask[0, 0, :, history:].masked_fill_(level_of[:, None] < level_of[None], -torch.inf)
        self.register_buffer("attn_bias_for_masking", mask)
        self.register_buffer("lvl_idx", level_of[None])

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.float32,
        config: ARTalkConfig | None = None,
    ) -> "ARTalk":
        """Read a published checkpoint (`ARTalk_wav2vec.pt`, or the same entries as safetensors), strictly.

        config: by default the `config.json` beside the file, without one the published sizes. dtype: of the two large
        transformers. The weights are mapped from the file and in memory once; nothing is unpickled freely. Raises
        MarotteError where the file cannot be read, is another checkpoint, or an entry is missing, extra or misshapen.
        """
        path = Path(path)
        entries = read_checkpoint(path)
        if config is None:
            beside = path.with_name("config.json")
            config = ARTalkConfig.read(beside) if beside.is_file() else ARTalkConfig()
        return cls.in_place(entries, path, assign, device, dtype, config)

    @torch.no_grad()
    def style_condition(self, style_motion: Tensor | None = None) -> Tensor:
        """Return the condition [B, 1, 768] of raw style clips [B, n, 106] (published: n = 50); for None, B = 1.

        Raises MarotteError for another shape, or 600 frames or more.
        """
        if style_motion is None:
            return self.null_style_cond.detach()
        shape = style_motion.shape
        if len(shape) != 3 or shape[2] != MOTION or not 0 < shape[1] < STYLE_POSITIONS:
            wanted = f"[clips, 1 to {STYLE_POSITIONS - 1}, {MOTION}]"
            raise MarotteError(f"style motion has shape {list(shape)}, expected {wanted}: give frames of FLAME motion")
        with full_float32(self.pos_embed.device):
            condition = self.style_cond_embed(self.style_encoder(self._like_weights(style_motion)))[:, None]
        # A quirk: guidance acts where there is a clip; none gives the null condition as it is.
        return _GUIDANCE * condition + (1 - _GUIDANCE) * self.null_style_cond

    @torch.no_grad()
    def initial_state(self, conditions: Tensor) -> ChunkState:
        """Return the state of new speakers with style conditions [B, 1, 768].

        What went before is a chunk of zero motion, not of mean motion: a quirk.
        """
        count = len(conditions)
        zero = self.pos_embed.new_zeros(1, self.config.frames, MOTION)
        bits = self.encode_motion(zero).expand(count, -1, -1)
        history = self._history_tokens(conditions, bits).repeat(1, self.config.prev_ratio, 1)
        return ChunkState(conditions.clone(), bits.clone(), history)

    def step(self, state: ChunkState, audio: Tensor) -> tuple[Tensor, ChunkState]:
        """Return the motion [B, T, 106] of the next chunk of sound [B, chunk samples], and the state after it.

        A last chunk is padded with zeros behind; `frame_count` of its samples says how many of its frames count.
        """
        motion, _ = self.decode_chunk(state, self.encode_audio(audio))
        return motion, self.advance(state, motion)

    @torch.no_grad()
    def encode_audio(self, audio: Tensor) -> Tensor:
        """Return the sound's features [B, m, 1024] of whole chunks [B, chunk samples] at 16 kHz, about [-1, 1].

        Raises MarotteError for another number of samples.
        """
        if audio.ndim != 2 or audio.shape[1] != self.config.chunk_samples:
            wanted = f"[speakers, {self.config.chunk_samples}]"
            raise MarotteError(f"a chunk of sound has shape {list(audio.shape)}, expected {wanted}: pad it with zeros")
        with full_float32(self.pos_embed.device):
            return encode_audio(self.audio_encoder, self._like_weights(audio))

    def decode_chunk(self, state: ChunkState, features: Tensor) -> tuple[Tensor, Codes]:
        """Return the motion [B, T, 106] that follows `state` in sound of these features, and its codes."""
        codes = self.predict(state, features)
        return self.decode_motion(state.bits, codes.bits), codes

    @torch.no_grad()
    def predict(self, state: ChunkState, features: Tensor) -> Codes:
        """Return the codes that follow `state` in sound of these features [B, m, 1024], level by level.

        The published code runs every level's tokens again for each finer level; here the keys and values of coarser
        levels are kept, which gives the same logits to rounding.
        """
        quantizer = self.quantizer
        audio = torch.cat([area(features, count) for count in quantizer.patch_nums], dim=1)
        positions = self.lvl_embed(self.lvl_idx) + self.pos_embed
        context = self.context(state)
        blocks = cast(list[Block], list(self.attn_blocks))
        tokens, total, start = state.condition, None, 0
        bits, logits = [], []
        with full_float32(context.device):
            modulations = [block.modulation(audio) for block in blocks]
            pasts = [block.attn.keys_values(context) for block in blocks]
            for level, count in enumerate(quantizer.patch_nums):
                rows = slice(start, start + count)
                x = tokens + positions[:, rows]
                for i, block in enumerate(blocks):
                    x, pasts[i] = block(x, modulations[i][:, rows], pasts[i])
                logits.append(self.logits_head(self.cond_logits_head(x, audio[:, rows])))
                pairs = logits[-1].unflatten(-1, (-1, 2))
                bits.append(pairs[..., 1] > pairs[..., 0])
                if level + 1 < len(quantizer.patch_nums):
                    total = quantizer.add_level(total, bits[-1])
                    tokens = self.vqfeat_embed(area(total, quantizer.patch_nums[level + 1]).to(x.dtype))
                start += count
        return Codes(torch.cat(bits, dim=1), torch.cat(logits, dim=1))

    @torch.no_grad()
    def context(self, state: ChunkState) -> Tensor:
        """Return the history [B, L times prev_ratio, 768] as every block sees it, neither normalised nor modulated.

        A quirk: positions are added to it anew for each chunk, and never kept with it.
        """
        levels = self.lvl_embed(self.lvl_idx).repeat(1, self.config.prev_ratio, 1)
        return state.history + (levels + self.prev_pos_embed)

    @torch.no_grad()
    def decode_motion(self, previous: Tensor, bits: Tensor) -> Tensor:
        """Return the raw motion [B, T, 106] of bits [B, L, C] that follow those of the chunk before."""
        features = torch.cat([self.quantizer.decode(previous), self.quantizer.decode(bits)], dim=1)
        with full_float32(features.device):
            return self.basic_vae.decode(self._like_weights(features))[:, self.config.frames :]

    @torch.no_grad()
    def encode_motion(self, motion: Tensor) -> Tensor:
        """Return the bits [B, L, C] of chunks of raw motion [B, T, 106]."""
        with full_float32(motion.device):
            return self.quantizer.encode(self.basic_vae.encode(self._like_weights(motion)))

    @torch.no_grad()
    def advance(self, state: ChunkState, motion: Tensor) -> ChunkState:
        """Return the state after a chunk of this motion [B, T, 106].

        The decoded motion is encoded again; the bits that it was decoded from are not used: a quirk.
        """
        bits = self.encode_motion(motion)
        history = torch.cat(
            [state.history[:, self.config.tokens :], self._history_tokens(state.condition, bits)], dim=1
        )
        return ChunkState(state.condition, bits, history)

    @torch.no_grad()
    def forward(self, audio: Tensor, style: Tensor | None = None) -> Tensor:
        """Return the raw motion [1, F, 106] of a whole recording [1, n] at 16 kHz, F = frame_count(n).

        style: raw motion [1, 50, 106], or None. Raises MarotteError for another shape, no samples, or NaN.
        """
        if audio.ndim != 2 or len(audio) != 1 or not audio.shape[1]:
            raise MarotteError(f"audio has shape {list(audio.shape)}, expected [1, samples] with one sample at least")
        if not torch.isfinite(audio).all():
            raise MarotteError("audio has samples that are not finite numbers: repair the recording")
        chunk, samples = self.config.chunk_samples, audio.shape[1]
        padded = nn.functional.pad(self._like_weights(audio), (0, -samples % chunk))
        state, motions = self.initial_state(self.style_condition(style)), []
        for piece in padded.split(chunk, dim=1):
            motion, state = self.step(state, piece)
            motions.append(motion)
        return torch.cat(motions, dim=1)[:, : frame_count(samples)]

    def _history_tokens(self, conditions: Tensor, bits: Tensor) -> Tensor:
        """Return the tokens [B, L, 768] that later chunks see of a chunk with these bits."""
        inputs = self._like_weights(self.quantizer.next_inputs(bits))
        with full_float32(inputs.device):
            return torch.cat([conditions, self.vqfeat_embed(inputs)], dim=1)

    def _like_weights(self, x: Tensor) -> Tensor:
        """Return x on the model's device, in the type of what is not shortened."""
        return x.to(device=self.pos_embed.device, dtype=self.pos_embed.dtype)
