"""The executable spec: what a program may say, and the message for what it may not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lighten.errors import ProgramError
from lighten.formats import INT8_WEIGHT, UINT8, Scale
from lighten.program import KINDS, Builder, Op, Program, Stored, Value, check, empty, infer, show
from lighten.program.onnx_functions import FUNCTIONS as WRITTEN
from lighten.program.onnx_ops import WRITERS
from lighten.program.reference import REFERENCE
from lighten.program.reference.elementwise import ARITHMETIC, PARAMETRIC
from lighten.program.reference.elementwise import FUNCTIONS as COMPUTED
from lighten.program.spec import BINARY, FUNCTIONS
from tests.programs import resnet

CONV = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1), "groups": 1}


def small() -> Program:
    b = Builder()
    w = b.store("w", np.ones((4, 3, 3, 3)))
    y = b.op("conv", b.input("x", (3, 8, 8)), w, b.store("b", np.ones(4)), name="conv", **CONV)
    return b.finish(b.op("unary", y, name="act", function="relu"))


def changed_op(name: str, /, **fields: object):
    def change(p: Program) -> Program:
        return p.changed(ops=tuple(replace(o, **fields) if o.name == name else o for o in p.ops))

    return change


def with_array(name: str, stored: Stored):
    return lambda p: p.changed(arrays={**p.arrays, name: stored})


def with_value(name: str, value: Value):
    return lambda p: p.changed(values={**p.values, name: value})


def attributes(**more: object):
    return changed_op("conv", attributes={**CONV, **more})


BROKEN = {
    "unknown kind": (changed_op("act", kind="magic"), r"'magic' 'act': no such kind"),
    "dangling input": (changed_op("act", inputs=("nothing",)), r"act.*'nothing' is unknown"),
    "weight not stored": (changed_op("conv", inputs=("x", "x")), r"conv.*w 'x' is not stored"),
    "order": (lambda p: p.changed(ops=p.ops[::-1]), r"act.*'conv' is read before it is made"),
    "made twice": (changed_op("act", outputs=("conv",)), r"act.*'conv' is made twice"),
    "undeclared output": (changed_op("act", outputs=("new",)), r"act.*'new' is not declared"),
    "two of one name": (changed_op("act", name="conv"), r"conv.*the name is taken"),
    "shape": (
        with_value("conv", Value((4, 9, 9))),
        r"conv.*\(4, 9, 9\), but comes out \(4, 8, 8\)",
    ),
    "channels": (
        with_array("w", Stored(np.ones((4, 5, 3, 3), np.float32))),
        r"conv.*input has 3 channels, weight reads 5",
    ),
    "bias": (with_array("b", Stored(np.ones(3, np.float32))), r"conv.*\(3,\) must be \(4,\)"),
    "groups": (attributes(groups=2), r"conv.*input has 3 channels, weight reads 6"),
    "pads": (attributes(pads=(1, 1)), r"conv.*pads"),
    "missing attribute": (changed_op("act", attributes={}), r"act.*'function' is missing"),
    "strange attribute": (attributes(colour=1), r"conv.*'colour' is unknown"),
    "function": (changed_op("act", attributes={"function": "cube"}), r"act.*'cube' is unknown"),
    "parameter": (changed_op("act", attributes={"function": "clip"}), r"act.*'low' is missing"),
    "activation": (attributes(activation="clip"), r"conv.*activation 'clip'"),
    "no scale": (with_value("conv", Value((4, 8, 8), UINT8)), r"'conv' has an integer.*no scale"),
    "scales": (
        with_array(
            "w",
            Stored(np.ones((4, 3, 3, 3), np.int8), INT8_WEIGHT, Scale(np.ones(3), np.zeros(3), 0)),
        ),
        r"'w' needs one scale per index along axis 0",
    ),
    "codes": (
        with_array("b", Stored(np.ones(4, np.float32), UINT8, Scale(np.float32(1), np.int32(0)))),
        r"'b' must hold uint8",
    ),
    "missing output": (lambda p: p.changed(outputs=("gone",)), r"'gone' is made by no op"),
}


def test_the_sound_one_passes():
    assert check(small()) and check(resnet((4, 8), 1, 8))


@pytest.mark.parametrize("case", BROKEN)
def test_broken_programs_are_refused_by_name(case):
    breaks, message = BROKEN[case]
    with pytest.raises(ProgramError, match=message):
        check(breaks(small()))


def test_every_table_has_every_row():
    assert set(REFERENCE) == set(WRITERS) == set(KINDS)
    assert set(COMPUTED) | set(PARAMETRIC) == set(WRITTEN) == set(FUNCTIONS)
    assert set(ARITHMETIC) == set(BINARY)


@pytest.mark.parametrize(
    ("ceil", "size", "expected"), [(False, 7, 3), (True, 7, 3), (False, 8, 3), (True, 8, 4)]
)
def test_ceil_rounds_the_number_of_windows_up(ceil, size, expected):
    how = {"function": "max", "kernel": (3,), "strides": (2,), "pads": (0, 0), "dilations": (1,)}
    op = Op("pool", "p", ("x",), ("y",), {**how, "ceil": ceil, "include_pad": False})
    assert infer(op, [(4, size)]) == ((4, expected),)


def test_show_gives_one_line_per_op():
    program = small()
    lines = show(program).splitlines()
    assert len(lines) == len(program.ops) + 2
    assert lines[1] == "conv: 4×8×8 = conv(x, w: 4×3×3×3, b: 4) pads=(1, 1, 1, 1)"


def test_empty_keeps_inputs_and_outputs():
    program = resnet((4, 8), 1, 8)
    nothing = check(empty(program))
    assert nothing.inputs == program.inputs and nothing.outputs == program.outputs
    assert nothing.values[nothing.outputs[0]].shape == (10,)
