"""The artifact: what is saved comes back, and what is damaged or hostile is refused."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lighten import store, zoo
from lighten.backends.eager import Eager
from lighten.core.task import Preprocess
from lighten.errors import ArtifactError, WriteError
from lighten.formats.integer import Float32, Scale
from lighten.network.lower import lower
from lighten.program import Builder, Op, Program, Sparsity, Stored, fuse, interpret
from lighten.program.quantize import quantization
from lighten.program.spec import KINDS
from lighten.store import (
    arrays,
    attributes,
    canonical,
    container,
    forms,
    from_bytes,
    load,
    save,
    to_bytes,
)
from tests.programs import resnet
from tests.random_programs import SHAPES, STEPS, random_program
from tests.store_files import (
    GOLDEN,
    PAGE,
    dump,
    in_int8,
    mutated,
    packed,
    smallest,
    undump,
    unpacked,
)
from tests.test_zoo import small_shape

QUICK = ("lenet5", "espcn", "sensor_cnn", "encoder")


def alike(a: Any, b: Any) -> bool:
    """Equal, of the same types all the way down; arrays bit for bit; mappings in any order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(alike, a, b))
    if hasattr(a, "__dataclass_fields__"):
        return all(alike(getattr(a, name), getattr(b, name)) for name in a.__dataclass_fields__)
    return bool(a == b) or str(a) == str(b) == "nan"


def comes_back(program: Program) -> Program:
    data = to_bytes(program)
    found = from_bytes(data)
    assert alike(found, program)
    assert to_bytes(found) == data
    assert not any(stored.codes.flags.writeable for stored in found.arrays.values())
    return found


# ── what is saved comes back ──────────────────────────────────────────────────────────────────


def test_the_comparison_can_fail() -> None:
    program = in_int8()
    changed = [
        program.changed(labels=("no",)),
        program.changed(arrays={**program.arrays, "t": Stored(np.ones((5, 3), np.float32))}),
        program.changed(ops=(Op("gather", "e", ("t", "i"), ("e",), {"axis": True}),)),
    ]
    assert alike(program, in_int8()) and not any(alike(program, other) for other in changed)


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_codes_of_less_than_a_byte_take_no_more(bits: int, dtype: type) -> None:
    low = -(1 << bits - 1) if dtype is np.int8 else 0
    for count in (0, 1, 7, 24, 100):
        codes = np.random.default_rng(count).integers(low, low + (1 << bits), count).astype(dtype)
        table, content = arrays.lay_out([arrays.Narrow(codes.reshape(count, 1), bits)])
        assert len(content) == -(-count * bits // 8)
        (found,) = arrays.views(table, memoryview(content))
        assert found.shape == (count, 1) and found.dtype == dtype and not found.flags.writeable
        np.testing.assert_array_equal(found.ravel(), codes)


def test_bits_after_the_last_number_are_refused() -> None:
    table, content = arrays.lay_out([arrays.Narrow(np.ones(5, np.uint8), 1)])
    assert content == bytes([0b11111])
    with pytest.raises(ArtifactError, match="bits after the last"):
        arrays.views(table, memoryview(bytes([0b111111])))
    with pytest.raises(ArtifactError, match="bits of float32"):
        arrays.views([{**table[0], "dtype": "float32"}], memoryview(content))


@pytest.mark.parametrize("step", STEPS)
def test_every_kind_comes_back(step: str) -> None:
    for seed, shape in enumerate(SHAPES):
        comes_back(random_program(shape, [step], seed))


@given(
    shape=st.sampled_from(SHAPES),
    steps=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=8),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_programs_come_back(shape: tuple[int, ...], steps: list[str], seed: int) -> None:
    comes_back(random_program(shape, steps, seed))


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.soak) for n in zoo.TABLE]
)
def test_lowered_networks_come_back(name: str) -> None:
    shape = small_shape(name)
    net = zoo.build(name).eval()
    comes_back(lower(net, torch.zeros(2, *shape), labels=("a", "b"), origin=name))


