"""What quality is called here: its name and unit, which way is better, how many digits it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """Writes numbers of one metric. `decimals` suit its scale: 87.02 points, a cosine of 0.9987.

    >>> psnr = Metric("PSNR", "dB", True)
    >>> psnr.change(0.3), psnr.axis
    ('0.30 dB of PSNR lost', '↑ PSNR, dB')
    >>> Metric("error", "mm", False).change(0.3)
    'error 0.30 mm higher'
    """

    name: str
    unit: str
    higher_is_better: bool
    decimals: int = 2

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> Metric:
        """The metric of a run; numbers that stay below two get four decimals."""
        told = summary["task"]["metric"]
        sides = [summary[side].get("quality") for side in ("before", "after")]
        largest = max((abs(value) for value in sides if value is not None), default=100.0)
        decimals = 4 if largest < 2 else 2
        return cls(str(told["name"]), str(told["unit"]), bool(told["higher_is_better"]), decimals)

    def __call__(self, value: float) -> str:
        """The number alone, with a real minus sign."""
        return f"{value:.{self.decimals}f}".replace("-", "−")

    def amount(self, value: float) -> str:
        """The number with its unit."""
        return f"{self(value)} {self.unit}".rstrip()

    def allowed(self, value: float) -> str:
        """A limit as it was asked for: "1 point", "0.5 dB"."""
        unit = self.unit.removesuffix("s") if value == 1 else self.unit
        return f"{value:g} {unit}".rstrip()

    def change(self, drop: float) -> str:
        """A drop in words; below zero it is a gain."""
        size = self.amount(abs(drop))
        if self.higher_is_better:
            return f"{size} of {self.name} {'lost' if drop > 0 else 'gained'}"
        return f"{self.name} {size} {'higher' if drop > 0 else 'lower'}"

    @property
    def title(self) -> str:
        """For the head of a row: "Accuracy, points"; PSNR and mIoU stay as they are."""
        name = self.name[:1].upper() + self.name[1:] if self.name.islower() else self.name
        return ", ".join(filter(None, (name, self.unit)))

    @property
    def axis(self) -> str:
        """For an axis: the arrow points to the better side."""
        return f"{self.arrow} " + ", ".join(filter(None, (self.name, self.unit)))

    @property
    def arrow(self) -> str:
        """Up where higher is better."""
        return "↑" if self.higher_is_better else "↓"
