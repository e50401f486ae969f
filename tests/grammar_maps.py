"""Productions on maps: numbers moved about and pooled; and the table of all of them."""

from __future__ import annotations

from torch import nn

from tests.grammar import Draft, Misfit, Row
from tests.grammar_branches import (
    added,
    attention_map,
    concat,
    conditioned,
    gate,
    glu,
    joined,
    pyramid,
    residual,
    selective,
    shared,
    split,
    squeeze_excite,
    stacked,
    tied,
)
from tests.grammar_layers import (
    CONV,
    POOL,
    WIDTHS,
    activation,
    channel_norm,
    conv,
    conv_norm_act,
    depthwise,
    dropout,
    grouped,
    norm,
    of_rank,
    space,
    standardised,
    transposed,
)


def pad(d: Draft, x: str) -> str:
    """Constants around space or channels; negative amounts crop."""
    if d.chance(0.2):
        size = ", ".join(map(str, d.shape(x)[1:]))
        fill = d.pick(f"torch.zeros_like({x})", f"{x}.new_ones({x}.shape[0], 2, {size})")
        return d.line(f"torch.cat([{x}, {fill}], 1)")
    around = [d.pick(0, 1, 2, -1) for _ in range(2)]
    if d.chance(0.5):
        amounts = [*around, *[0, 0] * (space(d, x) - 1)]
    else:
        amounts = [*[0, 0] * space(d, x), d.pick(0, 2, 3), d.pick(0, 1, 3, -1)]
    return d.line(f"F.pad({x}, {amounts}{d.pick('', ', value=0.5')})")


def written(d: Draft, x: str) -> str:
    """Some channels, or some of space, replaced in place."""
    y = d.line(f"{x}.clone()")
    part = d.pick(f"{y}[:, :2]", f"{y}[:, 1:]", f"{y}[..., :1]")
    return d.line(f"({part}.copy_({part.replace(y, x)} * 2), {y})[1]")


def mirrored(d: Draft, x: str) -> str:
    """Padding that repeats the border."""
    if space(d, x) > 2:
        raise Misfit
    amounts = [d.pick(0, 1, 2) for _ in range(2 * space(d, x))]
    return d.line(f"F.pad({x}, {amounts}, mode={d.pick('reflect', 'replicate', 'circular')!r})")


def pool(d: Draft, x: str) -> str:
    """A sliding maximum or mean."""
    name, kernel = d.pick("max", "avg"), d.pick(2, 3)
    settings = {"ceil_mode": d.chance(0.3)}
    if name == "avg":
        settings["count_include_pad"] = d.chance(0.5)
    made = of_rank(POOL[name], d, x)(kernel, d.pick(1, 2), d.pick(0, 1), **settings)
    return d.call(made, x)


def adaptive(d: Draft, x: str) -> str:
    """Pooling to a size."""
    size = [d.pick(1, 2, 3, n) for n in d.shape(x)[1:]]
    return d.line(f"F.adaptive_{d.pick('avg', 'max')}_pool{len(size)}d({x}, {size})")


def upsample(d: Draft, x: str) -> str:
    """Enlarging by repeating or interpolating."""
    linear = ("linear", "bilinear", "trilinear")[space(d, x) - 1]
    mode, corners = d.pick(("nearest", ""), (linear, ", align_corners=True"), (linear, ""))
    size = [d.pick(n, 2 * n, n + 1) for n in d.shape(x)[1:]]
    target = d.pick("scale_factor=2", f"size={size}")
    return d.line(f"F.interpolate({x}, {target}, mode={mode!r}{corners})")


def pixels(d: Draft, x: str) -> str:
    """Channels to space, or space to channels."""
    if space(d, x) != 2:
        raise Misfit
    return d.line(d.pick(f"F.pixel_shuffle({x}, 2)", f"F.pixel_unshuffle({x}, 2)"))


