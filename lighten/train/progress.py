"""What the loop says while it trains, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Where a run stands: after `step` of `steps`.

    `loss` is that of the step, `quality` the latest on `valid` (None before the first), and
    `images_per_second` counts the training samples of this call, without time spent validating.
    """

    step: int
    steps: int
    loss: float
    lr: float
    images_per_second: float
    quality: float | None = None


@dataclass(frozen=True)
class History:
    """What happened: plain values, so that it can be written down.

    `losses` has one number per step; `valid` has (step, quality in the metric's unit) pairs;
    `signals` and `precision` are what was really used; `seconds` is the time of all calls together.
    """

    steps: int = 0
    losses: tuple[float, ...] = ()
    valid: tuple[tuple[int, float], ...] = ()
    signals: tuple[tuple[str, float], ...] = ()
    precision: str = "float32"
    seconds: float = 0.0
    images_per_second: float = 0.0

    @property
    def quality(self) -> float | None:
        """The last quality on `valid`, or None where it was never asked."""
        return self.valid[-1][1] if self.valid else None

    def as_dict(self) -> dict[str, Any]:
        """Plain lists and numbers; `History.from_dict` reads them back."""
        plain = asdict(self)
        for name in ("losses", "valid", "signals"):
            value = plain[name]
            plain[name] = [list(v) if isinstance(v, tuple) else v for v in value]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> History:
        """Read what `as_dict` wrote."""
        return cls(
            **{
                **data,
                "losses": tuple(data["losses"]),
                "valid": tuple((int(step), quality) for step, quality in data["valid"]),
                "signals": tuple((name, weight) for name, weight in data["signals"]),
            }
        )
