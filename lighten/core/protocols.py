"""What plug-ins implement. Each is small enough to read at a glance; see ARCHITECTURE in docs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lighten.core.device import Device
from lighten.core.recipe import Edit, Recipe
from lighten.core.trial import Trial

Array = Any  # a NumPy array or a torch tensor


@dataclass(frozen=True)
class Knobs:
    """What may be chosen at one place, or the reason why nothing may.

    `choices` are settings as an edit would carry them, the mildest first.
    """

    choices: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Need:
    """One statistic an edit wants: its kind ("weights", "gradients", "activations") and place."""

    kind: str
    place: str


class Hook(Protocol):
    """Acts while the network trains."""

    def before_step(self, step: int) -> None: ...
    def after_step(self, step: int) -> None: ...
    def finish(self) -> None: ...


class Technique(Protocol):
    """Something that can be done to a network. `order` sorts: replace < cut < … < quantize.

    A cut is exact only as a whole, so `apply_` takes all edits of the technique at once and writes
    what leaves the network into one surgery, which is done when every technique has had its turn.
    """

    @property
    def name(self) -> str: ...
    @property
    def order(self) -> int: ...
    def places(self, graph: Any) -> Sequence[Any]: ...
    def knobs(self, place: Any, graph: Any, device: Device) -> Knobs: ...
    def needs(self, edit: Edit, graph: Any) -> Iterable[Need]: ...
    def apply_(
        self, surgery: Any, edits: Sequence[Edit], graph: Any, stats: Mapping[Need, Any]
    ) -> Hook | None: ...


class Criterion(Protocol):
    """Scores the slices of a place: 1-D, higher matters more."""

    def __call__(self, place: Any, weights: Mapping[str, Array], stats: Any) -> Array: ...


class Executable(Protocol):
    """A compiled network. Arrays `[n, …]` in, arrays `[n, …]` out, in the Program's order.

    `threads` is how many it runs on. `profile` gives median milliseconds per op name, of `runs`
    calls.
    """

    threads: int

    def __call__(self, *inputs: Array) -> tuple[Array, ...]: ...
    def profile(self, inputs: Sequence[Array], runs: int = 50) -> Mapping[str, float]: ...


class Backend(Protocol):
    """Something that runs Programs.

    `missing` names the ops it cannot run. `load` takes the bytes of an ONNX model, the file that
    ships; where a backend runs files, `compile(program)` is `load(to_onnx(program))`. One that
    `joins` computes additions and functions of a layer's sums before it rounds them to int8
    (`program.flow`).
    """

    name: str
    joins: bool

    def missing(self, program: Any) -> Sequence[str]: ...
    def compile(self, program: Any, threads: int = 1) -> Executable: ...
    def load(self, data: bytes, threads: int = 1) -> Executable: ...


class Searcher(Protocol):
    """Proposes recipes. Its only state is the history: equal inputs, equal proposals."""

    name: str

    def propose(
        self, space: Any, history: Sequence[Trial], seed: int, count: int
    ) -> Sequence[Recipe]: ...
