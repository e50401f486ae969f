"""Productions on tokens: attention in the ways people write it, perceptrons, windows."""

from __future__ import annotations

import math

import torch
from torch import nn

from tests.grammar import Draft, Misfit, Row


def linear(d: Draft, x: str) -> str:
    """A layer per token."""
    return d.call(nn.Linear(d.shape(x)[-1], d.pick(6, 8, 12), bias=d.chance(0.7)), x)


def norm(d: Draft, x: str) -> str:
    """A normalisation of each token."""
    width = d.shape(x)[-1]
    if d.chance(0.2):
        return d.call(nn.RMSNorm(width), x)
    return d.call(nn.LayerNorm(width, elementwise_affine=d.chance(0.8)), x)


def activation(d: Draft, x: str) -> str:
    """A function of each number."""
    return d.line(f"F.{d.pick('gelu', 'relu', 'silu', 'tanh')}({x})")


def mlp(d: Draft, x: str) -> str:
    """A perceptron with one hidden layer, added to what it reads."""
    width, hidden = d.shape(x)[-1], d.pick(8, 12, 16)
    parts = [nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.1), nn.Linear(hidden, width)]
    if d.chance(0.7):
        parts.insert(0, nn.LayerNorm(width))
    return d.line(f"{x} + {d.call(nn.Sequential(*parts), x)}")


def gated_mlp(d: Draft, x: str) -> str:
    """One hidden half gates the other."""
    width, hidden = d.shape(x)[-1], d.pick(8, 12)
    if d.chance(0.5):
        gate = d.call(nn.Linear(width, hidden, bias=False), x)
        y = d.line(f"F.silu({gate}) * {d.call(nn.Linear(width, hidden, bias=False), x)}")
    else:
        halves = d.line(f"{d.call(nn.Linear(width, 2 * hidden), x)}.chunk(2, dim=-1)")
        y = d.line(f"{halves}[0] * F.gelu({halves}[1])")
    return d.line(f"{x} + {d.call(nn.Linear(hidden, width), y)}")


# ── attention ─────────────────────────────────────────────────────────────────────────────────


def parted(d: Draft, x: str, heads: int, head: int) -> str:
    """[batch, tokens, heads · head] as [batch, heads, tokens, head]."""
    view = d.pick(f"view({x}.shape[0], -1, {heads}, {head})", f"unflatten(-1, ({heads}, {head}))")
    return d.line(f"{x}.{view}.{d.pick('transpose(1, 2)', 'permute(0, 2, 1, 3)')}")


def separate(d: Draft, x: str, heads: int, head: int) -> list[str]:
    """Queries, keys and values by a layer each; the last two at times with fewer heads."""
    width, bias = d.shape(x)[-1], d.chance(0.6)
    fewer = d.divisor(heads) if d.chance(0.4) else heads
    parts = [
        parted(d, d.call(nn.Linear(width, count * head, bias=bias), x), count, head)
        for count in (heads, fewer, fewer)
    ]
    if fewer == heads:
        return parts
    if d.chance(0.5):
        return [
            parts[0],
            *(d.line(f"{p}.repeat_interleave({heads // fewer}, 1)") for p in parts[1:]),
        ]
    spread = f"[:, :, None].expand(-1, -1, {heads // fewer}, -1, -1).flatten(1, 2)"
    return [parts[0], *(d.line(f"{part}{spread}") for part in parts[1:])]


def fused(d: Draft, x: str, heads: int, head: int) -> list[str]:
    """All three by one layer, taken apart in one of four ways."""
    y = d.call(nn.Linear(d.shape(x)[-1], 3 * heads * head, bias=d.chance(0.6)), x)
    way = d.pick("reshape", "chunk", "unbind", "per head")
    if way == "reshape":
        y = d.line(f"{y}.reshape({y}.shape[0], -1, 3, {heads}, {head}).permute(2, 0, 3, 1, 4)")
        return [d.line(f"{y}[{i}]") for i in range(3)]
    if way == "chunk":
        y = d.line(f"{y}.chunk(3, dim=-1)")
        return [parted(d, d.line(f"{y}[{i}]"), heads, head) for i in range(3)]
    if way == "unbind":
        y = d.line(f"{y}.unflatten(-1, (3, {heads}, {head})).unbind(2)")
        return [d.line(f"{y}[{i}].transpose(1, 2)") for i in range(3)]
    y = d.line(f"{y}.view({y}.shape[0], -1, {heads}, {3 * head}).transpose(1, 2).chunk(3, -1)")
    return [d.line(f"{y}[{i}]") for i in range(3)]


