"""Productions on vectors: layers, gates, parts, and ways back to maps and tokens."""

from __future__ import annotations

from torch import nn

from tests.grammar import Draft, Misfit, Row


def linear(d: Draft, x: str) -> str:
    """A layer."""
    return d.call(nn.Linear(d.shape(x)[0], d.pick(6, 8, 12, 16), bias=d.chance(0.7)), x)


def hidden(d: Draft, x: str) -> str:
    """Layer, normalisation, activation as one nested module."""
    width = d.pick(8, 12)
    norm = d.pick(nn.BatchNorm1d(width), nn.LayerNorm(width), nn.Identity())
    return d.call(nn.Sequential(nn.Linear(d.shape(x)[0], width), norm, nn.ReLU()), x)


def norm(d: Draft, x: str) -> str:
    """A normalisation."""
    width = d.shape(x)[0]
    if width == 1:
        raise Misfit
    groups = d.divisor(width, most=max(1, width // 2))
    return d.call(
        d.pick(nn.BatchNorm1d(width), nn.LayerNorm(width), nn.GroupNorm(groups, width)), x
    )


def activation(d: Draft, x: str) -> str:
    """A function of each number."""
    if d.chance(0.15):
        return d.call(nn.PReLU(d.pick(1, d.shape(x)[0])), x)
    return d.line(f"F.{d.pick('relu', 'tanh', 'gelu', 'hardswish', 'relu6')}({x})")


def residual(d: Draft, x: str) -> str:
    """A branch added to what it reads."""
    width = d.shape(x)[0]
    branch = nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, width))
    return d.line(f"{x} + {d.call(branch, x)}")


def gated(d: Draft, x: str) -> str:
    """Two layers multiplied, or one's halves."""
    width, out = d.shape(x)[0], d.pick(6, 8)
    if d.chance(0.5):
        return d.line(f"F.glu({d.call(nn.Linear(width, 2 * out), x)})")
    a, b = (d.call(nn.Linear(width, out), x) for _ in range(2))
    return d.line(f"{a} * {b}.sigmoid()")


def parts(d: Draft, x: str) -> str:
    """Split in parts, which go on separately or change places."""
    width = d.shape(x)[0]
    halves = d.line(f"{x}.chunk(2, 1)")
    if len(d.values[halves]) != 2:
        raise Misfit
    if d.chance(0.5):
        return d.line(f"torch.cat([{halves}[1], {halves}[0].relu()], 1)")
    left = d.call(nn.Linear(d.values[halves][0].shape[1], width), d.line(f"{halves}[0]"))
    return d.line(f"torch.cat([{left}, {halves}[1]], -1)")


def capsules(d: Draft, x: str) -> str:
    """Viewed as a few short vectors, which are summed, weighed or ordered anew."""
    count = d.divisor(d.shape(x)[0], most=6)
    y = d.line(f"{x}.view({x}.shape[0], {count}, -1)")
    ways = (
        f"{y}.sum(1)",
        f"{y}.mean(2)",
        f"{y}.transpose(1, 2).reshape({x}.shape[0], -1)",
        f"({y}.softmax(1) * {y}).sum(1)",
        f"F.normalize({y}, dim=-1).flatten(1)",
        f"{y}.square().sum(-1).sqrt()",
        f"({y} @ {y}.transpose(1, 2)).flatten(1)",
    )
    return d.line(d.pick(*ways))


def projected(d: Draft, x: str) -> str:
    """A product with a free matrix."""
    weight = d.parameter(d.shape(x)[0], d.pick(6, 8))
    ways = (f"{x} @ {weight}", f"torch.einsum('bi,io->bo', {x}, {weight})")
    return d.line(d.pick(*ways, f"F.linear({x}, {weight}.T)"))


def joined(d: Draft, x: str) -> str:
    """With another vector: added, multiplied, or side by side."""
    other = d.like(x)
    ways = (f"{x} + {other}", f"{x} * {other}", f"torch.where({x} > 0, {x}, {other})")
    return d.line(d.pick(*ways, f"torch.cat([{x}, {d.like(x, first=1)}], 1)"))


def padded(d: Draft, x: str) -> str:
    """Constants at the ends, or some of it picked."""
    return d.line(d.pick(f"F.pad({x}, (1, 2))", f"{x}[:, 1:]", f"{x}[:, ::2]", f"{x}.roll(1, 1)"))


def shared(d: Draft, x: str) -> str:
    """One layer applied twice."""
    width = d.shape(x)[0]
    layer = d.layer(nn.Linear(width, width))
    return d.line(f"{layer}(F.relu({layer}({x})))")


def scaled(d: Draft, x: str) -> str:
    """A scale per feature, a softmax, or unit length."""
    scale = d.parameter(d.shape(x)[0])
    return d.line(d.pick(f"{x} * {scale} + 1", f"{x}.softmax(1)", f"F.normalize({x}, dim=1)"))


def dropout(d: Draft, x: str) -> str:
    """Nothing, in eval mode."""
    return d.call(nn.Dropout(0.2), x)


def to_map(d: Draft, x: str) -> str:
    """A layer whose outputs are laid out in a plane (a decoder's start)."""
    width = d.pick(4, 6)
    y = d.call(nn.Linear(d.shape(x)[0], width * 16), x)
    return d.line(d.pick(f"{y}.view(-1, {width}, 4, 4)", f"{y}.unflatten(1, ({width}, 4, 4))"))


def to_tokens(d: Draft, x: str) -> str:
    """Cut into tokens, or one token."""
    count = d.divisor(d.shape(x)[0], most=6)
    return d.line(d.pick(f"{x}.view({x}.shape[0], {count}, -1)", f"{x}.unsqueeze(1)"))


VECTORS: tuple[Row, ...] = (
    Row("vector", hidden, "vector", 4),
    *(
        Row("vector", production, "vector")
        for production in (linear, norm, activation, residual, gated, parts, capsules, joined)
    ),
    *(
        Row("vector", production, "vector", 1)
        for production in (projected, padded, shared, scaled, dropout)
    ),
    Row("vector", to_map, "map", 2),
    Row("vector", to_tokens, "tokens", 1),
)
