"""The viseme network in torch, its training, and its export to what runs without torch."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional
from tqdm import trange
from viseme_augment import Clip

from marotte.models.viseme.mel import BANDS
from marotte.models.viseme.network import DELAY, FORMAT, TAPS
from marotte.models.viseme.phones import BILABIALS, OPENNESS, PHONES, mask

CHANNELS = 192
DILATIONS = (1, 2, 4, 8, 16, 1, 2, 4, 8, 16, 1, 2)

BATCH, ROWS = 32, 200
WARM_ROWS = 25  # without loss, for what the network has not heard before a crop begins
RATE, DECAY, DROPOUT = 2e-3, 0.02, 0.05
AVERAGE = 0.9995
OUTPUTS = len(PHONES) + 2


class Network(nn.Module):
    """x [B, 80, T] to logits, voicing and effort [B, 31, T]; batch normalisation is folded away in the export."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2 * BANDS, CHANNELS, TAPS)
        self.taps = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, TAPS, dilation=step) for step in DILATIONS)
        self.norms = nn.ModuleList(nn.BatchNorm1d(CHANNELS) for _ in DILATIONS)
        self.mixes = nn.ModuleList(nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in DILATIONS)
        self.last = nn.Conv1d(CHANNELS, OUTPUTS, 1)
        for mix in self.mixes:
            nn.init.normal_(mix.weight, std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what each row says of the row DELAY before it."""
        h = self.first(functional.pad(x, (TAPS - 1, 0)))
        for step, taps, norm, mix in zip(DILATIONS, self.taps, self.norms, self.mixes, strict=True):
            seen = functional.pad(functional.relu(h), ((TAPS - 1) * step, 0))
            h = h + mix(functional.dropout(functional.relu(norm(taps(seen))), DROPOUT, self.training))
        return self.last(functional.relu(h))


@dataclass(frozen=True)
class Batch:
    """x [B, 80, T]; phone [B, T]; voicing, effort [B, T]; the rows' labels, DELAY rows late like the network."""

    x: torch.Tensor
    phone: torch.Tensor
    voicing: torch.Tensor
    effort: torch.Tensor


class Crops:
    """Random crops of clips that lie end to end, drawn from each source by its share."""

    def __init__(self, sources: list[tuple[float, Clip]], seed: int) -> None:
        self._sources = [source for _, source in sources]
        shares = np.array([share for share, _ in sources])
        self._shares = shares / shares.sum()
        self._rng = np.random.default_rng(seed)

    def draw(self, *, vary: bool = True) -> Batch:
        """Return a batch; `vary` bends spectra: vocal tracts, microphones, missing bands."""
        rng, frames = self._rng, 2 * ROWS
        mels = np.empty((BATCH, frames, BANDS), np.float32)
        labels = np.empty((3, BATCH, ROWS), np.float32)
        for index, which in enumerate(rng.choice(len(self._sources), BATCH, p=self._shares)):
            source = self._sources[which]
            start = rng.integers(2 * DELAY, len(source.phone) - frames)
            mels[index] = source.mels[start : start + frames]
            named = slice(start - 2 * DELAY, start + frames - 2 * DELAY, 2)
            labels[:, index] = source.phone[named], source.voicing[named], source.effort[named]
        if vary:
            mels = _vary(mels, rng)
        x = torch.from_numpy(mels.reshape(BATCH, ROWS, 2 * BANDS)).transpose(1, 2)
        phone, voicing, effort = torch.from_numpy(labels)
        return Batch(x, phone.long(), voicing, effort)


def train(crops: Crops, steps: int, seed: int, log: Path, report_every: int = 200) -> Network:
    """Return the network after so many steps: its weights averaged, its normalisation measured anew.

    log: gets a line with the mean loss every `report_every` steps.
    """
    torch.manual_seed(seed)
    network = Network()
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.03)
    began, total = time.monotonic(), 0.0
    with log.open("a") as file:
        for step in trange(1, steps + 1, desc="training"):
            batch = crops.draw()
            with torch.autocast("cpu", torch.bfloat16):
                out = network(batch.x)
            loss = objective(out.float(), batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            total += loss.item()
            if step % report_every == 0:
                print(
                    f"step {step} loss {total / report_every:.4f} after {time.monotonic() - began:.0f} s",
                    file=file,
                    flush=True,
                )
                total = 0.0
    whole: Network = average.module
    _measure_norms(whole, crops, min(100, steps))
    return whole.eval()


def objective(out: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the loss: phones, and what the mouth makes of them: openness and closure; voicing and effort."""
    out = out[:, :, WARM_ROWS:]
    phone, voicing, effort = (part[:, WARM_ROWS:] for part in (batch.phone, batch.voicing, batch.effort))
    logits = out[:, : len(PHONES)]
    chances = logits.softmax(1)
    openness = torch.from_numpy(OPENNESS)
    shut = torch.from_numpy(mask(BILABIALS).astype(np.float32))
    opened = (chances * openness[None, :, None]).sum(1)
    closed = (chances * shut[None, :, None]).sum(1).clamp(1e-4, 1 - 1e-4)
    wanted = shut[phone]
    return (
        functional.cross_entropy(logits, phone, label_smoothing=0.03)
        + 2 * functional.mse_loss(opened, openness[phone])
        + 0.5 * functional.binary_cross_entropy(closed, wanted, weight=1 + wanted)
        + 0.2 * functional.binary_cross_entropy_with_logits(out[:, -2], voicing)
        + functional.mse_loss(out[:, -1].sigmoid(), effort)
    )


def accuracy(network: Network, batches: list[Batch]) -> dict[str, float]:
    """Return shares of right phones, and recall and precision of bilabials, by row."""
    right = rows = hit = said = heard = 0
    shut = torch.from_numpy(mask(BILABIALS))
    with torch.no_grad():
        for batch in batches:
            guess = network(batch.x)[:, : len(PHONES), WARM_ROWS:].argmax(1)
            phone = batch.phone[:, WARM_ROWS:]
            right += int((guess == phone).sum())
            rows += phone.numel()
            hit += int((shut[guess] & shut[phone]).sum())
            said += int(shut[phone].sum())
            heard += int(shut[guess].sum())
    return {"phones": right / rows, "bilabial recall": hit / max(said, 1), "precision": hit / max(heard, 1)}


def export(network: Network, filters: np.ndarray, path: Path, about: dict[str, str]) -> None:
    """Write the network as float16 .safetensors, batch normalisation folded into the taps before it."""
    arrays = {"filters": filters, **_layer("first", network.first.weight, network.first.bias)}
    for index, (taps, norm, mix) in enumerate(zip(network.taps, network.norms, network.mixes, strict=True)):
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = (taps.bias - norm.running_mean) * scale + norm.bias
        arrays |= _layer(f"blocks.{index}.taps", taps.weight * scale[:, None, None], bias)
        arrays |= _layer(f"blocks.{index}.mix", mix.weight, mix.bias)
    arrays |= _layer("last", network.last.weight, network.last.bias)
    half = {name: np.ascontiguousarray(array, np.float16) for name, array in arrays.items()}
    dilations = ",".join(str(step) for step in DILATIONS)
    part = path.with_suffix(".part")
    save_file(half, part, {"format": FORMAT, "dilations": dilations, "phones": " ".join(PHONES), **about})
    part.rename(path)


def _layer(name: str, weight: torch.Tensor, bias: torch.Tensor) -> dict[str, np.ndarray]:
    """Return a convolution [O, I, K] as the product that inference makes of it: [K I, O], the oldest tap first."""
    flat = weight.detach().permute(2, 1, 0).reshape(-1, weight.shape[0])
    return {f"{name}.weight": flat.numpy(), f"{name}.bias": bias.detach().numpy()}


def _vary(mels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return mels [B, N, 40] of other vocal tracts and microphones, with a band gone now and then."""
    band = np.arange(BANDS)
    out = np.empty_like(mels)
    for index, frames in enumerate(mels):
        if rng.random() < 0.6:
            source = np.clip(band * rng.uniform(0.88, 1.14) + rng.uniform(-0.5, 0.5), 0, BANDS - 1)
            low = np.minimum(source.astype(int), BANDS - 2)
            share = (source - low).astype(np.float32)
            frames = frames[:, low] * (1 - share) + frames[:, low + 1] * share
        bends = sum(
            rng.normal(0, 0.12) * np.cos(np.pi * (k + 1) * band / BANDS + rng.uniform(0, 6.3)) for k in range(4)
        )
        frames = frames + np.asarray(bends, np.float32)
        if rng.random() < 0.25:
            start, width = rng.integers(0, BANDS - 6), rng.integers(2, 7)
            frames[:, start : start + width] = frames.mean()
        for _ in range(rng.integers(0, 3)):
            start, length = rng.integers(0, len(frames) - 6), rng.integers(1, 6)
            frames[start : start + length] = frames[start]
        out[index] = frames
    return out


def _measure_norms(network: Network, crops: Crops, batches: int) -> None:
    """Measure the statistics of batch normalisation for the averaged weights."""
    network.train()
    for norm in network.norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    with torch.no_grad():
        for _ in range(batches):
            network(crops.draw().x)
