"""Our own engine: kernels written for the network's shapes, compiled here, run as one call.

It runs float networks; int8 is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


class Native:
    """The engine of `lighten.engine`, on this machine's widest instructions."""

    name = "native"

    def missing(self, program: Any) -> Sequence[str]:
        """Ops whose results, and inputs that, are rounded to integers, by name; all others run."""
        from lighten.engine.plan import rounded_values

        return rounded_values(program)

    def compile(self, program: Any, threads: int = 1) -> Any:
        """The Program, planned and compiled. UnsupportedOps names the ops that are `missing`."""
        from lighten.emit import host
        from lighten.engine import Network, plan

        return Network(plan(program, host()), threads)

    def load(self, data: bytes, threads: int = 1) -> Any:
        """The bytes of an ONNX model as a Program, compiled; reading one takes PyTorch."""
        from lighten.network.onnx_in import read_onnx, to_program

        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(data)
            return self.compile(to_program(read_onnx(path)), threads)
