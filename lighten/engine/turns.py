"""How many samples run at a time: a large batch is better taken in turns that the caches hold."""

from __future__ import annotations

from lighten.engine.steps import Plan, Step

NEAR = 1 << 20  # bytes that the second cache of a core holds
KEPT = 8 << 20  # bytes of weights that are still in the last cache when the next turn comes


def samples(plan: Plan, each: int, weights: int, threads: int = 1) -> int:
    """As many samples, of `each` so many bytes at a time, as the second caches hold; 0 for all at
    once: where none fits, or where the `weights`, in bytes, that every turn reads again are more
    than what of the values then stays near.
    """
    fitting = NEAR // max(each, 1)
    moved = sum(
        plan.layouts[name].sample
        for step in plan.steps
        if isinstance(step, Step)
        for name in step.arguments
        if name in plan.layouts
    )
    return fitting * threads if weights < min(KEPT, fitting * moved) else 0