def shuffle(d: Draft, x: str) -> str:
    """Groups of channels interleaved."""
    groups = d.divisor(d.shape(x)[0])
    if d.chance(0.3):
        return d.call(nn.ChannelShuffle(groups), x)
    y = d.line(f"{x}.unflatten(1, ({groups}, -1)).transpose(1, 2)")
    return d.line(d.pick(f"{y}.flatten(1, 2)", f"{y}.reshape({x}.shape)"))


def moved(d: Draft, x: str) -> str:
    """Positions or channels rolled, reversed or picked."""
    dim, channels = d.rng.randint(1, space(d, x) + 1), d.shape(x)[0]
    places = d.constant(d.values[x].new_tensor(d.rng.sample(range(channels), channels)).long())
    ways = (
        f"{x}.roll({d.pick(1, -1, 2)}, {dim})",
        f"{x}.flip({dim})",
        f"{x}[:, {places}]",
        f"{x}.index_select(1, {places})",
        f"{x}.repeat_interleave(2, 1)",
        f"{x}[:, 0:1]",
        f"{x}.narrow(1, 0, {max(1, channels // 2)})",
        f"{x}.transpose(2, -1)",
    )
    return d.line(d.pick(*ways))


def mixed(d: Draft, x: str) -> str:
    """Channels mixed by an einsum with a free parameter."""
    weight = d.parameter(d.pick(*WIDTHS), d.shape(x)[0])
    letters = "hwd"[: space(d, x)]
    return d.line(f"torch.einsum('bc{letters},oc->bo{letters}', {x}, {weight})")


def scaled(d: Draft, x: str) -> str:
    """A free parameter per channel, per element or for all, added or multiplied."""
    shape = d.pick((1, d.shape(x)[0], *[1] * space(d, x)), d.shape(x), (1,))
    return d.line(f"{x} {d.pick('+', '*')} {d.parameter(*shape)}")


def normalised(d: Draft, x: str) -> str:
    """Every position scaled by something over its channels, or space by something over it."""
    return d.line(
        d.pick(
            f"F.normalize({x}, dim=1)",
            f"{x}.softmax(1)",
            f"{x}.softmax(-1)",
            f"{x} - {x}.mean(1, keepdim=True)",
            f"{x} / (1 + {x}.flatten(1).norm(dim=1)[(...,) + (None,) * {space(d, x) + 1}])",
        )
    )


def to_tokens(d: Draft, x: str) -> str:
    """Positions become tokens, at times after a patch embedding."""
    if d.chance(0.5) and min(d.shape(x)[1:]) >= 4:
        x = d.call(of_rank(CONV, d, x)(d.shape(x)[0], d.pick(8, 12), 2, stride=2), x)
    return d.line(d.pick(f"{x}.flatten(2).transpose(1, 2)", f"{x}.flatten(2).permute(0, 2, 1)"))


def to_vector(d: Draft, x: str) -> str:
    """Pooled over space, or flattened."""
    every = tuple(range(2, space(d, x) + 2))
    ways = (f"{x}.mean({every})", f"{x}.amax({every})", f"{x}.flatten(1)", f"{x}.std({every})")
    view = f"F.adaptive_avg_pool{len(every)}d({x}, 1).view({x}.shape[0], -1)"
    return d.line(d.pick(*ways, view))


MAPS: tuple[Row, ...] = (
    Row("map", conv, "map", 6),
    Row("map", conv_norm_act, "map", 5),
    Row("map", norm, "map", 4),
    Row("map", activation, "map", 4),
    Row("map", residual, "map", 4),
    *(
        Row("map", production, "map")
        for production in (
            *(depthwise, grouped, transposed, added, joined, squeeze_excite, gate, glu, concat),
            *(split, stacked, pad, pool, upsample, shuffle, shared, moved, pyramid, scaled),
        )
    ),
    *(
        Row("map", production, "map", 1)
        for production in (
            *(standardised, channel_norm, selective, adaptive, pixels, tied, attention_map),
            *(mixed, normalised, dropout, conditioned, mirrored, written),
        )
    ),
    Row("map", to_tokens, "tokens", 4),
    Row("map", to_vector, "vector", 3),
)
