"""What is wanted: time, size and work as "0.25x" or absolute, and the drop that is allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from lighten.errors import BudgetError

# unit → factor into the unit that is stored (milliseconds, bytes, multiply-accumulates)
UNITS: dict[str, dict[str, float]] = {
    "latency": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "size": {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 1024.0, "mib": 1024.0**2},
    "macs": {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "mmac": 1e6, "gmac": 1e9},
}
EXAMPLE = {"latency": "0.25x or 2ms", "size": "0.2x or 300kB", "macs": "0.5x or 20M"}
NUMBER = re.compile(r"^\s*([-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([a-zA-Z]*)\s*$")


@dataclass(frozen=True)
class Limit:
    """An upper bound, absolute or relative to the network that was given."""

    amount: float
    relative: bool

    @classmethod
    def parse(cls, quantity: str, text: str) -> Limit:
        """Read "0.25x", "2ms", "300kB", "20M". Raises `BudgetError` on anything else.

        >>> Limit.parse("latency", "500us")
        Limit(amount=0.5, relative=False)
        """
        match = NUMBER.match(text)
        units = UNITS[quantity]
        unit = match[2].lower() if match else ""
        if not match or (unit != "x" and unit not in units):
            raise BudgetError(
                f"The {quantity} limit must look like {EXAMPLE[quantity]}, but got {text!r}."
            )
        amount = float(match[1])
        if amount <= 0:
            raise BudgetError(
                f"The {quantity} limit must be above zero, but got {text!r}: no network meets it."
            )
        return cls(amount, True) if unit == "x" else cls(amount * units[unit], False)

    def against(self, before: float) -> float:
        """The bound in absolute terms, given what the original network takes."""
        return self.amount * before if self.relative else self.amount


@dataclass(frozen=True)
class Budget:
    """The bounds to meet: latency in milliseconds, size in bytes, work in MACs.

    `drop` is in the metric's own unit, such as points or dB.

    >>> Budget(latency="0.25x", drop=0.5).latency
    Limit(amount=0.25, relative=True)
    """

    latency: Limit | str | None = None
    size: Limit | str | None = None
    macs: Limit | str | None = None
    drop: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, str):
                object.__setattr__(self, field.name, Limit.parse(field.name, value))
        if not (0 <= self.drop < float("inf")):
            raise BudgetError(f"The drop allowed must be zero or more, but got {self.drop}.")
        if not self.limits():
            raise BudgetError(
                "A budget needs at least one limit, but got none.",
                "Give --latency 0.33x, --size 0.2x or --macs 0.5x.",
            )

    def limits(self) -> dict[str, Limit]:
        """The limits that were given, by quantity."""
        named = {"latency": self.latency, "size": self.size, "macs": self.macs}
        return {name: limit for name, limit in named.items() if isinstance(limit, Limit)}

    def as_dict(self) -> dict[str, float | str]:
        """The limits as they would be typed, for reports."""
        typed: dict[str, float | str] = {
            name: f"{limit.amount:g}x" if limit.relative else limit.amount
            for name, limit in self.limits().items()
        }
        return {**typed, "drop": self.drop}
