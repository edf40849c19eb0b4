"""How each Gaussian listens to a frame's tokens, in the plain form."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from marotte.models.gaussian_talker.config import TalkerConfig

EPS = 1e-12


class Listening(nn.Module):
    """Attention from Gaussians to tokens, heads along the slow axis of the width."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        width = config.d_model
        self.heads = config.n_head
        self.w_q = nn.Linear(width, width)
        self.w_k = nn.Linear(width, width)
        self.w_v = nn.Linear(width, width)
        self.w_concat = nn.Linear(width, width)

    def weights(self, h: Tensor, tokens: Tensor) -> Tensor:
        """Return how much each head of Gaussians [B, P, C] listens to tokens [B, T, C]: [B, heads, P, T]."""
        q, k = self._split(self.w_q(h)), self._split(self.w_k(tokens))
        return torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)

    def forward(self, h: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return what Gaussians [B, P, C] hear of tokens [B, T, C], and the weights [B, heads, P, T]."""
        weights = self.weights(h, tokens)
        heard = weights @ self._split(self.w_v(tokens))
        return self.w_concat(heard.transpose(1, 2).flatten(2)), weights

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Norm(nn.Module):
    """Layer normalisation with the published names and its tiny eps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.beta = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [..., C] with mean 0 and deviation 1, then scaled and moved."""
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, unbiased=False, keepdim=True)
        return self.gamma * ((x - mean) / torch.sqrt(variance + EPS)) + self.beta


class FeedForward(nn.Module):
    """Two layers for each Gaussian by itself."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.linear1 = nn.Linear(config.d_model, config.ffn_hidden)
        self.linear2 = nn.Linear(config.ffn_hidden, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., C] of [..., C]."""
        return self.linear2(functional.relu(self.linear1(x)))


class Layer(nn.Module):
    """One layer: listen, then think it over."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.enc_dec_attention = Listening(config)
        self.norm1 = Norm(config.d_model)
        self.ffn = FeedForward(config)
        self.norm2 = Norm(config.d_model)

    def forward(self, h: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [B, P, C] after this layer and the attention [B, P, T], its heads' mean."""
        heard, weights = self.enc_dec_attention(h, tokens)
        h = self.norm1(heard + h)
        return self.norm2(self.ffn(h) + h), weights.mean(dim=1)


class Transformer(nn.Module):
    """The layers; all of them hear the same tokens."""

    def __init__(self, config: TalkerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(config) for _ in range(config.n_layer)])

    def forward(self, h: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states [B, P, C] of Gaussians that heard tokens [B, T, C], and the attention [B, layers, P, T]."""
        maps = []
        for layer in self.layers:
            h, attention = layer(h, tokens)
            maps.append(attention)
        return h, torch.stack(maps, dim=1)
