"""The integer program against brute force, on problems small enough to try every choice."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from lighten.search import milp
from lighten.search.problem import Choice, Node, Problem, Term, Total


def small(seed: int, blocks: bool = True) -> Problem:
    """Three groups along a chain, a stream that two of them share, bits per op, one block."""
    rng = np.random.default_rng(seed)
    widths = (16.0, 12.0, 8.0, 4.0)
    loss = [np.concatenate([[0.0], np.sort(rng.uniform(0.01, 1, 3))]) for _ in range(3)]
    nodes = [Node(f"g{i}", widths, tuple(loss[i])) for i in range(3)]
    nodes.append(Node("bits", (32.0, 8.0), (0.0, float(rng.uniform(0, 0.1)))))
    nodes.append(Node("block", (1.0, 0.0), (0.0, float(rng.uniform(0.3, 1)))))
    grid = tuple(float(w) for w in range(16, 49, 4))
    stream = Total(8.0, ((0, 1.0), (1, 1.0)), grid)
    outer = np.multiply.outer

    def time(a: tuple[float, ...], b: tuple[float, ...]) -> np.ndarray:
        return 1.0 + outer(np.ceil(np.array(a) / 8), np.array(b)) * rng.uniform(0.5, 1.5)

    terms = [
        Term("a", (0, 2), {"ms": time(widths, widths), "bytes": outer(widths, widths)}),
        Term("b", (5, 2, 3), {"ms": time(grid, widths)[..., None] * np.array([1.0, 0.4])}),
        Term("c", (5,), {"ms": np.array(grid) * 0.1}),
        Term("d", (1, 2), {"ms": time(widths, widths)}, ((4, 1),) if blocks else ()),
        Term("e", (), {"ms": np.array(3.0)}, ((4, 1),)),
    ]
    return Problem(tuple(nodes), tuple(terms), (stream,), {"ms": 2.0, "bytes": 10.0})


def every(problem: Problem) -> list[Choice]:
    return list(itertools.product(*(range(len(n.widths)) for n in problem.nodes)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_equals_brute_force(seed: int, share: float) -> None:
    problem = small(seed)
    limits = {
        "ms": share * problem.cost(problem.mildest, "ms"),
        "bytes": 0.7 * problem.cost(problem.mildest, "bytes"),
    }
    best = min((c for c in every(problem) if problem.meets(c, limits)), key=problem.loss)
    found = milp.solve(problem, limits)
    assert found.meets
    assert found.loss == pytest.approx(problem.loss(best), rel=2e-3, abs=1e-6)
    assert found.gap <= 2e-3
    assert found.costs["ms"] <= limits["ms"] * (1 + 1e-6)


def test_no_limit_changes_nothing() -> None:
    problem = small(1)
    assert milp.solve(problem, {"ms": 1e9}).choice == problem.mildest


def test_impossible_limit_gives_the_nearest() -> None:
    problem = small(2)
    found = milp.solve(problem, {"ms": 0.5})
    fastest = min(problem.cost(c, "ms") for c in every(problem))
    assert not found.meets
    assert found.costs["ms"] == pytest.approx(fastest, rel=1e-3)
    assert "not met" in str(found)


def test_forbidden_choices_are_far_away() -> None:
    problem = small(3)
    limits = {"ms": 0.4 * problem.cost(problem.mildest, "ms")}
    first = milp.solve(problem, limits)
    second = milp.solve(
        problem, limits, away=[milp.Away(first.choice, tuple(range(len(first.choice))), 2)]
    )
    apart = sum(a != b for a, b in zip(first.choice, second.choice, strict=True))
    assert second.meets
    assert apart >= 2
    assert second.loss >= first.loss - 1e-9


def test_what_the_solver_prints_is_swallowed_and_ours_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    print("before")
    with milp._hushed():
        os.write(1, b"chatter")
    print("after")
    assert capfd.readouterr().out == "before\nafter\n"
    with pytest.raises(ValueError, match="inside"), milp._hushed():
        raise ValueError("inside")
    print("still there")
    assert capfd.readouterr().out == "still there\n"
