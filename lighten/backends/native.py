"""Our own engine: kernels written for the network's shapes, compiled here, run as one call.

It runs float networks, and quantized ones whose activations are unsigned bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def code_digest(program: Any) -> str:
    """Sixteen digits for what the engine makes of a program here: others once its kernels, what was
    tuned, the instruction set or LLVM are others.
    """
    from lighten.emit import llvm_version
    from lighten.emit.function import module
    from lighten.engine.executable import Network
    from lighten.engine.plan import instructions, plan

    made = plan(program, instructions(program))
    kernels, entries = Network(made, compiled=False).functions()
    text = module([*kernels, *entries.values()]) if entries else ""
    return hashlib.sha256(f"{llvm_version()} {text}".encode()).hexdigest()[:16]


def interpreted(program: Any) -> tuple[str, ...]:
    """The ops that the engine leaves to the reference interpreter, by name."""
    from lighten.engine.plan import instructions, plan

    return plan(program, instructions(program)).interpreted


class Native:
    """The engine of `lighten.engine`, on this machine's widest instructions; with `bf16`, it may
    multiply in bfloat16.
    """

    name = "native"
    joins = True

    def __init__(self, bf16: bool = False) -> None:
        self.bf16 = bf16
        if bf16:
            self.name = "native, bf16"

    def missing(self, program: Any) -> Sequence[str]:
        """Ops whose results, and inputs that, are rounded to other integers than unsigned bytes
        with one scale, by name; all others run.
        """
        from lighten.engine.codes import strange_values

        return strange_values(program)

    def compile(self, program: Any, threads: int = 1) -> Any:
        """The Program, planned and compiled. UnsupportedOps names the ops that are `missing`;
        InputError where bf16 is asked of a processor without it.
        """
        from lighten.engine.executable import Network
        from lighten.engine.plan import instructions, plan

        return Network(plan(program, instructions(program, self.bf16)), threads)

    def load(self, data: bytes, threads: int = 1) -> Any:
        """The bytes of an ONNX model as a Program, compiled; reading one takes PyTorch."""
        from lighten.network.onnx_in import read_onnx, to_program

        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(data)
            return self.compile(to_program(read_onnx(path)), threads)
