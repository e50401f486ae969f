"""Productions on maps: convolutions, norms, branches, channels moved about, pooling."""

from __future__ import annotations

from torch import nn

from tests.grammar import Draft, Misfit, Row

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
INSTANCE = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
DROPOUT = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
POOL = {
    "max": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "avg": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
}
WIDTHS = (4, 6, 8, 12)


def space(d: Draft, x: str) -> int:
    """How many dimensions of space the map has."""
    return len(d.shape(x)) - 1


def of_rank(kinds: tuple[type[nn.Module], ...], d: Draft, x: str) -> type[nn.Module]:
    """The class for that many dimensions of space."""
    return kinds[space(d, x) - 1]


def plain(d: Draft, x: str, width: int, kernel: int = 3) -> str:
    """A convolution that keeps the size."""
    kind = of_rank(CONV, d, x)
    return d.call(kind(d.shape(x)[0], width, kernel, padding=kernel // 2), x)


def conv(d: Draft, x: str) -> str:
    """Any convolution."""
    kernel, dilation, stride = d.pick(1, 3, 3, 5), d.pick(1, 1, 1, 2), d.pick(1, 1, 2)
    padding = d.pick(0, kernel // 2, dilation * (kernel - 1) // 2, "same" if stride == 1 else 1)
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    if d.chance(0.1):
        settings["padding_mode"] = d.pick("reflect", "replicate", "circular")
    made = of_rank(CONV, d, x)(
        d.shape(x)[0], d.pick(*WIDTHS), kernel, bias=d.chance(0.7), **settings
    )
    return d.call(made, x)


def conv_norm_act(d: Draft, x: str) -> str:
    """Convolution, BatchNorm and ReLU as one nested module."""
    width = d.pick(*WIDTHS)
    parts = [of_rank(CONV, d, x)(d.shape(x)[0], width, 3, padding=1, bias=False)]
    parts += [of_rank(BATCH, d, x)(width), d.pick(nn.ReLU, nn.SiLU, nn.Hardswish)()]
    return d.call(nn.Sequential(*parts), x)


def depthwise(d: Draft, x: str) -> str:
    """One filter, or several, per channel."""
    channels, times = d.shape(x)[0], d.pick(1, 1, 2)
    made = of_rank(CONV, d, x)(
        channels, times * channels, 3, padding=1, stride=d.pick(1, 1, 2), groups=channels
    )
    return d.call(made, x)


def grouped(d: Draft, x: str) -> str:
    """A grouped convolution."""
    channels, width = d.shape(x)[0], d.pick(*WIDTHS)
    groups = d.divisor(channels, width)
    return d.call(of_rank(CONV, d, x)(channels, width, 3, padding=1, groups=groups), x)


def transposed(d: Draft, x: str) -> str:
    """A transposed convolution, grouped or depthwise at times."""
    channels, stride = d.shape(x)[0], d.pick(1, 2)
    groups = d.pick(1, 1, d.divisor(channels), channels)
    more = {"output_padding": stride - 1} if d.chance(0.5) else {}
    made = of_rank(TRANSPOSED, d, x)(
        channels,
        groups * d.pick(1, 2, 3),
        d.pick(2, 3),
        stride,
        d.pick(0, 1),
        groups=groups,
        **more,
    )
    return d.call(made, x)


def standardised(d: Draft, x: str) -> str:
    """A convolution whose weight is computed."""
    if space(d, x) != 2:
        raise Misfit
    w = d.parameter(d.pick(*WIDTHS), d.shape(x)[0], 3, 3)
    weight = d.line(f"{w} - {w}.mean((1, 2, 3), keepdim=True)")
    return d.line(f"F.conv2d({x}, {weight}, padding=1)")


def norm(d: Draft, x: str) -> str:
    """A normalisation that fits."""
    channels = d.shape(x)[0]
    if d.chance(0.5):
        return d.call(of_rank(BATCH, d, x)(channels, affine=d.chance(0.8)), x)
    if min(d.shape(x)[1:]) < 2:
        raise Misfit
    if d.chance(0.5):
        return d.call(nn.GroupNorm(d.divisor(channels), channels, affine=d.chance(0.8)), x)
    if d.chance(0.3):
        return d.call(nn.LayerNorm(list(d.shape(x))), x)
    made = of_rank(INSTANCE, d, x)
    return d.call(made(channels, affine=d.chance(0.5), track_running_stats=d.chance(0.3)), x)


def channel_norm(d: Draft, x: str) -> str:
    """A LayerNorm over the channels, which stand last for it."""
    last = d.line(f"{x}.movedim(1, -1)")
    kind = d.pick(nn.LayerNorm, nn.RMSNorm)
    return d.line(f"{d.call(kind(d.shape(x)[0]), last)}.movedim(-1, 1)")


def activation(d: Draft, x: str) -> str:
    """A function of each number."""
    if d.chance(0.15):
        return d.call(nn.PReLU(d.pick(1, d.shape(x)[0])), x)
    names = "relu relu6 gelu silu hardswish leaky_relu sigmoid tanh elu softplus mish hardsigmoid"
    return d.line(f"F.{d.pick(*names.split())}({x})")


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


def attention_map(d: Draft, x: str) -> str:
    """A gate from the maximum and the mean over channels (CBAM)."""
    highest = d.pick(f"{x}.amax(1, keepdim=True)", f"{x}.max(1, keepdim=True)[0]")
    both = d.line(f"torch.cat([{highest}, {x}.mean(1, keepdim=True)], 1)")
    return d.line(f"{x} * {plain(d, both, 1)}.sigmoid()")


def mixed(d: Draft, x: str) -> str:
    """Channels mixed by an einsum with a free parameter."""
    weight = d.parameter(d.pick(*WIDTHS), d.shape(x)[0])
    letters = "hwd"[: space(d, x)]
    return d.line(f"torch.einsum('bc{letters},oc->bo{letters}', {x}, {weight})")


def pyramid(d: Draft, x: str) -> str:
    """The mean of all space, spread over it and put beside the map."""
    mean = d.line(f"{x}.mean({tuple(range(2, space(d, x) + 2))}, keepdim=True)")
    branch = plain(d, mean, d.pick(*WIDTHS), 1)
    size = ", ".join(map(str, d.shape(x)[1:]))
    wide = d.pick(f"{branch}.expand(-1, -1, {size})", f"{branch}.repeat(1, 1, {size})")
    return d.line(f"torch.cat([{x}, {wide}], 1)")


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


def dropout(d: Draft, x: str) -> str:
    """Nothing, in eval mode."""
    return d.call(d.pick(nn.Dropout, of_rank(DROPOUT, d, x))(0.1), x)


def conditioned(d: Draft, x: str) -> str:
    """Scaled and shifted per channel by a vector (FiLM)."""
    vectors = [value for value, kind in d.kinds.items() if kind == "vector"]
    if not vectors:
        raise Misfit
    vector, channels = d.pick(*vectors), d.shape(x)[0]
    both = d.call(nn.Linear(d.shape(vector)[0], 2 * channels), vector)
    both = d.line(f"{both}[(...,) + (None,) * {space(d, x)}].chunk(2, 1)")
    return d.line(f"{x} * (1 + {both}[0]) + {both}[1]")


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