def test_an_int8_network_answers_the_same_bit_for_bit(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    program = quantization(fuse(resnet((8, 16), 1, 8)), [(x,)])
    save(program, tmp_path / "model.lighten")
    found = load(tmp_path / "model.lighten")
    assert alike(found, program)
    assert interpret(found, x)[0].tobytes() == interpret(program, x)[0].tobytes()
    assert Eager().compile(found)(x)[0].tobytes() == Eager().compile(program)(x)[0].tobytes()


def test_everything_said_beside_the_network_comes_back() -> None:
    found = comes_back(in_int8())
    assert found.labels == ("no", "猫") and found.integers == ("i",) and found.origin == "t"
    assert found.preprocess == Preprocess(255.0, (0.5,), (0.25,), "0123456789abcdef")
    assert found.op("c")["high"] == float("inf")


NUMBERS = (
    *(0, -1, 2**63, 0.0, -0.0, 0.1, 5e-324, float("inf"), float("-inf"), float("nan"), 1e300),
    *(True, None, "", "text 猫", (), (1, (2.0, "a")), [1, 2], ([float("inf")],)),
    *(np.float32(0.1), np.float64("inf"), np.float16(2), np.int64(-5), np.uint64(2**64 - 1)),
    *(np.bool_(True), np.array(0.1, np.float32), np.array(7, np.int8)),
)


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_single_values_keep_their_types(value: Any) -> None:
    found = forms.read(canonical.loads(canonical.dumps(forms.written(value))), "it")
    assert alike(found, value) and str(found) == str(value)  # -0.0 is -0.0


@pytest.mark.parametrize("dtype", forms.DTYPES)
def test_arrays_of_every_dtype_and_layout_come_back(dtype: str) -> None:
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, 8 * 24, np.uint8).view(dtype)[:24].reshape(2, 3, 4)
    for layout in (whole, whole[0, 0, 0], whole[:0], whole.T, whole[::-1, :, ::2]):
        array = np.asarray(layout)
        b = Builder()
        program = b.finish(b.op("unary", b.input("x", (2,)), function="relu"))
        given = Stored(array, Float32(), Scale(2, 0.5), Sparsity("block", (1,) * array.ndim, 0.5))
        found = comes_back(program.changed(arrays={"a": given})).arrays["a"]
        assert found.codes.ctypes.data % found.codes.itemsize == 0
        swapped = array.astype(array.dtype.newbyteorder(">"))
        other = Stored(swapped, given.format, given.params, given.sparsity)
        assert to_bytes(program.changed(arrays={"a": other})) == to_bytes(
            program.changed(arrays={"a": given})
        )


def test_equal_programs_give_equal_bytes() -> None:
    program = in_int8()
    other = program.changed(
        values=dict(reversed(program.values.items())), arrays=dict(reversed(program.arrays.items()))
    )
    assert to_bytes(other) == to_bytes(in_int8())


