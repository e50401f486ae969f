"""Rows G10 to G12 (Winograd on N axes) and G21 (Karatsuba, Toom): proofs first, floats last."""

from __future__ import annotations

import doctest
import importlib
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lighten.algebra.bilinear import Bilinear, exact, times, transpose
from lighten.algebra.cook_toom import Point, cook_toom, multiply, toom
from lighten.algebra.points import POINTS, best_points, candidates, growth
from lighten.algebra.straight_line import MultiplyAdd, Subtract, count, parts, run, schedule
from lighten.algebra.winograd import correlate, direct, winograd
from lighten.errors import InputError

MODULES = ("bilinear", "cook_toom", "points", "straight_line", "winograd")
SIZES = [
    pytest.param(m, r, marks=[] if m + r - 1 <= 12 else pytest.mark.soak)
    for m in range(1, 9)
    for r in range(1, 8)
]
INTEGERS = (0, 1, -1, 2, -2, 3, -3, 4, -4)
LAVIN = {  # Lavin & Gray, CVPR 2016, sections 4.1 and 4.3: Bᵀ, G, Aᵀ
    (2, 3): (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], ["1/2", "1/2", "1/2"], ["1/2", "-1/2", "1/2"], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    (4, 3): (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            ["1/4", 0, 0],
            ["-1/6", "-1/6", "-1/6"],
            ["-1/6", "1/6", "-1/6"],
            ["1/24", "1/12", "1/6"],
            ["1/24", "-1/12", "1/6"],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


def integers(m: int, r: int) -> tuple[float, ...]:
    return (*INTEGERS[: m + r - 2], math.inf)


@pytest.mark.parametrize(("m", "r"), SIZES)
def test_the_transforms_compute_correlation_for_all_inputs(m, r):
    f = winograd(m, r)
    assert f.bilinear.proves_correlation(m, r)
    assert f.bilinear.multiplications == f.size == m + r - 1
    assert str(f.points[-1]) == "∞"
    flipped = f.bilinear.transposed()
    assert flipped.proves_product(m, r) and flipped.transposed() == f.bilinear


@pytest.mark.parametrize("which", ["left", "right", "out"])
def test_one_wrong_entry_is_no_proof(which):
    right = winograd(2, 3).bilinear
    parts = {"left": right.left, "right": right.right, "out": right.out}
    rows = [list(row) for row in parts[which]]
    rows[1][1] += Fraction(1, 10**9)
    assert not Bilinear(**(parts | {which: exact(rows)})).proves_correlation(2, 3)


@pytest.mark.parametrize("size", LAVIN, ids=str)
def test_the_published_matrices_up_to_a_factor_per_point(size):
    made = winograd(*size, points=integers(*size)).bilinear
    b, g, a = (exact(matrix) for matrix in LAVIN[size])
    assert Bilinear(b, g, a).proves_correlation(*size)  # as printed
    mine = (made.left, made.right, transpose(made.out))
    for p in range(made.multiplications):
        product = Fraction(1)
        for rows, printed in zip(mine, (b, g, transpose(a)), strict=True):
            factor = next(x / y for x, y in zip(rows[p], printed[p], strict=True) if y)
            assert list(rows[p]) == [factor * y for y in printed[p]]
            product *= factor
        assert product == 1


@pytest.mark.parametrize(("m", "r"), SIZES)
def test_run_time_transforms_are_exact_in_float32_and_centred(m, r):
    f = winograd(m, r)
    b, _, a = f.as_float(np.float32)
    assert exact(b.tolist()) == f.input_transform
    assert exact(a.tolist()) == f.output_transform
    for column in transpose(f.output_transform):
        sizes = [abs(c) for c in column if c]
        assert 1 <= max(sizes) * min(sizes) < 4


@pytest.mark.parametrize(
    "n", [n if n < 8 else pytest.param(n, marks=pytest.mark.soak) for n in POINTS]
)
def test_the_points_are_within_15_percent_of_the_best(n):
    sets = list(candidates(n))
    for r in range(max(1, n - 7), min(7, n) + 1):
        m = n - r + 1
        found = growth(cook_toom(m, r, best_points(m, r)).transposed())
        assert found <= 1.15 * min(growth(cook_toom(m, r, c).transposed()) for c in sets)


def test_growth_ranks_points_as_measured_errors_do():
    made = [winograd(4, 3, points) for points in candidates(6)]
    ranks = [
        np.argsort(np.argsort(values))
        for values in ([growth(f.bilinear) for f in made], [f.error() for f in made])
    ]
    assert np.corrcoef(*ranks)[0, 1] > 0.95


def test_float32_errors_grow_with_the_tile():
    errors = [winograd(m, 3).error() for m in range(2, 9)]
    assert errors == sorted(errors)
    assert errors[0] < 1e-6 and errors[2] < 3e-6 and errors[4] < 1e-5 and errors[6] < 1e-3
    for m in (4, 8):
        assert winograd(m, 3, integers(m, 3)).error() > 1.3 * winograd(m, 3).error()
    assert winograd(6, 3).error(axes=1) < winograd(6, 3).error(axes=2)


@st.composite
def cases(draw):
    axes = draw(st.integers(1, 3))
    most = (6, 4, 2)[axes - 1]
    algorithms = [
        winograd(draw(st.integers(1, most)), draw(st.integers(1, most))) for _ in range(axes)
    ]
    spatial = [f.taps + draw(st.integers(0, 2 * most)) for f in algorithms]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    batch, channels, kernels = (draw(st.integers(1, 2)) for _ in range(3))
    x = rng.integers(-99, 99, (batch, channels, *spatial))
    w = rng.integers(-99, 99, (kernels, channels, *(f.taps for f in algorithms)))
    return x, w, algorithms


@given(cases())
@settings(max_examples=40, deadline=None)
def test_tiles_of_any_number_of_axes_equal_direct_correlation(case):
    x, w, algorithms = case
    y = correlate(x, w, algorithms)
    assert y.dtype == np.int64 and np.array_equal(y, direct(x, w))
    floats = correlate(x.astype(float), w.astype(float), algorithms)
    assert np.allclose(floats, y, rtol=0, atol=1e-6)


def test_direct_correlation_is_its_definition():
    x, w = np.arange(2 * 3 * 5 * 4).reshape(2, 3, 5, 4), np.arange(36).reshape(2, 3, 2, 3)
    y = direct(x, w)
    assert y.shape == (2, 2, 4, 2)
    assert y[1, 0, 2, 1] == (x[1, :, 2:4, 1:4] * w[0]).sum()


@pytest.mark.parametrize("sizes", [((6, 3), (6, 3)), ((2, 7), (8, 1)), ((4, 3), (2, 5), (3, 2))])
def test_kernels_that_are_not_square_in_float32(sizes):
    algorithms = [winograd(m, r) for m, r in sizes]
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 8, *(17 + d for d in range(len(sizes)))))
    w = rng.normal(size=(5, 8, *(r for _, r in sizes)))
    y = correlate(x.astype(np.float32), w.astype(np.float32), algorithms)
    assert y.dtype == np.float32
    assert np.abs(y - direct(x, w)).max() < 1e-4 * np.abs(y).max()


