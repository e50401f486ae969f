"""Small random networks drawn from a grammar, each with the text of its own forward.

A network is a list of lines such as `v3 = F.relu(v2)`. Productions (`grammar_layers`,
`grammar_branches`, `grammar_maps`, `grammar_tokens`, `grammar_vectors`) append lines to a `Draft`,
which runs every line at once on a batch of two: a production that does not fit the shapes at hand
is torch's own error, and undone.

Kinds of values: "map" [batch, channels, *space], "tokens" [batch, tokens, width], "vector"
[batch, width].
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

T = TypeVar("T")
SCOPE = {"torch": torch, "F": F}
LARGEST = 3000  # numbers in one sample of any value


class Misfit(Exception):
    """A line that cannot follow what was drawn before it."""


class Row(NamedTuple):
    """One production: what it starts from, how it is drawn, what it gives, how often."""

    source: str
    draw: Callable[[Draft, str], str]
    result: str
    weight: int = 2


@dataclass
class Draft:
    """A network being drawn: its layers, the lines of its forward, and each line's value."""

    rng: random.Random
    net: nn.Module = field(default_factory=nn.Module)
    lines: list[str] = field(default_factory=list)
    values: dict[str, Tensor] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    used: list[Row] = field(default_factory=list)

    def pick(self, *options: T) -> T:
        """One of them."""
        return self.rng.choice(options)

    def chance(self, probability: float) -> bool:
        """True that often."""
        return self.rng.random() < probability

    def shape(self, value: str) -> tuple[int, ...]:
        """A value's shape per sample."""
        return tuple(self.values[value].shape[1:])

    def divisor(self, *numbers: int, most: int = 8) -> int:
        """A random common divisor."""
        fits = [k for k in range(1, most + 1) if all(number % k == 0 for number in numbers)]
        return self.pick(*fits)

    def line(self, expression: str) -> str:
        """Append `v… = expression`; Misfit where torch refuses it or the result is too large."""
        try:
            with torch.no_grad():
                value = eval(expression, SCOPE, {"self": self.net, **self.values})
        except (RuntimeError, ValueError, IndexError) as error:
            raise Misfit(str(error)) from error
        if isinstance(value, Tensor) and not 0 < value[0].numel() <= LARGEST:
            raise Misfit("empty or too large")
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        self.values[name] = value
        return name

    def layer(self, module: nn.Module) -> str:
        """Register a layer; the text that calls it."""
        name = f"{type(module).__name__.lower()}{len(self.net._modules)}"
        self.net.add_module(name, module.eval())
        return f"self.{name}"

    def call(self, module: nn.Module, *inputs: str) -> str:
        """A new layer on these values."""
        return self.line(f"{self.layer(module)}({', '.join(inputs)})")

    def parameter(self, *shape: int) -> str:
        """A free parameter; its text."""
        name = f"p{len(self.net._parameters)}"
        self.net.register_parameter(name, nn.Parameter(0.5 + 0.3 * torch.randn(*shape)))
        return f"self.{name}"

    def constant(self, value: Tensor) -> str:
        """A buffer; its text."""
        name = f"c{len(self.net._buffers)}"
        self.net.register_buffer(name, value)
        return f"self.{name}"

    def like(self, value: str, first: int = 0) -> str:
        """Some value of the same kind, and of the same shape from dimension `first` on."""
        kind, shape = self.kinds[value], self.shape(value)
        fits = [
            other
            for other, its in self.kinds.items()
            if its == kind
            and len(self.shape(other)) == len(shape)
            and self.shape(other)[first:] == shape[first:]
        ]
        return self.pick(*fits)

    def attempt(self, row: Row, value: str) -> bool:
        """Draw one production; False, and nothing is changed, where it does not fit."""
        lines, values = list(self.lines), dict(self.values)
        parts = [dict(p) for p in (self.net._modules, self.net._parameters, self.net._buffers)]
        try:
            result = row.draw(self, value)
            if not bool(self.values[result].isfinite().all()):
                raise Misfit("not finite")
        except Misfit:
            self.lines, self.values = lines, values
            self.net._modules, self.net._parameters, self.net._buffers = parts
            return False
        self.kinds[result] = row.result
        self.used.append(row)
        return True

    def finish(self, inputs: Sequence[str], result: str) -> nn.Module:
        """A module whose forward has these lines; its `source` is their text."""
        body = "".join(f"    {line}\n" for line in [*self.lines, f"return {result}"])
        source = f"def forward(self, {', '.join(inputs)}):\n{body}"
        made: dict[str, Any] = {}
        exec(source, dict(SCOPE), made)
        drawn = type("Drawn", (nn.Module,), {"forward": made["forward"], "source": source})()
        for part in ("_modules", "_parameters", "_buffers"):
            drawn.__dict__[part] = self.net.__dict__[part]
        return lively(drawn)


