"""A matrix as a straight-line program: additions and fused multiply-adds, shared where they can be.

The transforms of a Winograd convolution are small constant matrices applied to vectors of tiles.
Written out term by term the 6 × 6 one of F(4, 3) takes 16 operations; the usual hand-written form
takes 12. `schedule` finds such forms: as long as two rows hold the same pair of values in the
same ratio, that pair becomes a value of its own (Paar 1997, with ratios; the rows of points x and
−x share their even and odd halves, so those are found first). An operation is what a vector unit
issues as one: `a + b`, `a − b`, `a · factor`, `a · factor + b`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import Any

from lighten.algebra.bilinear import Matrix
from lighten.errors import InputError


@dataclass(frozen=True)
class Add:
    """value[target] = value[a] + value[b]"""

    target: int
    a: int
    b: int


@dataclass(frozen=True)
class Subtract:
    """value[target] = value[a] − value[b]"""

    target: int
    a: int
    b: int


@dataclass(frozen=True)
class Scale:
    """value[target] = value[a] · factor"""

    target: int
    a: int
    factor: Fraction


@dataclass(frozen=True)
class MultiplyAdd:
    """value[target] = value[a] · factor + value[b]"""

    target: int
    a: int
    factor: Fraction
    b: int


Step = Add | Subtract | Scale | MultiplyAdd
Row = dict[int, Fraction]  # value → its coefficient, never zero
Pair = tuple[int, int, Fraction]  # i, j, and the coefficient of j over that of i


@dataclass(frozen=True)
class StraightLine:
    """Steps over numbered values: 0 … inputs − 1 are given, each step makes the next number.

    `outputs` says which values are the results; a result may be an input, or appear twice.
    """

    inputs: int
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    def __str__(self) -> str:
        return "\n".join(_text(step) for step in self.steps)


@dataclass(frozen=True)
class Part:
    """Some of the results of a program, and all that takes to make them: `program` on the inputs
    that it `reads` finds the results number `outputs`.
    """

    reads: tuple[int, ...]
    program: StraightLine
    outputs: tuple[int, ...]


def schedule(matrix: Matrix) -> StraightLine:
    """Steps that compute `matrix @ x` exactly, in as few operations as greedy sharing finds.

    Deterministic. Raises `InputError` on a matrix without rows or columns.

    >>> one, two = Fraction(1), Fraction(2)
    >>> print(schedule(((one, two, one), (one, two, -one))))
    v3 = v1 * 2 + v0
    v4 = v2 + v3
    v5 = v3 - v2
    """
    if not matrix or not matrix[0]:
        raise InputError("A matrix to schedule must have rows and columns.")
    inputs = len(matrix[0])
    rows = [{j: c for j, c in enumerate(row) if c} for row in matrix]
    steps = _shared(rows, inputs)
    outputs = []
    for row in rows:
        made = _sum(row, inputs + len(steps))
        steps += made
        outputs.append(made[-1].target if made else next(iter(row)))
    return StraightLine(inputs, tuple(steps), tuple(outputs))


def count(program: StraightLine) -> int:
    """How many operations a run takes, a multiply-add being one."""
    return len(program.steps)


def parts(program: StraightLine) -> tuple[Part, ...]:
    """The program cut into as many as need no step twice: results that share a step stay together.

    >>> one, none = Fraction(1), Fraction(0)
    >>> apart = schedule(((one, one, none), (none, none, one)))
    >>> [(part.reads, part.outputs) for part in parts(apart)]
    [((0, 1), (0,)), ((2,), (1,))]
    """
    steps = {step.target: step for step in program.steps}
    groups: list[tuple[list[int], set[int]]] = []
    for number, output in enumerate(program.outputs):
        numbers, needed = [number], _needed(steps, output)
        apart = []
        for others, known in groups:
            if known & needed & steps.keys():
                numbers, needed = others + numbers, needed | known
            else:
                apart.append((others, known))
        groups = [*apart, (numbers, needed)]
    return tuple(_part(program, numbers, needed) for numbers, needed in sorted(groups))


def _needed(steps: Mapping[int, Step], value: int) -> set[int]:
    """A value, and all that it is made of."""
    found, left = set(), [value]
    while left:
        found.add(value := left.pop())
        left += _operands(steps[value]) if value in steps else ()
    return found


def _operands(step: Step) -> tuple[int, ...]:
    return (step.a,) if isinstance(step, Scale) else (step.a, step.b)


def _part(program: StraightLine, numbers: Sequence[int], needed: set[int]) -> Part:
    reads = sorted(value for value in needed if value < program.inputs)
    made = [step for step in program.steps if step.target in needed]
    new = {old: at for at, old in enumerate([*reads, *(step.target for step in made)])}
    steps = tuple(_renumbered(step, new) for step in made)
    outputs = tuple(new[program.outputs[number]] for number in numbers)
    return Part(tuple(reads), StraightLine(len(reads), steps, outputs), tuple(numbers))


def _renumbered(step: Step, new: Mapping[int, int]) -> Step:
    target, a = new[step.target], new[step.a]
    match step:
        case Scale():
            return replace(step, target=target, a=a)
        case Add() | Subtract() | MultiplyAdd():
            return replace(step, target=target, a=a, b=new[step.b])


def run(
    program: StraightLine,
    values: Sequence[Any],
    constant: Callable[[Fraction], Any] = lambda factor: factor,
    multiply_add: Callable[[Any, Any, Any], Any] = lambda a, factor, b: a * factor + b,
) -> tuple[Any, ...]:
    """The results for these inputs, which may be anything with +, − and *.

    `constant` makes a factor of the inputs' kind from a fraction: `float` for arrays of floats;
    `multiply_add` is a · factor + b where that is one operation.
    Raises `InputError` when there are not as many values as inputs.
    """
    if len(values) != program.inputs:
        raise InputError(f"There must be {program.inputs} inputs, but got {len(values)}.")
    made = list(values)
    for step in program.steps:
        match step:
            case Add(_, a, b):
                made.append(made[a] + made[b])
            case Subtract(_, a, b):
                made.append(made[a] - made[b])
            case Scale(_, a, factor):
                made.append(made[a] * constant(factor))
            case MultiplyAdd(_, a, factor, b):
                made.append(multiply_add(made[a], constant(factor), made[b]))
    return tuple(made[output] for output in program.outputs)


def _shared(rows: list[Row], inputs: int) -> list[Step]:
    """Give the pair that most rows hold a value of its own, until no two rows hold the same one.

    Rewrites `rows` over the values made. Ties go to the lowest numbers.
    """
    steps: list[Step] = []
    users: dict[Pair, set[int]] = defaultdict(set)
    for n, row in enumerate(rows):
        _enter(users, n, row)
    while users:
        pair = max(users, key=lambda p: (len(users[p]), -p[0], -p[1], p[2]))
        using = sorted(users[pair])
        if len(using) < 2:
            break
        step, base = _pair(pair, [rows[n] for n in using], inputs + len(steps))
        steps.append(step)
        for n in using:
            for old in _pairs(rows[n]):
                users[old].discard(n)
            factor = rows[n][base]
            rows[n] = {v: c for v, c in rows[n].items() if v not in pair[:2]}
            rows[n][step.target] = factor
            _enter(users, n, rows[n])
    return steps


def _enter(users: dict[Pair, set[int]], n: int, row: Row) -> None:
    for pair in _pairs(row):
        users[pair].add(n)


def _pairs(row: Row) -> list[Pair]:
    return [(i, j, row[j] / row[i]) for i, j in combinations(sorted(row), 2)]


def _pair(pair: Pair, rows: Sequence[Row], target: int) -> tuple[Step, int]:
    """The step that makes the pair, and the value whose coefficient in it is 1.

    Either may be that value: the one that more rows hold with coefficient 1 leaves those rows
    nothing to multiply.
    """
    i, j, ratio = pair
    if sum(row[j] == 1 for row in rows) > sum(row[i] == 1 for row in rows):
        i, j, ratio = j, i, 1 / ratio
    return _plus(target, i, j, ratio), i


def _plus(target: int, a: int, b: int, factor: Fraction) -> Step:
    """value[a] + factor · value[b]"""
    if abs(factor) == 1:
        return Add(target, a, b) if factor > 0 else Subtract(target, a, b)
    return MultiplyAdd(target, b, factor, a)


def _sum(row: Row, target: int) -> list[Step]:
    """Steps that add a row up; none when the row is one value as it is.

    Starting at a coefficient of 1 makes every further term one operation.
    """
    if not row:
        return [Scale(target, 0, Fraction(0))]
    start = next((v for v, c in row.items() if c == 1), None)
    steps: list[Step] = []
    if start is None:
        start = next((v for v, c in row.items() if c != -1), next(iter(row)))
        steps.append(Scale(target, start, row[start]))
    total = target if steps else start
    for value, factor in row.items():
        if value != start:
            steps.append(_plus(target + len(steps), total, value, factor))
            total = steps[-1].target
    return steps


def _text(step: Step) -> str:
    match step:
        case Add(target, a, b):
            return f"v{target} = v{a} + v{b}"
        case Subtract(target, a, b):
            return f"v{target} = v{a} - v{b}"
        case Scale(target, a, factor):
            return f"v{target} = v{a} * {factor}"
        case MultiplyAdd(target, a, factor, b):
            return f"v{target} = v{a} * {factor} + v{b}"
