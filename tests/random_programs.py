"""Small random programs that use every op kind, for comparing two ways of running them."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from lighten.program.build import Builder
from lighten.program.ir import Program
from lighten.program.spec import FUNCTIONS

Step = Callable[[Builder, str, random.Random], str | None]  # None: does not fit this shape
STEADY = [name for name in FUNCTIONS if name not in ("log", "sqrt", "rsqrt", "reciprocal", "exp")]
STEADY = [name for name in STEADY if name not in ("sign", "floor", "round")]  # not continuous


def weight(b: Builder, *shape: int) -> str:
    rng = np.random.default_rng(len(b.arrays))
    fan = max(int(np.prod(shape[1:])), 1)
    return b.store("w", rng.normal(0, 1 / np.sqrt(fan), shape))


def activation(r: random.Random) -> str:
    return r.choice(["", "", "relu", "relu6", "hardswish", "silu", "gelu"])


def sliding(r: random.Random, rank: int) -> dict[str, tuple[int, ...]]:
    return {
        "strides": tuple(r.choice((1, 1, 2)) for _ in range(rank)),
        "pads": tuple(r.choice((0, 1)) for _ in range(2 * rank)),
        "dilations": (1,) * rank,
    }


def divisors(n: int) -> list[int]:
    return [k for k in range(1, n + 1) if n % k == 0]


def conv(b: Builder, x: str, r: random.Random) -> str | None:
    channels, *size = b.values[x].shape
    if not 1 <= len(size) <= 3 or min(size) < 5:  # what onnxruntime has
        return None
    groups = r.choice(divisors(channels))
    out = groups * r.randint(1, 4)
    how = sliding(r, len(size))
    how["dilations"] = (r.choice((1, 2)),) * len(size)
    kernel = (r.choice((1, 2, 3)),) * len(size)
    w = weight(b, out, channels // groups, *kernel)
    bias = r.choice([(), (weight(b, out),), ("",)])
    return b.op("conv", x, w, *bias, groups=groups, activation=activation(r), **how)


def conv_transpose(b: Builder, x: str, r: random.Random) -> str | None:
    channels, *size = b.values[x].shape
    if len(size) != 2 or max(size) > 12 or min(size) < 2:
        return None
    groups = r.choice(divisors(channels))
    how = sliding(r, 2)
    w = weight(b, channels, r.randint(1, 3), 3, 3)
    more = tuple(r.randrange(stride) for stride in how["strides"])
    bias = weight(b, groups * b.arrays[w].shape[1])
    return b.op("conv_transpose", x, w, bias, groups=groups, output_padding=more, **how)


def linear(b: Builder, x: str, r: random.Random) -> str:
    w = weight(b, r.randint(2, 8), b.values[x].shape[-1])
    bias = weight(b, b.arrays[w].shape[0])
    return b.op("linear", x, w, bias, activation=activation(r))


def affine(b: Builder, x: str, r: random.Random) -> str:
    shape = b.values[x].shape
    axis = r.choice((0, len(shape) - 1))
    return b.op("affine", x, weight(b, shape[axis]), weight(b, shape[axis]), axis=axis)


def group_norm(b: Builder, x: str, r: random.Random) -> str | None:
    shape = b.values[x].shape
    if int(np.prod(shape)) // shape[0] < 4:
        return None
    norm = (weight(b, shape[0]), weight(b, shape[0]))
    return b.op("group_norm", x, *norm, groups=r.choice(divisors(shape[0])), epsilon=1e-2)


def layer_norm(b: Builder, x: str, r: random.Random) -> str:
    shape = b.values[x].shape
    axes = r.randint(1, len(shape))
    norm = r.choice([(), (weight(b, *shape[-axes:]), weight(b, *shape[-axes:]))])
    return b.op("layer_norm", x, *norm, axes=axes, epsilon=1e-2, rms=r.random() < 0.5)


def unary(b: Builder, x: str, r: random.Random) -> str:
    return b.op("unary", x, function=r.choice(STEADY), low=-0.5, high=0.7, slope=0.2)


def softmax(b: Builder, x: str, r: random.Random) -> str:
    return b.op("softmax", x, axis=r.randrange(len(b.values[x].shape)))


def binary(b: Builder, x: str, r: random.Random) -> str:
    shape = b.values[x].shape
    alike = [name for name, value in b.values.items() if value.shape in (shape, shape[-1:])]
    other = r.choice([*alike, weight(b, *shape), weight(b, shape[-1])])
    function = r.choice(("add", "sub", "mul", "max", "min"))
    return b.op("binary", x, other, function=function, activation=activation(r))


def matmul(b: Builder, x: str, r: random.Random) -> str | None:
    shape = b.values[x].shape
    if len(shape) < 2:
        return None
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    turned = b.op("transpose", x, permutation=order)
    return b.op("matmul", x, r.choice([turned, weight(b, shape[-1], 3)]))


def pool(b: Builder, x: str, r: random.Random) -> str | None:
    size = b.values[x].shape[1:]
    if not 1 <= len(size) <= 3 or min(size) < 4:
        return None
    how = sliding(r, len(size))
    kernel = tuple(r.choice((2, 3)) for _ in size)
    flags = {"ceil": r.random() < 0.5, "include_pad": r.random() < 0.5}
    return b.op("pool", x, function=r.choice(("max", "average")), kernel=kernel, **how, **flags)


def reduce(b: Builder, x: str, r: random.Random) -> str | None:
    rank = len(b.values[x].shape)
    axes = tuple(sorted(r.sample(range(rank), r.randint(1, rank))))
    keep = len(axes) == rank or r.random() < 0.5
    return b.op("reduce", x, function=r.choice(("mean", "sum", "max")), axes=axes, keepdims=keep)


def global_mean(b: Builder, x: str, r: random.Random) -> str | None:
    rank = len(b.values[x].shape)
    if rank < 2:
        return None
    axes = tuple(range(1, rank))
    return b.op("reduce", x, function="mean", axes=axes, keepdims=r.random() < 0.5)


def concat(b: Builder, x: str, r: random.Random) -> str:
    shape = b.values[x].shape
    others = [name for name, value in b.values.items() if value.shape == shape]
    axis = r.randrange(len(shape))
    return b.op("concat", x, r.choice(others), weight(b, *shape), axis=axis)


def slice_(b: Builder, x: str, r: random.Random) -> str:
    axis = r.randrange(len(b.values[x].shape))
    extent = b.values[x].shape[axis]
    start, step = r.randrange(extent), r.choice((1, 2))
    return b.op("slice", x, axis=axis, start=start, stop=r.choice((extent, 10**9)), step=step)


def pad(b: Builder, x: str, r: random.Random) -> str:
    pads = tuple(r.choice((0, 1, 2)) for _ in range(2 * len(b.values[x].shape)))
    return b.op("pad", x, pads=pads, value=r.choice((0.0, 0.5)))


def reshape(b: Builder, x: str, r: random.Random) -> str:
    size = int(np.prod(b.values[x].shape))
    first = r.choice(divisors(size))
    return b.op("reshape", x, shape=r.choice([(size,), (first, size // first)]))


def transpose(b: Builder, x: str, r: random.Random) -> str:
    order = list(range(len(b.values[x].shape)))
    r.shuffle(order)
    return b.op("transpose", x, permutation=tuple(order))


def expand(b: Builder, x: str, r: random.Random) -> str:
    return b.op("expand", x, shape=(2, *b.values[x].shape))


def resize(b: Builder, x: str, r: random.Random) -> str | None:
    shape = b.values[x].shape
    if len(shape) != 3:
        return None
    size = tuple(r.randint(1, 2 * extent) for extent in shape[1:])
    corners = r.random() < 0.5
    return b.op("resize", x, size=size, mode=r.choice(("nearest", "linear")), align_corners=corners)


def gather(b: Builder, x: str, r: random.Random) -> str:
    shape = b.values[x].shape
    axis = r.randrange(len(shape))
    indices = b.store("i", np.array([r.randrange(shape[axis]) for _ in range(3)]))
    return b.op("gather", x, indices, axis=axis)


def cast(b: Builder, x: str, r: random.Random) -> str:
    return b.op("cast", x)


STEPS: dict[str, Step] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "linear": linear,
    "affine": affine,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "unary": unary,
    "softmax": softmax,
    "binary": binary,
    "matmul": matmul,
    "pool": pool,
    "reduce": reduce,
    "global_mean": global_mean,
    "concat": concat,
    "slice": slice_,
    "pad": pad,
    "reshape": reshape,
    "transpose": transpose,
    "expand": expand,
    "resize": resize,
    "gather": gather,
    "cast": cast,
}
SHAPES = ((4, 9, 9), (3, 8, 7), (6, 12), (12,), (2, 6, 5, 5))


def random_program(shape: tuple[int, ...], steps: list[str], seed: int) -> Program:
    """A program of `steps`, those that fit, on one input; values stay small enough to compare."""
    b, r = Builder(), random.Random(seed)
    x = b.input("x", shape)
    for step in steps:
        y = STEPS[step](b, x, r)
        if y is None or int(np.prod(b.values[y].shape)) > 20_000 or len(b.values[y].shape) > 5:
            continue
        x = y
    return b.finish(b.op("unary", x, function="tanh"))