def rotary(d: Draft, parts: list[str]) -> list[str]:
    """Queries and keys turned by their place."""
    tokens, head = d.shape(parts[0])[-2:]
    angle = torch.arange(tokens)[:, None] / 10 ** torch.linspace(0, 1, head)
    cos, sin, half = d.constant(angle.cos()), d.constant(angle.sin()), head // 2
    turned = [
        d.line(f"{p} * {cos} + torch.cat([-{p}[..., {half}:], {p}[..., :{half}]], -1) * {sin}")
        for p in parts[:2]
    ]
    return [*turned, parts[2]]


def attended(d: Draft, q: str, k: str, v: str) -> str:
    """softmax(q · k) · v, as a function of torch's or written out."""
    tokens, heads = d.shape(q)[-2], d.shape(q)[0]
    if d.chance(0.5):
        mask = d.constant(torch.randn(tokens, tokens) > -1)
        bias = d.parameter(heads, tokens, tokens)
        more = d.pick("", ", is_causal=True", f", attn_mask={bias}", ", scale=0.3")
        more = more if d.chance(0.8) else f", attn_mask={mask} | {mask}.T"
        return d.line(f"F.scaled_dot_product_attention({q}, {k}, {v}{more})")
    if d.chance(0.25):
        scores = d.line(f"torch.einsum('bhqd,bhkd->bhqk', {q}, {k})")
    else:
        scores = d.line(f"({q} * {d.shape(q)[-1] ** -0.5:.3f}) @ {k}.transpose(-2, -1)")
    if d.chance(0.3):
        scores = d.line(f"{scores} + {d.parameter(heads, tokens, tokens)}")
    if d.chance(0.3):
        causal = d.constant(torch.ones(tokens, tokens).triu(1).bool())
        low = d.pick("-1e9", "-torch.inf")
        scores = d.line(f"{scores}.masked_fill({causal}, {low})")
    return d.line(f"{scores}.softmax(dim=-1) @ {v}")


def attention(d: Draft, x: str) -> str:
    """Self-attention with a residual."""
    head, heads, width = d.pick(2, 4), d.pick(1, 2, 4), d.shape(x)[-1]
    read = norm(d, x) if d.chance(0.6) else x
    parts = d.pick(separate, fused)(d, read, heads, head)
    if d.chance(0.2):
        kind = d.pick(nn.LayerNorm, nn.RMSNorm)
        parts = [*(d.call(kind(head), part) for part in parts[:2]), parts[2]]
    if d.chance(0.2):
        parts = rotary(d, parts)
    y = attended(d, *parts)
    merged = f"{y}.transpose(1, 2)"
    y = d.line(
        d.pick(f"{merged}.flatten(2)", f"{merged}.reshape({x}.shape[0], -1, {heads * head})")
    )
    return d.line(f"{x} + {d.call(nn.Linear(heads * head, width), y)}")


def multihead(d: Draft, x: str) -> str:
    """torch's own module."""
    width = d.shape(x)[-1]
    layer = d.layer(nn.MultiheadAttention(width, d.divisor(width, most=4), batch_first=True))
    tokens = d.shape(x)[0]
    mask = d.constant(torch.ones(tokens, tokens).triu(1).bool())
    padding = f"key_padding_mask={mask}[:1].expand({x}.shape[0], -1)"
    more = d.pick("need_weights=True", "need_weights=False", f"attn_mask={mask}", padding)
    return d.line(f"{x} + {layer}({x}, {x}, {x}, {more})[0]")


def crossed(d: Draft, x: str) -> str:
    """Attention from one value's tokens to another's, or from learned queries."""
    width, other = d.shape(x)[-1], d.like(x, first=1)
    heads, head = d.pick(1, 2), 4
    q, k, v = (
        parted(d, d.call(nn.Linear(width, heads * head), source), heads, head)
        for source in (x, other, other)
    )
    y = d.line(f"F.scaled_dot_product_attention({q}, {k}, {v}).transpose(1, 2).flatten(2)")
    return d.call(nn.Linear(heads * head, width), y)


def linear_attention(d: Draft, x: str) -> str:
    """Keys and values summed over tokens first."""
    parts = fused(d, x, 2, 4)
    q, k = (d.line(f"{p}.softmax({dim})") for p, dim in zip(parts[:2], (-1, -2), strict=True))
    context = d.line(f"{k}.transpose(-2, -1) @ {parts[2]}")
    y = d.line(f"({q} @ {context}).transpose(1, 2).flatten(2)")
    return d.call(nn.Linear(8, d.shape(x)[-1]), y)


# ── tokens moved about ────────────────────────────────────────────────────────────────────────


