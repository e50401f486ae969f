"""JSON and a list of arrays as a program again; every field is held to what it must be."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import fields as fields_of
from typing import Any

import numpy as np

from lighten.core.task import Preprocess
from lighten.errors import ProgramError
from lighten.formats.integer import FLOAT32, Float32, Integer, Scale
from lighten.formats.signs import Binary, Format
from lighten.program.ir import Op, Program, Sparsity, Stored, Value
from lighten.program.spec import KINDS, check
from lighten.store import attributes, forms
from lighten.store.describe import DENSE, REAL
from lighten.store.fields import (
    RANK,
    choice,
    demand,
    extents,
    items,
    mapping,
    record,
    refuse,
    shown,
    text,
    texts,
    whole,
)

Json = Any
Array = np.ndarray[Any, Any]
TOP = tuple(field.name for field in fields_of(Program))
LATER: dict[str, Json] = {"measured": []}  # what files may leave out
SPARSITIES = dict.fromkeys(("unstructured", "block", "n:m"), True)
MOST_BITS = 32
MOST_PLANES = 8
# what shape rules end in where sizes make no sense together in a way they do not name
SENSELESS = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


class Supply:
    """The arrays of a file, each to be taken exactly once."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.left = dict(enumerate(arrays))

    def take(self, form: Json, where: str) -> Array:
        """The array of that number."""
        number = whole(form, 0, 1 << 31, where)
        demand(number in self.left, f"{where} names array {number}, which is not there or taken")
        return self.left.pop(number)


def restored(form: Json, arrays: Sequence[Array]) -> Program:
    """The checked program of a structure. ArtifactError, naming the field, where it makes none."""
    told = record(LATER | mapping(form, "The structure"), TOP, "The structure")
    supply = Supply(arrays)
    program = Program(
        inputs=texts(told["inputs"], "inputs"),
        outputs=texts(told["outputs"], "outputs"),
        ops=tuple(_op(op, f"ops.{at}") for at, op in enumerate(items(told["ops"], "ops"))),
        arrays={
            name: _stored(stored, supply, f"arrays.{shown(name)}")
            for name, stored in mapping(told["arrays"], "arrays").items()
        },
        values={
            name: _value(value, supply, f"values.{shown(name)}")
            for name, value in mapping(told["values"], "values").items()
        },
        preprocess=_preprocess(told["preprocess"]),
        labels=texts(told["labels"], "labels"),
        origin=text(told["origin"], "origin"),
        integers=texts(told["integers"], "integers"),
        measured=texts(told["measured"], "measured"),
    )
    demand(not supply.left, f"{len(supply.left)} arrays are named by nothing")
    demand(len(set(program.inputs)) == len(program.inputs), "inputs has a name twice")
    demand(set(program.integers) <= set(program.inputs), "integers names what is no input")
    try:
        return check(program)
    except ProgramError as error:
        refuse(f"The program breaks its rules: {error.message.rstrip('.')}")
    except SENSELESS as error:
        refuse(f"The program's sizes make no sense together ({type(error).__name__})")


def _op(form: Json, where: str) -> Op:
    told = record(form, ("attributes", "inputs", "kind", "name", "outputs"), where)
    kind = text(told["kind"], f"{where}.kind")
    choice(kind, KINDS, f"{where}.kind")
    return Op(
        kind,
        text(told["name"], f"{where}.name"),
        texts(told["inputs"], f"{where}.inputs"),
        texts(told["outputs"], f"{where}.outputs"),
        attributes.read(told["attributes"], kind, f"{where}.attributes"),
    )


def _value(form: Json, supply: Supply, where: str) -> Value:
    told = record(form, ("format", "params", "shape"), where)
    shape = extents(told["shape"], f"{where}.shape")
    format = _format(told["format"], f"{where}.format")
    params = _params(told["params"], (shape, format), supply, f"{where}.params")
    _check_zero(format, params, where)
    return Value(shape, format, params)


def _stored(form: Json, supply: Supply, where: str) -> Stored:
    told = record(form, ("codes", "format", "params", "sparsity"), where)
    codes = supply.take(told["codes"], f"{where}.codes")
    format = _format(told["format"], f"{where}.format")
    if not isinstance(format, Float32) and codes.size:
        inside = format.low <= codes.min() and codes.max() <= format.high
        demand(bool(inside), f"{where} has codes outside {format.low} … {format.high}")
    params = _params(told["params"], (codes.shape, format), supply, f"{where}.params")
    _check_zero(format, params, where)
    sparsity = _sparsity(told["sparsity"], codes.ndim, f"{where}.sparsity")
    return Stored(codes, format, params, sparsity)