@pytest.mark.parametrize("m", range(2, 9))
def test_a_program_falls_into_parts_that_make_nothing_twice(m: int) -> None:
    f = winograd(m, 3)
    for matrix in (f.input_transform, f.output_transform):
        whole = schedule(matrix)
        found = parts(whole)
        assert sum(count(part.program) for part in found) == count(whole)
        assert len(found) > 1
        x = [Fraction(n * n + 1, n + 2) for n in range(whole.inputs)]
        results = {
            output: value
            for part in found
            for output, value in zip(
                part.outputs, run(part.program, [x[n] for n in part.reads]), strict=True
            )
        }
        assert [results[n] for n in range(len(whole.outputs))] == list(run(whole, x))


@pytest.mark.parametrize(("m", "r"), SIZES)
def test_schedules_compute_their_matrices_exactly(m, r):
    f = winograd(m, r)
    for matrix in (f.input_transform, f.kernel_transform, f.output_transform):
        unit = list(np.eye(len(matrix[0]), dtype=int).astype(object))
        program = schedule(matrix)
        assert exact(run(program, unit)) == matrix  # on every unit vector, so on every vector
        terms = sum(map(bool, (c for row in matrix for c in row)))
        assert count(program) <= terms


def test_schedules_are_as_short_as_those_written_by_hand():
    costs = {
        (m, 3, points): [
            count(schedule(matrix)) for matrix in (f.input_transform, f.output_transform)
        ]
        for m in (2, 4, 6)
        for points in ("best", "integers")
        for f in [winograd(m, 3, integers(m, 3) if points == "integers" else None)]
    }
    assert costs[2, 3, "best"] == [4, 4]
    assert costs[4, 3, "best"] == costs[4, 3, "integers"] == [12, 10]
    assert costs[6, 3, "best"] == [24, 20]


