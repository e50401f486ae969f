"""All that a deployment needs: a `model.lighten` loaded, compiled for this machine, called.

It stands on numpy and llvmlite alone: neither torch nor onnxruntime is imported.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lighten.emit import Isa, bfloat16
from lighten.engine import kept

if TYPE_CHECKING:
    from lighten.core.task import Preprocess
    from lighten.engine.executable import Network
    from lighten.program.ir import Program

Array = np.ndarray[Any, Any]
FRONT = 4096  # bytes of an artifact that tell it from others: lengths and checksums of all parts


class Model:
    """A program, compiled. Arrays `[n, …]` in, an array `[n, …]` out (a tuple where there are
    several); calls may run at the same time. Each runs on so many `threads`, with the instructions
    of `isa`.

    Inputs may have another size than the program states, where it takes that (`program.resized`):
    the first call plans and compiles for it, and the sizes used last are kept.

    Where it was `found` compiled, the program is not even read until it is asked for.
    """

    def __init__(
        self, read: Callable[[], Program], isa: Isa, threads: int, found: kept.Kept | None = None
    ) -> None:
        self._read, self._isa, self._threads, self._found = read, isa, threads, found
        self._network: Network | None = None
        self._planning = threading.Lock()

    @property
    def network(self) -> Network:
        """The network with its plan, which is made now where there is none."""
        from lighten.engine.executable import Network
        from lighten.engine.plan import plan, widened

        with self._planning:
            if self._network is None:
                program = self._read()
                made = plan(program, widened(program, self._isa))
                self._network = Network(made, self._threads)
        return self._network

    @property
    def program(self) -> Program:
        """What is run, as it was planned: some ops of the file are joined."""
        return self.network.program

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, where the file has them."""
        return self._read().labels

    @property
    def preprocess(self) -> Preprocess:
        """What turns stored pixels into the network's input."""
        return self._read().preprocess

    @property
    def interpreted(self) -> tuple[str, ...]:
        """The ops that no kernel runs, by name: the reference interpreter does, slowly."""
        return () if self._found is not None else self.network.plan.interpreted

    def __call__(self, *inputs: Array) -> Any:
        """Run once. InputError where the inputs do not fit, naming the op that stops them."""
        outputs = self._outputs(tuple(map(np.asarray, inputs)))
        return outputs[0] if len(outputs) == 1 else outputs

    def _outputs(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        if self._found is not None:
            asked = self._found.inputs
            count = asked.usual(inputs)
            if not count and not asked.elsewhere(inputs):
                count = asked.count(inputs)
            if 0 < count < self._found.many:
                return self._found(inputs, count)
        return (self._network or self.network)(*inputs)

    def profile(self, inputs: Sequence[Array], runs: int = 50) -> Mapping[str, float]:
        """Median milliseconds per op name."""
        return self.network.profile(inputs, runs)


def load(path: str | os.PathLike[str], threads: int = 1, bf16: bool = False) -> Model:
    """The model in a `.lighten` file, run on one thread if nothing else is said: a server's own
    threads then do not wait for each other. ArtifactError where it is malformed.

    `bf16` lets it multiply in bfloat16 where that is faster: results are then off by up to a
    hundredth. InputError where the processor cannot.

    It takes inputs of other sizes (images, sequences) where the network does, each compiled at its
    first call; InputError names the op that does not take them.

    What is compiled is kept in the cache; the next process that loads the same file begins there.

    >>> from tempfile import mkdtemp
    >>> from lighten import store
    >>> from lighten.program import Builder
    >>> b, file = Builder(), Path(mkdtemp()) / "model.lighten"
    >>> x = b.op("unary", b.input("x", (3,)), function="relu")
    >>> store.save(b.finish(x), file)
    >>> load(file)(np.array([[-1, 0, 2]], np.float32)).tolist()
    [[0.0, 0.0, 2.0]]
    """
    path, begun = Path(path), time.time_ns()
    isa = bfloat16.instructions(bf16)
    name, (stamp, content) = os.path.realpath(path), _opened(path)
    found = kept.find(name, stamp, isa, threads) if content is not None else None
    if found is not None and content is not None:
        return Model(cache(partial(_program, content)), isa, threads, found)
    return _built(path, isa, threads, (name, stamp, begun))


def _built(path: Path, isa: Isa, threads: int, known: tuple[str, str, int]) -> Model:
    """Planned and compiled now, and kept if the file is still what it was."""
    from lighten import store
    from lighten.engine.keep import keep

    (name, stamp, begun), program = known, store.load(path)
    model = Model(lambda: program, isa, threads)
    network = model.network
    if stamp and _opened(path)[0] == stamp:
        keep(name, stamp, network, begun)
    return model


def _opened(path: Path) -> tuple[str, memoryview | None]:
    """What tells the file from others, and from itself before it was written again; its bytes,
    which stay readable when it is replaced. Nothing where it cannot be read.
    """
    with suppress(OSError, ValueError):
        if path.is_file():  # a pipe would be waited for
            with path.open("rb") as file:
                said, front = os.fstat(file.fileno()), file.read(FRONT)
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            where = said.st_dev, said.st_ino, said.st_size, said.st_mtime_ns, said.st_ctime_ns
            return f"{where} {hashlib.sha256(front).hexdigest()}", mapped
    return "", None


def _program(content: memoryview) -> Program:
    from lighten import store

    return store.from_bytes(content)