def windowed(d: Draft, x: str) -> str:
    """Windows of tokens attend to themselves, at times after a shift."""
    tokens, width = d.shape(x)
    size = d.divisor(tokens, most=6)
    if size == 1:
        raise Misfit
    y = d.line(f"{x}.roll({-(size // 2)}, 1)") if d.chance(0.5) else x
    y = d.line(f"{y}.view(-1, {size}, {width})")
    y = d.line(f"F.scaled_dot_product_attention({', '.join(separate(d, y, 2, 4))})")
    y = d.call(nn.Linear(8, width), d.line(f"{y}.transpose(1, 2).flatten(2)"))
    return d.line(f"{x} + {y}.reshape(-1, {tokens}, {width})")


def position(d: Draft, x: str) -> str:
    """A learned vector per token, or one token more."""
    tokens, width = d.shape(x)
    if d.chance(0.6):
        return d.line(f"{x} + {d.parameter(*d.pick((1, tokens, width), (tokens, width)))}")
    token = d.line(f"{d.parameter(1, 1, width)}.expand({x}.shape[0], -1, -1)")
    return d.line(f"torch.cat([{token}, {x}], 1)")


def mixer(d: Draft, x: str) -> str:
    """A perceptron over the tokens of each channel."""
    tokens = d.shape(x)[0]
    y = d.call(nn.Linear(tokens, 8), d.line(f"{x}.transpose(1, 2)"))
    y = d.call(nn.Linear(8, tokens), d.line(f"F.gelu({y})"))
    return d.line(f"{x} + {y}.transpose(1, 2)")


def local(d: Draft, x: str) -> str:
    """A convolution along the tokens."""
    width = d.shape(x)[-1]
    made = nn.Conv1d(width, width, 3, padding=1, groups=d.pick(1, width))
    return d.line(f"{d.call(made, d.line(f'{x}.transpose(1, 2)'))}.transpose(1, 2)")


def picked(d: Draft, x: str) -> str:
    """Some tokens, or all in another order, or neighbours merged."""
    tokens, width = d.shape(x)
    pairs = f"{x}.reshape({x}.shape[0], {tokens // 2}, {2 * width})"
    ways = (f"{x}[:, ::2]", f"{x}[:, 1:]", f"{x}.flip(1)", f"{x}.roll(1, 1)", pairs)
    return d.line(d.pick(*ways, f"torch.cat([{x}[:, 0::2], {x}[:, 1::2]], -1)"))


def beside(d: Draft, x: str) -> str:
    """Two values' tokens in one sequence, or their sum."""
    other = d.like(x)
    return d.line(d.pick(f"torch.cat([{x}, {other}], {d.pick(1, 2)})", f"{x} + {other}"))


def scaled(d: Draft, x: str) -> str:
    """A scale per feature, or a softmax."""
    width = d.shape(x)[-1]
    return d.line(d.pick(f"{x} * {d.parameter(width)}", f"{x}.softmax(-1)", f"{x}.softmax(1)"))


def shared(d: Draft, x: str) -> str:
    """One layer applied twice."""
    width = d.shape(x)[-1]
    layer = d.layer(nn.Linear(width, width))
    return d.line(f"{layer}(F.gelu({layer}({x})))")


def to_map(d: Draft, x: str) -> str:
    """Tokens laid out in a plane."""
    height = max(k for k in range(1, math.isqrt(d.shape(x)[0]) + 1) if d.shape(x)[0] % k == 0)
    if height == 1:
        return d.line(f"{x}.transpose(1, 2)")
    return d.line(f"{x}.transpose(1, 2).unflatten(2, ({height}, -1))")


def to_vector(d: Draft, x: str) -> str:
    """One token, all of them pooled, or all side by side."""
    pooled = f"({x} * {d.call(nn.Linear(d.shape(x)[-1], 1), x)}.softmax(1)).sum(1)"
    return d.line(d.pick(f"{x}[:, 0]", f"{x}.mean(1)", f"{x}.amax(1)", f"{x}.flatten(1)", pooled))


TOKENS: tuple[Row, ...] = (
    Row("tokens", attention, "tokens", 10),
    Row("tokens", mlp, "tokens", 4),
    *(
        Row("tokens", production, "tokens")
        for production in (
            *(linear, norm, gated_mlp, multihead, crossed, windowed, position, picked, beside),
        )
    ),
    *(
        Row("tokens", production, "tokens", 1)
        for production in (activation, linear_attention, mixer, local, scaled, shared)
    ),
    Row("tokens", to_map, "map", 2),
    Row("tokens", to_vector, "vector", 3),
)
