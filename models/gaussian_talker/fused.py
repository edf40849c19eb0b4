"""The network's work on each Gaussian in the fast form: few large products, without what frames share.

Four tokens make most of the attention a table. A head's scores are h Wq' k: with Wq' k worked out for the frame, that
is one product of C x (heads tokens), and queries are never made. In the same way what is heard is a mixture, by the
attention weights, of heads x tokens rows that have been through the values' and the output's layers already. The five
heads' first layers are one product, the second layers of the small heads another.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from marotte.models.gaussian_talker.attention import EPS, Layer
from marotte.models.gaussian_talker.gaussians import Canonical, Deformed

# How many rows go through the network at once: on the CPU, what stays in its cache; on a GPU, what its memory holds.
_ROWS_CPU = 1024
_ROWS_GPU = 1 << 18
# Columns that products come in: eleven take three times as long as sixteen.
_COLUMNS = 16
# The head that is too large to share a product with the others.
_LARGE = "sh"


@dataclass(frozen=True, eq=False)
class _Dense:
    """x W + b, with W [in, out]."""

    weight: Tensor
    bias: Tensor

    @staticmethod
    def of(linear: nn.Linear, dtype: torch.dtype) -> "_Dense":
        return _Dense(linear.weight.T.to(dtype, copy=True), linear.bias.to(dtype, copy=True))

    def __call__(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight)


@dataclass(frozen=True, eq=False)
class _FusedLayer:
    """One layer of the transformer. query: [C, C] and its bias [C]; the rest as in the plain form."""

    query: _Dense
    key: _Dense
    value: _Dense
    concat: _Dense
    norm1: tuple[Tensor, Tensor]
    norm2: tuple[Tensor, Tensor]
    linear1: _Dense
    linear2: _Dense
    heads: int

    @staticmethod
    def of(layer: nn.Module, dtype: torch.dtype) -> "_FusedLayer":
        assert isinstance(layer, Layer)
        listening, exact = layer.enc_dec_attention, layer.norm1.gamma.dtype
        return _FusedLayer(
            query=_Dense.of(listening.w_q, exact),
            key=_Dense.of(listening.w_k, exact),
            value=_Dense.of(listening.w_v, exact),
            concat=_Dense.of(listening.w_concat, exact),
            norm1=(layer.norm1.gamma.clone(), layer.norm1.beta.clone()),
            norm2=(layer.norm2.gamma.clone(), layer.norm2.beta.clone()),
            linear1=_Dense.of(layer.ffn.linear1, dtype),
            linear2=_Dense.of(layer.ffn.linear2, dtype),
            heads=listening.heads,
        )

    def tables(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what a frame's tokens [B, T, C] are to every Gaussian: scores are h @ asked + offset, heard are
        weights @ heard. asked: [B, C, heads T]; offset: [B, 1, heads T]; heard: [B, heads T, C]."""
        batch, count, width = tokens.shape
        part = width // self.heads

        def split(dense: _Dense) -> Tensor:
            return dense(tokens.flatten(0, 1)).view(batch, count, self.heads, part)

        keys = split(self.key) / part**0.5
        asked = torch.einsum("chd,bthd->bcht", self.query.weight.view(width, self.heads, part), keys)
        offset = torch.einsum("hd,bthd->bht", self.query.bias.view(self.heads, part), keys)
        heard = torch.einsum("bthd,hdc->bhtc", split(self.value), self.concat.weight.view(self.heads, part, width))
        # The weights of each head sum to 1, so this brings the bias once.
        heard = heard + self.concat.bias / self.heads
        return asked.flatten(2), offset.flatten(1)[:, None], heard.flatten(1, 2)

    def __call__(self, h: Tensor, tables: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return states [B, N, C] after this layer and the weights [B, N, heads, T] of states h [B, N, C]."""
        asked, offset, heard = tables
        scores = torch.baddbmm(offset, h, asked).unflatten(2, (self.heads, -1))
        weights = scores.softmax(dim=-1)
        h = torch.baddbmm(h, weights.flatten(2), heard)
        h = functional.layer_norm(h, h.shape[-1:], *self.norm1, EPS)
        rows = h.flatten(0, 1)
        thought = self.linear2(self.linear1(rows.to(self.linear1.weight.dtype)).relu_())
        h = functional.layer_norm((rows + thought).view(h.shape), h.shape[-1:], *self.norm2, EPS)
        return h, weights


@dataclass(frozen=True, eq=False)
class Fused:
    """A network's weights, as they were, in the fast form.

    moves: the attributes with a head each, the large one last. first: of all heads. small: of all but the large one,
    zero where one head would hear another and in columns behind the last; None where there is none. large: None where
    it does not move.
    """

    layers: tuple[_FusedLayer, ...]
    moves: tuple[str, ...]
    first: _Dense | None
    small: _Dense | None
    large: _Dense | None

    @staticmethod
    def of(layers: Iterable[nn.Module], heads: Mapping[str, nn.Sequential], dtype: torch.dtype) -> "Fused":
        """Return the fast form of a transformer's layers and of the heads that act; dtype: of the large products."""
        moves = tuple(sorted(heads, key=_LARGE.__eq__))
        firsts, seconds = [_linear(heads[name][1]) for name in moves], [_linear(heads[name][3]) for name in moves]
        small = [second for name, second in zip(moves, seconds, strict=True) if name != _LARGE]
        return Fused(
            layers=tuple(_FusedLayer.of(layer, dtype) for layer in layers),
            moves=moves,
            first=_Dense(
                torch.cat([first.weight for first in firsts]).T.to(dtype),
                torch.cat([first.bias for first in firsts]).to(dtype),
            )
            if firsts
            else None,
            small=_side_by_side(small, dtype) if small else None,
            large=_Dense.of(seconds[-1], dtype) if _LARGE in moves else None,
        )

    def deform(self, canonical: Canonical, features: Tensor, tokens: Tensor, attention: bool) -> Deformed:
        """Return the Gaussians with features [P, C] in the frames of tokens [B, 4, C]."""
        batch, count = len(tokens), len(canonical)
        result = {}
        for name, rest in ((field.name, getattr(canonical, field.name)) for field in fields(canonical)):
            shape = (batch, *rest.shape)
            result[name] = rest.new_empty(shape) if name in self.moves else rest.expand(shape)
        maps = features.new_empty(batch, len(self.layers), count, tokens.shape[1]) if attention else None
        tables = [layer.tables(tokens) for layer in self.layers]
        frames, rows = _at_once(features.device, batch)
        for frame in (slice(i, i + frames) for i in range(0, batch, frames)):
            mine = [(asked[frame], offset[frame], heard[frame]) for asked, offset, heard in tables]
            for row in (slice(i, i + rows) for i in range(0, count, rows)):
                h = features[row].expand(len(tokens[frame]), -1, -1)
                for k, (layer, table) in enumerate(zip(self.layers, mine, strict=True)):
                    h, weights = layer(h, table)
                    if maps is not None:
                        maps[frame, k, row] = weights.mean(dim=2)
                self._move(h, canonical, frame, row, result)
        return Deformed(**result, attention=maps)

    def _move(self, h: Tensor, canonical: Canonical, frame: slice, row: slice, result: dict[str, Tensor]) -> None:
        """Write what moves of these rows into the result."""
        if self.first is None:
            return
        hidden = self.first(h.flatten(0, 1).relu().to(self.first.weight.dtype)).relu_()
        moved: list[tuple[str, Tensor]] = []
        split = 0 if self.small is None else len(self.small.weight)
        if self.small is not None:
            deltas, start = self.small(hidden[:, :split]), 0
            for name in (name for name in self.moves if name != _LARGE):
                width = getattr(canonical, name)[0].numel()
                moved.append((name, deltas[:, start : start + width]))
                start += width
        if self.large is not None:
            moved.append((_LARGE, self.large(hidden[:, split:])))
        for name, delta in moved:
            rest, out = getattr(canonical, name)[row], result[name][frame, row]
            torch.add(rest, delta.reshape(out.shape), out=out)


def _at_once(device: torch.device, batch: int) -> tuple[int, int]:
    """Return how many frames, and rows of each, go through the network at once."""
    if device.type == "cpu":
        return 1, _ROWS_CPU
    frames = max(1, batch)
    return frames, max(1, _ROWS_GPU // frames)


def _side_by_side(layers: list[nn.Linear], dtype: torch.dtype) -> _Dense:
    """Return layers that each hear their own part of the input as one."""
    weight = torch.block_diag(*(layer.weight.T for layer in layers))
    bias = torch.cat([layer.bias for layer in layers])
    spare = -len(bias) % _COLUMNS
    return _Dense(functional.pad(weight, (0, spare)).to(dtype), functional.pad(bias, (0, spare)).to(dtype))


def _linear(layer: nn.Module) -> nn.Linear:
    assert isinstance(layer, nn.Linear)
    return layer
