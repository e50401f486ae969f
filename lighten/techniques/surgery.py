"""What leaves a network, collected from all techniques so that it leaves in one cut."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Surgery:
    """Being planned: of each group in `keep` only those slices stay; the blocks in `drop` go."""

    keep: dict[str, tuple[int, ...]] = field(default_factory=dict)
    drop: list[str] = field(default_factory=list)
