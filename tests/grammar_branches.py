"""Productions on maps with branches that meet again, and layers used twice."""

from __future__ import annotations

from torch import nn

from tests.grammar import Draft, Misfit
from tests.grammar_layers import CONV, WIDTHS, of_rank, plain, space


def residual(d: Draft, x: str) -> str:
    """A branch added to its own input; at times scaled by a parameter per channel."""
    channels = d.shape(x)[0]
    hidden = d.line(f"F.relu({plain(d, x, d.pick(*WIDTHS), d.pick(1, 3))})")
    y = plain(d, hidden, channels)
    if d.chance(0.3):
        scale = d.parameter(channels, *[1] * space(d, x))
        y = d.line(f"{y} * {scale}")
    return d.line(f"{x} + {y}")


def added(d: Draft, x: str) -> str:
    """Two branches joined by an elementwise operation."""
    width, way = d.pick(*WIDTHS), d.pick("{} + {}", "{} - {}", "{} * {}", "torch.maximum({}, {})")
    return d.line(way.format(plain(d, x, width), plain(d, x, width, 1)))


def joined(d: Draft, x: str) -> str:
    """Two values of the same shape, combined."""
    return d.line(d.pick("{} + {}", "{} * {}", "torch.minimum({}, {})").format(x, d.like(x)))


def squeeze_excite(d: Draft, x: str) -> str:
    """Channels scaled by what their means say."""
    channels = d.shape(x)[0]
    if d.chance(0.5):
        y = d.line(f"{x}.mean({tuple(range(2, space(d, x) + 2))}, keepdim=True)")
        y = d.line(f"F.relu({plain(d, y, 3, 1)})")
        return d.line(f"{x} * {plain(d, y, channels, 1)}.sigmoid()")
    y = d.line(f"{x}.flatten(2).mean(-1)")
    y = d.line(f"F.relu({d.call(nn.Linear(channels, 3), y)})")
    y = d.line(f"{d.call(nn.Linear(3, channels), y)}.sigmoid()")
    return d.line(f"{x} * {y}[(...,) + (None,) * {space(d, x)}]")


def gate(d: Draft, x: str) -> str:
    """One map of gates for all channels."""
    return d.line(f"{x} * {plain(d, x, 1)}.sigmoid()")


def glu(d: Draft, x: str) -> str:
    """Half the channels gate the other half."""
    wide = plain(d, x, 2 * d.pick(*WIDTHS), 1)
    if d.chance(0.5):
        return d.line(f"F.glu({wide}, 1)")
    halves = d.line(f"{wide}.chunk(2, 1)")
    return d.line(f"{halves}[0] * F.gelu({halves}[1])")


def concat(d: Draft, x: str) -> str:
    """Branches, and at times an older value, side by side."""
    parts = [plain(d, x, d.pick(*WIDTHS)), d.like(x, first=1), x]
    d.rng.shuffle(parts)
    return d.line(f"torch.cat([{', '.join(parts[: d.pick(2, 3)])}], 1)")


def split(d: Draft, x: str) -> str:
    """Channels parted, one part convolved, and joined again."""
    channels = d.shape(x)[0]
    at = d.rng.randint(1, max(1, channels - 1))
    parted = d.pick(
        f"{x}.chunk(2, 1)",
        f"{x}.split([{at}, {channels - at}], 1)",
        f"({x}[:, :{at}], {x}[:, {at}:])",
        f"({x}[:, ::2], {x}[:, 1::2])",
    )
    parts = d.line(parted)
    if len(d.values[parts]) != 2:
        raise Misfit
    left, right = d.line(f"{parts}[0]"), d.line(f"{parts}[1]")
    if d.chance(0.7):
        right = plain(d, right, d.pick(d.shape(right)[0], *WIDTHS))
    order = [left, right] if d.chance(0.5) else [right, left]
    return d.line(f"torch.cat([{', '.join(order)}], 1)")


def stacked(d: Draft, x: str) -> str:
    """Two branches on a new dimension, which is then reduced, merged or taken apart."""
    width = d.pick(4, 6)
    dim = d.pick(1, 2)
    y = d.line(f"torch.stack([{plain(d, x, width)}, {plain(d, x, width, 1)}], {dim})")
    ways = (f"{y}.mean({dim})", f"{y}.flatten(1, 2)", f"{y}.amax({dim})", f"{y}.select({dim}, 1)")
    if d.chance(0.25):
        parts = d.line(f"{y}.unbind({dim})")
        return d.line(f"{parts}[0] - {parts}[1]")
    return d.line(d.pick(*ways))


def selective(d: Draft, x: str) -> str:
    """Two branches weighed against each other by a softmax (selective kernels)."""
    width = d.pick(4, 6)
    y = d.line(f"torch.stack([{plain(d, x, width)}, {plain(d, x, width, 1)}], 1)")
    mean = d.line(f"{y}.sum(1).flatten(2).mean(-1)")
    logits = d.call(nn.Linear(width, 2 * width), mean)
    weights = d.line(f"{logits}.view(-1, 2, {width}).softmax(1)")
    return d.line(f"({y} * {weights}[(...,) + (None,) * {space(d, x)}]).sum(1)")


def shared(d: Draft, x: str) -> str:
    """One module applied twice: in a row, or to two values."""
    channels = d.shape(x)[0]
    layer = d.layer(of_rank(CONV, d, x)(channels, channels, 3, padding=1))
    if d.chance(0.5):
        return d.line(f"{layer}(F.relu({layer}({x})))")
    return d.line(f"{layer}({x}) + {layer}({d.like(x)})")


def tied(d: Draft, x: str) -> str:
    """Two convolutions with one weight."""
    channels = d.shape(x)[0]
    kind = of_rank(CONV, d, x)
    first, second = kind(channels, channels, 1), kind(channels, channels, 1)
    second.weight = first.weight
    return d.call(second, d.line(f"F.relu({d.call(first, x)})"))


def attention_map(d: Draft, x: str) -> str:
    """A gate from the maximum and the mean over channels (CBAM)."""
    highest = d.pick(f"{x}.amax(1, keepdim=True)", f"{x}.max(1, keepdim=True)[0]")
    both = d.line(f"torch.cat([{highest}, {x}.mean(1, keepdim=True)], 1)")
    return d.line(f"{x} * {plain(d, both, 1)}.sigmoid()")


def pyramid(d: Draft, x: str) -> str:
    """The mean of all space, spread over it and put beside the map."""
    mean = d.line(f"{x}.mean({tuple(range(2, space(d, x) + 2))}, keepdim=True)")
    branch = plain(d, mean, d.pick(*WIDTHS), 1)
    size = ", ".join(map(str, d.shape(x)[1:]))
    wide = d.pick(f"{branch}.expand(-1, -1, {size})", f"{branch}.repeat(1, 1, {size})")
    return d.line(f"torch.cat([{x}, {wide}], 1)")


def conditioned(d: Draft, x: str) -> str:
    """Scaled and shifted per channel by a vector (FiLM)."""
    vectors = [value for value, kind in d.kinds.items() if kind == "vector"]
    if not vectors:
        raise Misfit
    vector, channels = d.pick(*vectors), d.shape(x)[0]
    both = d.call(nn.Linear(d.shape(vector)[0], 2 * channels), vector)
    both = d.line(f"{both}[(...,) + (None,) * {space(d, x)}].chunk(2, 1)")
    return d.line(f"{x} * (1 + {both}[0]) + {both}[1]")
