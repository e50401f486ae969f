"""torch.compile as a backend: right, its weights constants, timed on demand and never chosen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch._inductor.config as inductor
from torch._inductor import freezing
from torch._inductor.cpp_builder import get_cpp_compiler

from lighten import api, backends, inspection
from lighten.backends import eager
from lighten.backends.names import REST
from lighten.backends.torch_compile import TorchCompile
from lighten.errors import InputError, UnsupportedOps
from lighten.network import lower
from lighten.program.build import Builder
from lighten.program.interpret import interpret
from lighten.program.ir import Program
from lighten.search.workbench import choose_backend
from lighten.subject import Subject
from tests import small
from tests.test_backends import network, pixels, quantized


def _compiles() -> bool:
    try:
        get_cpp_compiler()
    except RuntimeError:
        return False
    return True


needs_compiler = pytest.mark.skipif(not _compiles(), reason="there is no C++ compiler here")


@pytest.fixture(autouse=True, scope="module")
def _code_of_this_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What inductor writes lies apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


def doubled() -> Program:
    """Five numbers, added to themselves."""
    b = Builder()
    return b.finish(b.op("binary", *[b.input("x", (5,))] * 2, function="add"))


def subject() -> Subject:
    return Subject("doubled", None, ((5,),), stored=doubled())


@needs_compiler
@pytest.mark.parametrize("integer", [False, True])
def test_equals_the_reference(integer: bool) -> None:
    program = quantized(network()) if integer else network()
    compiled = TorchCompile().compile(program, 1)
    for got, want in zip(compiled(pixels(2)), interpret(program, pixels(2)), strict=True):
        # a sum of 144 products, then of 144, then means: of codes, some round the other way
        within = 0.05 / 8 if integer else 144 * 2**-24 * np.abs(want).max()
        assert np.abs(got - want).max() <= within


@needs_compiler
def test_it_is_compiled_once_for_a_shape_with_its_weights_constants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frozen: list[Any] = []
    freeze = freezing.freeze
    monkeypatch.setattr(freezing, "freeze", lambda *a, **k: frozen.append(a) or freeze(*a, **k))
    program = lower(small.untrained(), torch.zeros(2, 1, 8, 8))
    compiled = TorchCompile().compile(program, 1)
    x = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32)
    first = compiled(x)[0].copy()
    for rows in (x[:1], x[:1], x):
        (found,) = compiled(rows)
        assert np.allclose(found, first[: len(rows)], atol=1e-5)
    assert np.allclose(first, eager.Eager().compile(program)(x)[0], atol=1e-5)
    assert len(frozen) == 2 and not inductor.freezing
    assert list(compiled.profile([x], runs=2)) == [REST]


@needs_compiler
def test_bench_times_it_beside_the_others_where_all_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inspection, "SECONDS", 0.05)
    stages: list[str] = []
    rows = inspection.bench([subject()], "all", progress=lambda stage, *_: stages.append(stage))
    assert [row["backend"] for row in rows] == list(backends.available())
    assert all(row["latency_ms"] > 0 for row in rows)
    assert stages.index("compiling for torch.compile") < stages.index("timing")


def test_nothing_chooses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SECONDS", 0.01)
    assert "torch.compile" in backends.available()
    assert "torch.compile" not in backends.targets()
    assert "torch.compile" not in {backend.name for backend in choose_backend("auto")}
    rows = inspection.bench([subject()], batches=(1, 2))
    assert [row["backend"] for row in rows] == 2 * list(backends.targets())
    for options in (api.Options(backend="torch.compile"), api.Options(reference="torch.compile")):
        with pytest.raises(InputError, match=r"torch\.compile is only measured against"):
            api.check_backends(options)
    with pytest.raises(InputError, match=r"torch\.compile is only measured against"):
        choose_backend("torch.compile")
    assert "C++" in inspection.doctor()["backends"]["torch.compile"]


def test_without_a_compiler_the_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "SECONDS", 0.01)
    with inductor.patch({"cpp.cxx": (None, "no-such-compiler")}):
        rows = {row["backend"]: row for row in inspection.bench([subject()], "all")}
    assert rows["torch.compile"]["latency_ms"] is None
    assert "needs a C++ compiler" in rows["torch.compile"]["failure"]
    assert rows["eager"]["latency_ms"] > 0


@needs_compiler
def test_what_inductor_raises_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("outer") from ValueError("no vectors.\n\nCommand:\ng++ …")

    monkeypatch.setattr(torch, "compile", fails)
    (row,) = inspection.bench([subject()], "torch.compile")
    assert row["failure"] == "torch.compile fails here: ValueError: no vectors."
    assert not inductor.freezing


def test_files_and_ops_it_cannot_run() -> None:
    with pytest.raises(InputError, match="runs networks, but got an ONNX file"):
        TorchCompile().load(b"")
    program = doubled()
    op = program.ops[0]
    strange = program.changed(ops=(type(op)("strange", "odd", op.inputs, op.outputs, {}),))
    assert list(TorchCompile().missing(strange)) == ["strange odd"]
    with pytest.raises(UnsupportedOps, match=r"torch\.compile cannot run 1 op\(s\): strange odd"):
        TorchCompile().compile(strange)