INPUTS: tuple[tuple[str, tuple[int, ...], int], ...] = (  # kind, shape, weight
    ("map", (3, 8, 8), 6),
    ("map", (3, 12, 12), 3),
    ("map", (2, 9, 7), 2),
    ("map", (4, 16), 2),
    ("map", (2, 4, 6, 4), 1),
    ("tokens", (6, 8), 2),
    ("ids", (6,), 2),
    ("vector", (10,), 2),
)


def draw(seed: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network of 3 to 10 productions in eval mode, and inputs for it, three samples."""
    drawn, inputs, _ = drawn_with(seed)
    return drawn, inputs


def drawn_with(seed: int) -> tuple[nn.Module, tuple[Tensor, ...], list[Row]]:
    """`draw`, and the productions that were used."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        draft = Draft(random.Random(seed))
        inputs = [start(draft)]
        if draft.chance(0.2):
            inputs.append(start(draft))
        count = draft.rng.randint(3, 10)
        for _ in range(count):
            grow(draft)
        drawn = draft.finish(inputs, returned(draft))
        examples = tuple(example(draft.values[name]) for name in inputs)
        return drawn, examples, draft.used


def start(draft: Draft) -> str:
    """Another input; whole numbers are looked up in a table at once."""
    kind, shape, _ = draft.rng.choices(INPUTS, [weight for *_, weight in INPUTS])[0]
    name = f"x{sum(value.startswith('x') for value in draft.values)}"
    size = (2, *shape)
    draft.values[name] = torch.randint(0, 11, size) if kind == "ids" else torch.randn(size)
    if kind == "ids":
        draft.kinds[draft.call(nn.Embedding(11, draft.pick(8, 12)), name)] = "tokens"
    else:
        draft.kinds[name] = kind
    return name


def example(value: Tensor) -> Tensor:
    """Three samples of an input."""
    shape = (3, *value.shape[1:])
    return torch.randn(shape) if value.is_floating_point() else torch.randint(0, 11, shape)


def grow(draft: Draft) -> None:
    """One production more, from the newest value or, at times, an older one."""
    from tests.grammar_maps import MAPS
    from tests.grammar_tokens import TOKENS
    from tests.grammar_vectors import VECTORS

    table = (*MAPS, *TOKENS, *VECTORS)
    values = list(draft.kinds)
    for _ in range(20):
        value = values[-1] if draft.chance(0.8) else draft.pick(*values)
        rows = [row for row in table if row.source == draft.kinds[value]]
        row = draft.rng.choices(rows, [row.weight for row in rows])[0]
        if draft.attempt(row, value):
            return


def returned(draft: Draft) -> str:
    """The text of what forward returns: mostly behind a last layer, at times several values."""
    made = [value for value in draft.kinds if not value.startswith("x")]
    if not made:
        made = [head(draft, value) for value in list(draft.kinds)]
    last = head(draft, made[-1]) if draft.chance(0.8) else made[-1]
    if draft.chance(0.75):
        return last
    return draft.pick(
        f"{last}, {draft.pick(*made)} * 2.0", f"{{'a': {last}, 'b': {made[0]} + 1.0}}"
    )


def head(draft: Draft, value: str) -> str:
    """A last layer that fits the kind: over channels, per token, or per sample."""
    shape = draft.shape(value)
    if draft.kinds[value] != "map":
        return draft.call(nn.Linear(shape[-1], 4), value)
    if draft.chance(0.3):
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(shape) - 2]
        return draft.call(kind(shape[0], 3, 1), value)
    mean = draft.line(f"{value}.flatten(2).mean(2)")
    return draft.call(nn.Linear(shape[0], 4), mean)


def lively(net: nn.Module) -> nn.Module:
    """In eval mode, with running statistics and scales as training would leave them."""
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2.0)
        norms = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
        if isinstance(module, norms) and module.weight is not None:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.eval()


def text(net: nn.Module) -> str:
    """The network as its layers and the lines of its forward."""
    return f"{net!r}\n{net.source}"
