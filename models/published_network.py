"""What the published networks have in common: inference only, loaded in place, shortened in parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from marotte.models.precision import keep_precision


class PublishedNetwork(nn.Module):
    """A network with the published names in its state_dict, always in eval mode.

    shortened: the children whose numbers `to(bfloat16)` and the like shorten; the rest stays as it is.
    """

    shortened: tuple[str, ...] = ()

    @classmethod
    def in_place(
        cls,
        entries: dict[str, Tensor],
        path: Path,
        assign: Callable[[nn.Module, Any, Path], None],
        device: str | torch.device,
        dtype: torch.dtype,
        *arguments: Any,
    ) -> Self:
        """Return the network of a checkpoint's entries, whose memory it takes over where they are float32.

        The entries are empty afterwards. assign: checks the entries and makes them the module's own; arguments: of the
        module. On the CPU in another type, what stays float32 is copied, so that nothing holds the map of a file that
        is otherwise not needed.
        """
        with torch.device("meta"):
            model = cls(*arguments)
        assign(model, entries, path)
        entries.clear()  # so that what is converted next is held by nobody else
        model = model.to(device=device, dtype=dtype)
        if torch.device(device).type == "cpu" and dtype != torch.float32:
            model._apply(Tensor.clone)
        return model

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: dropout and the like would change the values."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert as `to` asks, but shorten the numbers of the children in `shortened` only."""
        kept = keep_precision(fn)
        if recurse:
            for name, child in self.named_children():
                child._apply(fn if name in self.shortened else kept)
        return super()._apply(kept, recurse=False)