def _format(form: Json, where: str) -> Format:
    if form == REAL:
        return FLOAT32
    if isinstance(form, dict) and "planes" in form:
        planes = record(form, ("planes",), where)["planes"]
        return Binary(whole(planes, 1, MOST_PLANES, f"{where}.planes"))
    told = record(form, ("bits", "signed", "symmetric"), where)
    for name in ("signed", "symmetric"):
        demand(isinstance(told[name], bool), f"{where}.{name} must be true or false")
    bits = _real(told["bits"], 1, MOST_BITS, f"{where}.bits")
    return Integer(bits, told["signed"], told["symmetric"])


def _params(
    form: Json, holder: tuple[tuple[int, ...], Format], supply: Supply, where: str
) -> Scale | None:
    """The scale of an array or value of that shape and format."""
    if form is None:
        return None
    shape, format = holder
    told = record(form, ("axis", "scale", "zero_point"), where)
    axis = None if told["axis"] is None else whole(told["axis"], 0, RANK, f"{where}.axis")
    demand(axis is None or axis < len(shape), f"{where}.axis is not there")
    found = []
    for name in ("scale", "zero_point"):
        number = _number(told[name], supply, f"{where}.{name}")
        wanted: tuple[int, ...] = () if axis is None else (shape[axis],)
        if axis is not None and name == "scale" and isinstance(format, Binary):
            wanted = format.scales(shape[axis])
        fits = np.size(number) == 1 if axis is None else np.shape(number) == wanted
        demand(bool(fits), f"{where}.{name} must have one number, or one per index along its axis")
        demand(bool(np.all(np.isfinite(number))), f"{where}.{name} must be finite")
        found.append(number)
    demand(bool(np.all(np.greater(found[0], 0))), f"{where}.scale must be above zero")
    return Scale(found[0], found[1], axis)


def _check_zero(format: Format, params: Scale | None, where: str) -> None:
    """The zero point of integers is one of their codes."""
    if params is not None and isinstance(format, Integer):
        zero = np.asarray(params.zero_point)
        code = (zero == np.round(zero)) & (format.low <= zero) & (zero <= format.high)
        demand(bool(code.all()), f"{where} has a zero point that is no code of its format")


def _number(form: Json, supply: Supply, where: str) -> Any:
    if isinstance(form, dict) and "data" in form:
        return supply.take(record(form, ("data",), where)["data"], where)
    number = forms.read(form, where)
    real = np.asarray(number).dtype.kind in "iuf" and not isinstance(number, tuple | list)
    demand(real, f"{where} is no number")
    return number


def _sparsity(form: Json, rank: int, where: str) -> Sparsity:
    if form == DENSE:
        return Sparsity()
    told = record(form, ("block", "density", "kind"), where)
    choice(told["kind"], SPARSITIES, f"{where}.kind")
    block = extents(told["block"], f"{where}.block")
    demand(
        len(block) in (0, rank) and 0 not in block, f"{where}.block must be extents, one per axis"
    )
    return Sparsity(told["kind"], block, _real(told["density"], 0, 1, f"{where}.density"))


def _preprocess(form: Json) -> Preprocess:
    told = record(form, ("mean", "scale", "std", "tokenizer"), "preprocess")
    scale = _real(told["scale"], -math.inf, math.inf, "preprocess.scale")
    demand(scale != 0, "preprocess.scale must not be 0")
    mean, std = (
        tuple(
            _real(number, -math.inf, math.inf, f"preprocess.{name}")
            for number in items(told[name], f"preprocess.{name}")
        )
        for name in ("mean", "std")
    )
    demand(0 not in std, "preprocess.std must not be 0")
    tokenizer = text(told["tokenizer"], "preprocess.tokenizer")
    known = re.fullmatch("([0-9a-f]{16})?", tokenizer)
    demand(known is not None, "preprocess.tokenizer must be 16 hexadecimal digits")
    return Preprocess(scale, mean, std, tokenizer)


def _real(form: Json, low: float, high: float, where: str) -> Any:
    """A finite number in low … high, of the type it was written from."""
    number = forms.read(form, where)
    if not attributes.is_number(number) or not math.isfinite(number) or not low <= number <= high:
        refuse(f"{where} must be a finite number in {low} … {high}")
    return number
