"""BatchNorm that stops following its batches before the end (row B10: the last stage)."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class FreezeNorms:
    """A hook: from `share` of the run on, statistics are those gathered before, and stay.

    What is trained from then on is what runs after folding, batch noise gone (Krishnamoorthi
    2018, section 3.2.2).
    """

    def __init__(self, module: nn.Module, steps: int, share: float = 0.8) -> None:
        self.norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
        self.first = round(share * steps)

    def before_step(self, step: int) -> None:
        """Eval mode for the norms alone."""
        if step >= self.first:
            for norm in self.norms:
                norm.eval()

    def after_step(self, step: int) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
