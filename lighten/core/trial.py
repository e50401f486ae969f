"""What was measured: a score with its spread, and a recipe with its score or its failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lighten.core.recipe import Recipe


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call: the median of `runs` timings and half their interquartile range."""

    median_ms: float
    spread_ms: float
    runs: int


@dataclass(frozen=True)
class Score:
    """What one network is worth. Quality in the metric's unit, latency in ms, size in bytes."""

    quality: float | None = None
    quality_interval: Interval | None = None
    latency_ms: float | None = None
    latency_spread_ms: float | None = None
    bytes: int | None = None
    macs: int | None = None
    parameters: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values; the interval as a `[low, high]` pair."""
        plain = asdict(self)
        interval = self.quality_interval
        plain["quality_interval"] = [interval.low, interval.high] if interval else None
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Score:
        """Read what `as_dict` wrote."""
        interval = data.get("quality_interval")
        return cls(**{**data, "quality_interval": Interval(*interval) if interval else None})


@dataclass(frozen=True)
class Trial:
    """A recipe and what came of it: a score, or the reason it failed.

    `stage` says where in the search it was tried: "verify" (short training) or "finish".
    `predicted` is what the models said before anything was measured.
    """

    recipe: Recipe
    score: Score | None
    stage: str
    predicted: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain values; `Trial.from_dict` reads them back."""
        return {
            "recipe": self.recipe.as_dict(),
            "score": self.score.as_dict() if self.score else None,
            "stage": self.stage,
            "predicted": dict(self.predicted),
            "failure": self.failure,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """Read what `as_dict` wrote."""
        score = Score.from_dict(data["score"]) if data["score"] else None
        return cls(
            Recipe.from_dict(data["recipe"]),
            score,
            data["stage"],
            data["predicted"],
            data["failure"],
            data["seconds"],
        )
