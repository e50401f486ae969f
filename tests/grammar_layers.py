"""Productions on maps that are one layer: convolutions, norms, activations."""

from __future__ import annotations

from torch import nn

from tests.grammar import Draft, Misfit

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


def dropout(d: Draft, x: str) -> str:
    """Nothing, in eval mode."""
    return d.call(d.pick(nn.Dropout, of_rank(DROPOUT, d, x))(0.1), x)
