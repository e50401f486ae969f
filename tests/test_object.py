"""`lighten build --object`: linked into a C program, it computes what the engine computes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from lighten.cli import app
from lighten.core.task import Preprocess
from lighten.emit import features, host
from lighten.emit.isa import supported
from lighten.emit.target import CPUS, ISAS, target
from lighten.engine.executable import Network
from lighten.engine.object_file import identifier, object_file
from lighten.engine.plan import plan
from lighten.errors import InputError, UnsupportedOps
from lighten.network import lower
from lighten.program import Builder, interpret
from lighten.program.ir import Program
from tests.object_files import called, compiler
from tests.without_kernels import without_kernels

CODES = {0: "relocatable", 62: "x86-64", 183: "AArch64"}  # machines in ELF
ALLOWED = {"memcpy", "memset", "floorf", "rintf", "fmaf", "sqrtf", "nearbyintf", "roundevenf"}


class Branches(nn.Module):
    """One of most kernels: planar and blocked convolutions, depthwise, pools, residual, sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 20, 3, padding=1)
        self.deep = nn.Conv2d(20, 20, 3, padding=1, groups=20)
        self.wide = nn.Conv2d(20, 20, 3, padding=1)
        self.mix = nn.Conv2d(40, 24, 1)
        self.out = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.first(x).relu(), 2)
        x = (self.wide(x) + x).sigmoid()
        x = self.mix(torch.cat((self.deep(x), x), 1))
        return self.out(nn.functional.gelu(x).mean((2, 3)))


@pytest.fixture(scope="module")
def program() -> Program:
    torch.manual_seed(0)
    made = lower(Branches(), torch.zeros(1, 3, 12, 12))
    return made.changed(**_renamed(made, {made.inputs[0]: "x", made.outputs[0]: "y"}))


def _renamed(program: Program, names: dict[str, str]) -> dict[str, object]:
    def of(listed: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in listed)

    ops = tuple(replace(op, inputs=of(op.inputs), outputs=of(op.outputs)) for op in program.ops)
    values = {names.get(name, name): value for name, value in program.values.items()}
    inputs, outputs = of(program.inputs), of(program.outputs)
    return {"ops": ops, "values": values, "inputs": inputs, "outputs": outputs}


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 3, 12, 12)).astype(np.float32)


def written(program: Program, name: str, folder: Path) -> None:
    made = object_file(program, "net", target(name))
    (folder / "net.o").write_bytes(made.code)
    (folder / "net.h").write_text(made.header)


@pytest.mark.parametrize("isa", ["", *(isa.name for isa in supported(features(), "x86_64"))])
@pytest.mark.parametrize("count", [1, 3])
def test_a_c_program_computes_what_the_engine_does(
    isa: str, count: int, program: Program, tmp_path: Path
) -> None:
    """Bit by bit: the same kernels from the same plan. `isa` also those below this machine's."""
    cc, x = compiler("cc", "gcc", "clang"), noise(count)
    if isa and host().name == "neon":
        pytest.skip("this machine runs no x86-64 code")
    written(program, isa, tmp_path)
    (wanted,) = Network(plan(program, ISAS[isa] if isa else host()))(x)
    np.testing.assert_array_equal(called(tmp_path, cc, x, 5), wanted)
    np.testing.assert_allclose(wanted, interpret(program, x)[0], atol=1e-5)


@pytest.mark.parametrize("cpu", ["neon", "cortex-a72"])
def test_it_computes_on_another_kind_of_processor(
    cpu: str, program: Program, tmp_path: Path
) -> None:
    cc, x = compiler("aarch64-linux-gnu-gcc"), noise(2)
    emulator = compiler("qemu-aarch64", "qemu-aarch64-static")
    written(program, cpu, tmp_path)
    found = called(tmp_path, cc, x, 5, [emulator])
    np.testing.assert_allclose(found, interpret(program, x)[0], atol=1e-5)


@pytest.mark.parametrize("cpu", [*ISAS, "znver4", "neoverse-n1"])
def test_every_kind_of_processor_gets_its_own_code(cpu: str, program: Program) -> None:
    made = object_file(program, "net", target(cpu))
    machine = int.from_bytes(made.code[18:20], "little")
    assert made.code[:4] == b"\x7fELF"
    assert CODES[machine] == ("AArch64" if target(cpu).isa.name == "neon" else "x86-64")
    assert f"for {target(cpu).isa.name} ({target(cpu).isa.cpu})" in made.header
    assert object_file(program, "net", target(cpu)) == made