def test_arrays_are_the_files_bytes_and_outlive_its_name(tmp_path: Path) -> None:
    path = tmp_path / "model.lighten"
    weight = np.arange(1 << 20, dtype=np.float32)
    program = smallest()
    save(program.changed(arrays={**program.arrays, "more": Stored(weight)}), path)
    tracemalloc.start()
    try:
        found = load(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 18
    finally:
        tracemalloc.stop()
    codes = found.arrays["more"].codes
    assert codes.ctypes.data % container.ALIGNMENT == 0 and not codes.flags.owndata
    save(program, path)
    path.unlink()
    assert (codes == weight).all()


def test_a_failed_save_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "model.lighten"
    save(smallest(), path)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="cannot be stored"):
        save(smallest().changed(arrays={"w": Stored(np.ones((2, 2), np.complex64))}), path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(WriteError):
        save(smallest(), path / "below")


def strange_programs() -> Iterator[Program]:
    """What an artifact cannot hold, or could not be trusted with."""
    program, eight = smallest(), in_int8()
    linear = program.ops[0]
    for value in (object(), 1j, {"a": 1}, np.ones(3), b"x", "\ud800", 3):
        yield program.changed(ops=(Op(*fields(linear), {"activation": value}),))
    yield program.changed(labels=("a" * 5000,))
    yield program.changed(integers=("y",))
    yield program.changed(preprocess=Preprocess(scale=0.0))
    yield program.changed(preprocess=Preprocess(tokenizer="a tokenizer"))
    w = eight.arrays["w"]
    scale = w.params
    assert scale is not None
    for params in (
        Scale(scale.scale * np.float32(0), scale.zero_point, 0),
        Scale(scale.scale * np.float32("nan"), scale.zero_point, 0),
        Scale(scale.scale, scale.zero_point + np.float32(0.5), 0),
        Scale(scale.scale, scale.zero_point + np.float32(1000), 0),
        Scale(scale.scale, scale.zero_point[:1], 0),
    ):
        yield eight.changed(arrays={**eight.arrays, "w": Stored(w.codes, w.format, params)})
    low = np.full((2, 3), -128, np.int8)
    yield eight.changed(arrays={**eight.arrays, "w": Stored(low, w.format, scale)})
    yield eight.changed(arrays={**eight.arrays, "w": Stored(w.codes, Float32(16.0))})


def fields(op: Op) -> tuple[Any, ...]:
    return op.kind, op.name, op.inputs, op.outputs


@pytest.mark.parametrize("number", range(len(list(strange_programs()))))
def test_what_could_not_be_loaded_is_not_saved(number: int) -> None:
    program = list(strange_programs())[number]
    with pytest.raises(ArtifactError, match="cannot be stored") as caught:
        to_bytes(program)
    assert "\n" not in str(caught.value)


def test_every_attribute_has_a_rule() -> None:
    for kind, row in KINDS.items():
        for attribute in (*row.attributes, *row.optional):
            assert attributes.rule(kind, attribute) is not None, (kind, attribute)
    named = {name.rpartition(".")[2] for name in attributes.RULES}
    assert named == {a for row in KINDS.values() for a in (*row.attributes, *row.optional)}


# ── the bytes are the format ──────────────────────────────────────────────────────────────────


def test_the_bytes_have_not_changed() -> None:
    """A change here breaks every file there is: it needs a new format version."""
    data = undump(GOLDEN.read_text())
    assert len(data) < 2048
    assert dump(to_bytes(in_int8())) == dump(data)
    assert alike(from_bytes(data), in_int8())


def test_the_page_shows_the_bytes_of_a_program() -> None:
    assert undump(PAGE.read_text()) == to_bytes(smallest())


def test_the_docstrings_are_true() -> None:
    names = [f"lighten.store.{m.name}" for m in pkgutil.iter_modules(store.__path__)]
    found = [doctest.testmod(importlib.import_module(n)) for n in names if "__main__" not in n]
    assert sum(f.attempted for f in found) > 15 and not any(f.failed for f in found)


def test_it_shows_itself(tmp_path: Path) -> None:
    def said(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lighten.store", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    save(in_int8(), tmp_path / "a.lighten")
    shown = said(str(tmp_path / "a.lighten"))
    assert shown.returncode == 0 and "int8" in shown.stdout and "the file" in shown.stdout
    assert "conv1.folded.weight.int8" in said().stdout
    refused = said(__file__)
    assert refused.returncode == 2 and "no artifact of lighten" in refused.stderr


# ── what is damaged or hostile is refused ─────────────────────────────────────────────────────


def refused(data: bytes) -> str:
    with pytest.raises(ArtifactError) as caught:
        from_bytes(data)
    assert "\n" not in str(caught.value) and caught.value.hint
    return str(caught.value)


def test_a_file_cut_short_anywhere_is_refused() -> None:
    data = to_bytes(in_int8())
    for length in range(len(data)):
        refused(data[:length])


def test_every_flipped_bit_is_refused() -> None:
    data = to_bytes(in_int8())
    content = bytearray(data)
    for place in range(8 * len(data)):
        content[place // 8] ^= 1 << place % 8
        with pytest.raises(ArtifactError):
            from_bytes(bytes(content))
        content[place // 8] ^= 1 << place % 8
    assert bytes(content) == data


def test_bytes_that_follow_are_refused() -> None:
    data = to_bytes(in_int8())
    for more in (b"\0", bytes(64), data):
        assert "follow" in refused(data + more)


def test_refusals_say_what_is_wrong(tmp_path: Path) -> None:
    data = to_bytes(smallest())
    path = tmp_path / "model.lighten"
    for content, said in (
        (b"", "empty"),
        (b"PK\3\4" + bytes(100), "no artifact"),
        (data[:8] + b"\2" + data[9:], "version 2, but this lighten reads version 1"),
        (data[:-1], "cut short"),
        (data[:-1] + b"x", "'arrays' is damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=said) as caught:
            load(path)
        assert str(path) in caught.value.message and caught.value.hint
    for nowhere in (tmp_path, tmp_path / "none", tmp_path / ("a" * 5000), Path("a\0b")):
        with pytest.raises(ArtifactError):
            load(nowhere)


def test_overlapping_and_missing_sections_are_refused() -> None:
    structure, arrays = unpacked(to_bytes(smallest()))
    text = canonical.dumps(structure)
    refused(container.write({"program": text}))
    refused(container.write({"program": text, "arrays": arrays, "more": b""}))
    refused(container.write({"arrays": arrays, "programs": text}))
    w = structure["arrays"]["w"]
    structure["arrays"]["v"] = w
    assert "not there or taken" in refused(packed(structure, arrays))
    structure["arrays"]["v"] = {**w, "codes": 1}
    structure["data"] *= 2
    assert "not where it belongs" in refused(packed(structure, arrays))
    with pytest.raises(ArtifactError):
        container.write({f"s{n}": b"" for n in range(65)})
    for name in ("", "A", "a" * 25, "a b", "a\n"):
        with pytest.raises(ArtifactError):
            container.write({name: b""})


COUNTS = (None, "1", True, 0.5, 1.0, [1], [], -1, 2**31, 2**64, {"scalar": "int8", "value": -1})
TUPLES = (None, "11", True, 1, [0.5], [True], ["1"], [[1]], [2**31], [-(2**31)], {"list": [None]})
NUMBERS_NOT = (None, "1", True, [1.0], {"list": []}, {"scalar": "bool", "value": True})
WRONG: dict[str, tuple[Any, ...]] = {  # attribute → forms that no op may have there
    **dict.fromkeys(("strides", "dilations", "kernel", "size"), (*TUPLES, [0], [1, -1])),
    **dict.fromkeys(("output_padding", "shape", "permutation", "reduce.axes"), (*TUPLES, [-1])),
    "pads": TUPLES,
    **dict.fromkeys(("groups", "layer_norm.axes", "step"), (*COUNTS, 0)),
    "axis": COUNTS,
    **dict.fromkeys(("start", "stop"), (None, "1", True, 1.0, [1], 2**63)),
    **dict.fromkeys(("low", "high", "slope", "value"), NUMBERS_NOT),
    "epsilon": (*NUMBERS_NOT, -1e-9, {"float": "inf"}, {"float": "nan"}),
    **dict.fromkeys("align_corners ceil include_pad keepdims reverse rms".split(), (None, 2, 1.0)),
    **dict.fromkeys(("activation", "function", "mode"), (None, 1, True, ["relu"])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_of_a_wrong_type_are_refused(kind: str) -> None:
    for name in (*KINDS[kind].attributes, *KINDS[kind].optional):
        for form in WRONG.get(f"{kind}.{name}", WRONG.get(name, ())):
            with pytest.raises(ArtifactError, match=name):
                attributes.read({name: form}, kind, "ops.0.attributes")
        assert f"{kind}.{name}" in WRONG or name in WRONG
    with pytest.raises(ArtifactError, match="no such attribute"):
        attributes.read({"colour": 1}, kind, "ops.0.attributes")


def test_sizes_that_make_no_sense_are_refused() -> None:
    structure, arrays = unpacked(to_bytes(smallest()))
    sliding = {"strides": [], "pads": [], "dilations": [], "groups": 1}
    structure["ops"][0].update(kind="conv", attributes=sliding)
    structure["values"]["x"]["shape"] = []
    structure["data"][0]["shape"] = [4]
    assert "make no sense together" in refused(packed(structure, arrays))
    structure, arrays = unpacked(to_bytes(smallest()))
    for shape in ([2**31 - 1] * 2, [0, *[2**31 - 1] * 3], [1] * 33, [2**31]):
        structure["data"][0].update(shape=shape, length=0)
        assert "data.0.shape" in refused(packed(structure, arrays))


def test_memory_stays_small_whatever_the_file_claims() -> None:
    structure, arrays = unpacked(to_bytes(smallest()))
    structure["data"][0].update(shape=[1 << 20, 1 << 20], length=4 << 40)
    structure["values"]["x"]["shape"] = [1 << 30]
    hungry = [
        packed(structure, arrays),
        *(packed(text * (1 << 16), arrays) for text in (b"[", b'{"a":', b'"\\"', b"1,", b"9")),
        packed(b"[" + b"[]," * (1 << 15) + b"[]]", arrays),
        packed(b'"' + b'\\"' * (1 << 16), arrays),
        packed(b" " * (17 << 20), arrays),
    ]
    for data in hungry:
        tracemalloc.start()
        try:
            refused(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < (1 << 20) + 64 * min(len(data), canonical.LONGEST), data[:200]


def tried(count: int) -> tuple[int, int]:
    """How many mutated artifacts loaded, and how many were refused."""
    whole = [to_bytes(in_int8()), to_bytes(random_program(SHAPES[0], list(STEPS), 3))]
    loaded = 0
    tracemalloc.start()
    try:
        for seed in range(count):
            data = mutated(whole[seed % 2], random.Random(seed))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                program = from_bytes(data)
                loaded += 1
            except ArtifactError as error:
                assert "\n" not in str(error), seed
                program = None
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < (1 << 20) + 64 * len(data), seed
            if program is not None:
                assert alike(from_bytes(to_bytes(program)), program), seed
    finally:
        tracemalloc.stop()
    return loaded, count - loaded


def test_mutated_artifacts_load_or_are_refused() -> None:
    loaded, refusals = tried(300)
    assert loaded > 3 and refusals > 200


@pytest.mark.soak
def test_many_mutated_artifacts_load_or_are_refused() -> None:
    loaded, refusals = tried(10_000)
    assert loaded > 100 and refusals > 5000