def test_a_schedule_fuses_shares_and_says_what_it_does():
    program = schedule(exact([[1, 2, 0], [1, 2, -1], [0, 0, 1]]))
    assert program.steps == (MultiplyAdd(3, 1, Fraction(2), 0), Subtract(4, 3, 2))
    assert program.outputs == (3, 4, 2)
    assert str(program) == "v3 = v1 * 2 + v0\nv4 = v3 - v2"
    floats = run(program, list(np.ones((3, 4), np.float32)), float)
    assert [y.dtype for y in floats] == [np.float32] * 3 and floats[1].tolist() == [2.0] * 4
    with pytest.raises(InputError, match="3 inputs, but got 2"):
        run(program, [1, 2])
    with pytest.raises(InputError, match="rows and columns"):
        schedule(())


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.lists(
            st.lists(st.sampled_from([-2, -1, 0, 0, 1, 2, 3]), min_size=n, max_size=n),
            min_size=1,
            max_size=6,
        )
    )
)
@settings(max_examples=100, deadline=None)
def test_any_matrix_can_be_scheduled(rows):
    matrix = exact(rows)
    x = [Fraction(7**j, 3) for j in range(len(rows[0]))]
    program = schedule(matrix)
    assert run(program, x) == times(matrix, x)
    assert count(program) <= sum(max(1, sum(map(bool, row))) for row in rows)
    made = [step.target for step in program.steps]
    assert made == list(range(program.inputs, program.inputs + len(made)))


@pytest.mark.parametrize("parts", range(1, 7))
def test_toom_multiplies_polynomials(parts):
    algorithm = toom(parts)
    assert algorithm.proves_product(parts, parts)
    assert algorithm.multiplications == 2 * parts - 1
    rng = np.random.default_rng(parts)
    a, b = (rng.integers(-(2**20), 2**20, parts).tolist() for _ in range(2))
    assert list(algorithm.apply(a, b)) == np.convolve(a, b).tolist()


def test_karatsuba_takes_three_products_for_four():
    assert toom(2).multiplications == 3 and toom(2).proves_product(2, 2)
    assert len(toom(2).left) == 3 and not toom(2).proves_correlation(2, 2)


@given(st.integers(-(2**700), 2**700), st.integers(-(2**900), 2**900), st.integers(2, 5))
@settings(max_examples=40, deadline=None)
def test_long_multiplication_is_exact(x, y, parts):
    assert multiply(x, y, toom(parts)) == x * y


def test_points_lie_on_a_projective_line():
    assert [str(Point.of(x)) for x in (0, -0.75, math.inf, -math.inf)] == ["0", "-3/4", "∞", "∞"]
    assert Point.of(Fraction(3, 2)).powers(3) == (4, 6, 9)


def test_what_cannot_be_is_said():
    with pytest.raises(InputError, match="1 is given more than once"):
        winograd(2, 3, (0, 1, 1, math.inf))
    with pytest.raises(InputError, match="need 4 points, but got 3"):
        winograd(2, 3, (0, 1, -1))
    with pytest.raises(InputError, match="15 points"):
        winograd(9, 7)
    with pytest.raises(InputError, match="0 points"):
        winograd(0, 1)
    with pytest.raises(InputError, match="equally many, but got 1, 1"):
        Bilinear(exact([[1]]), exact([[1]]), exact([[1, 1]]))
    with pytest.raises(InputError, match="none of them zero"):
        toom(1).scaled([Fraction(1)], [Fraction(0)])
    for shapes in (((1, 1, 2), (1, 1, 3)), ((1, 2, 9), (1, 1, 3)), ((1, 1, 9), (1, 1, 2))):
        with pytest.raises(InputError, match="no axis of x shorter than its taps"):
            correlate(*map(np.ones, shapes), [winograd(2, 3)])


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_the_room_are_true(name):
    found = doctest.testmod(importlib.import_module(f"lighten.algebra.{name}"))
    assert found.attempted > 0 and not found.failed


def test_the_room_shows_itself():
    command = [sys.executable, "-m", "lighten.algebra.winograd"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "2.25x" in shown.stdout and "4.00x" in shown.stdout and not shown.stderr