def test_it_needs_libc_and_libm_alone_and_two_can_be_linked(
    program: Program, tmp_path: Path
) -> None:
    if not shutil.which("nm"):
        pytest.skip("no nm on this machine")
    for isa in ("x86-64", ""):
        written(program, isa, tmp_path)
        listed = subprocess.run(
            ["nm", "-P", "net.o"], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.splitlines()
        kinds = {line.split()[0]: line.split()[1] for line in listed}
        assert {name for name, kind in kinds.items() if kind == "U"} <= ALLOWED
        assert {n for n, kind in kinds.items() if kind in "TDRB"} == {"net", "net_arena_bytes"}


def test_the_header_says_sizes_and_preprocessing(program: Program) -> None:
    seen = program.changed(preprocess=Preprocess(255.0, (0.5,), (0.25,)))
    header = object_file(seen, "my net", target()).header
    assert "#define MY_NET_X 432  /* floats a sample: [3, 12, 12] */" in header
    assert "int my_net(const float *x, float *y, void *arena, int64_t n);" in header
    assert "(pixel / 255 - mean) / std; mean [0.5], std [0.25]" in header


def test_rows_outside_of_a_table_are_refused(tmp_path: Path) -> None:
    """Two samples of four tokens; the C program itself is the same."""
    cc = compiler("cc", "gcc", "clang")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(9, 6), nn.LayerNorm(6), nn.Flatten(), nn.Linear(24, 3))
    made = lower(net, torch.zeros(2, 4, dtype=torch.int64))
    made = made.changed(**_renamed(made, {made.inputs[0]: "x", made.outputs[0]: "y"}))
    made = made.changed(integers=("x",))
    written(made, "", tmp_path)
    x = np.array([[0, 8, 3, 3], [1, 2, 4, 8]], np.float32)
    found = called(tmp_path, cc, x, 3)
    np.testing.assert_array_equal(found, Network(plan(made, host()))(x.astype(np.int64))[0])
    for wrong in (9, -10, np.nan):
        x[1, 2] = wrong
        with pytest.raises(AssertionError, match="ended with 255"):
            called(tmp_path, cc, x, 3)


def test_names_that_c_does_not_take_are_changed(program: Program) -> None:
    b = Builder()
    x, z = b.input("n", (3,)), b.input("a.b", (3,))
    made = b.finish(b.op("binary", x, z, function="add"))
    header = object_file(made, "2-nets", target()).header
    assert "int _2_nets(const float *_n, const float *a_b, float *" in header
    assert identifier("float") == "_float"


def test_what_needs_the_interpreter_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernels(monkeypatch, "unary")
    b = Builder()
    x = b.input("x", (4,))
    with pytest.raises(UnsupportedOps, match=r"object file cannot run 1 op\(s\): sorted\."):
        object_file(b.finish(b.op("unary", x, function="relu", name="sorted")), "net", target())


def test_unknown_processors_are_refused() -> None:
    with pytest.raises(InputError, match=r"--cpu must be one of .*Did you mean 'znver4'"):
        target("znver44")
    assert {isa for isa in CPUS.values()} == set(ISAS)


def test_build_writes_both_files_or_refuses(tmp_path: Path) -> None:
    given = ["build", "zoo:lenet5?classes=7", "--object", "--cpu", "avx2"]
    for out, name in ((tmp_path / "folder", "lenet5"), (tmp_path / "own.o", "own")):
        done = CliRunner().invoke(app, [*given, "-o", str(out)])
        assert done.exit_code == 0, done.output
        folder = tmp_path / "folder" if name == "lenet5" else tmp_path
        assert (folder / f"{name}.o").exists()
        assert f"int {name}(const float *" in (folder / f"{name}.h").read_text()
    done = CliRunner().invoke(app, ["build", "zoo:lenet5", "--cpu", "avx2"])
    assert isinstance(done.exception, InputError) and "--object is not given" in str(done.exception)
