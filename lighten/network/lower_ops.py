"""What torch calls things, and the rule that lowers each. A row here is all a new op costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lighten.network.compressed import Compressed, Rounded
from lighten.network.lower_index import (
    flip,
    gather,
    index,
    index_select,
    pad,
    repeat_interleave,
    roll,
)
from lighten.network.lower_layers import (
    addmm,
    attention,
    batch_norm,
    conv,
    conv_transpose,
    embedding,
    group_norm,
    instance_norm,
    layer_norm,
    linear,
    matmul,
    rms_norm,
)
from lighten.network.lower_logic import (
    argmax,
    cast,
    comparison,
    cumsum,
    fake_quantized,
    inverse,
    is_nan,
    logical,
    masked_fill,
    signed,
    where,
)
from lighten.network.lower_math import (
    Rule,
    arithmetic,
    clip,
    deviation,
    elu,
    extreme,
    function,
    gelu,
    log_softmax,
    lowest,
    norm,
    power,
    prelu,
    reduction,
    reversed_arithmetic,
    softmax,
    softplus,
    variance,
)
from lighten.network.lower_pool import adaptive, first_only, pool
from lighten.network.lower_recurrent import recurrent
from lighten.network.lower_shapes import (
    channel_shuffle,
    chunk,
    concat,
    expand,
    narrow,
    permute,
    pixel_shuffle,
    pixel_unshuffle,
    repeat,
    reshape,
    resize,
    same,
    select,
    slice_,
    split,
    stack,
    unbind,
)
from lighten.network.projected import Projected, Signed
from lighten.network.trained_ternary import TrainedTernary

# An aten op, without its overload and the underscore of its in-place form → its rule.
FUNCTIONS: dict[str, Rule] = {
    # layers written as functions
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), conv_transpose),
    "convolution": lambda step: (conv_transpose if step["transposed"] else conv)(step),
    "linear": linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), matmul),
    "addmm": addmm,
    "batch_norm": batch_norm,
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "rms_norm": rms_norm,
    "embedding": embedding,
    "lstm": recurrent("lstm", states=2),
    **{name: recurrent(name) for name in ("gru", "rnn_tanh", "rnn_relu")},
    "scaled_dot_product_attention": attention,
    # functions of one number
    **{
        name: function(name)
        for name in (
            *("relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid"),
            *("mish", "exp", "log", "sqrt", "rsqrt", "neg", "abs", "reciprocal"),
            *("square", "erf", "sin", "cos", "sign", "floor", "round"),
        )
    },
    "leaky_relu": function("leaky_relu", slope="negative_slope"),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh"), clip),
    "gelu": gelu,
    "elu": elu,
    "softplus": softplus,
    "prelu": prelu,
    # arithmetic
    **{name: arithmetic(name) for name in ("add", "sub", "mul", "div")},
    "rsub": reversed_arithmetic("sub"),
    "maximum": arithmetic("max"),
    "minimum": arithmetic("min"),
    "pow": power,
    # truth and whole numbers
    "eq": comparison("equal"),
    "ne": comparison("equal", inverse=True),
    "lt": comparison("less"),
    "gt": comparison("less", swapped=True),
    "ge": comparison("less", inverse=True),
    "le": comparison("less", swapped=True, inverse=True),
    **dict.fromkeys(("logical_and", "bitwise_and", "__and__"), logical("mul")),
    **dict.fromkeys(("logical_or", "bitwise_or", "__or__"), logical("max")),
    **dict.fromkeys(("logical_not", "bitwise_not"), inverse),
    "isnan": is_nan,
    "where": where,
    "masked_fill": masked_fill,
    "cumsum": cumsum,
    "argmax": argmax,
    "lighten::fake_quantize": fake_quantized,
    # pooling and reductions
    **{f"max_pool{n}d": pool("max", n) for n in (1, 2, 3)},
    "max_pool2d_with_indices": first_only(pool("max", 2)),
    **{f"avg_pool{n}d": pool("average", n) for n in (1, 2, 3)},
    **{f"adaptive_avg_pool{n}d": adaptive("average", n) for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": first_only(adaptive("max", n)) for n in (1, 2, 3)},
    "mean": reduction("mean"),
    "sum": reduction("sum"),
    "amax": reduction("max"),
    "amin": lowest,
    "max": extreme("max"),
    "min": extreme("min"),
    "var": variance,
    "std": deviation,
    "linalg_vector_norm": norm,
    "softmax": softmax,
    "log_softmax": log_softmax,
    # moving numbers
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "flatten", "unflatten"), reshape),
    **dict.fromkeys(("squeeze", "unsqueeze", "view_as", "reshape_as"), reshape),
    **dict.fromkeys(("permute", "transpose", "t"), permute),
    "slice": slice_,
    "select": select,
    "narrow": narrow,
    "chunk": chunk,
    **dict.fromkeys(("split", "split_with_sizes"), split),
    "unbind": unbind,
    **dict.fromkeys(("cat", "concat"), concat),
    "stack": stack,
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to"), expand),
    "repeat": repeat,
    **dict.fromkeys(
        ("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d"), resize("nearest")
    ),
    **dict.fromkeys(
        ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"), resize("linear")
    ),
    "channel_shuffle": channel_shuffle,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "index_select": index_select,
    "index": index,
    "gather": gather,
    "roll": roll,
    "flip": flip,
    "repeat_interleave": repeat_interleave,
    # nothing, outside training
    **dict.fromkeys(("contiguous", "clone", "detach", "alias", "lift_fresh_copy"), same),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout"), same),
    **dict.fromkeys(("to", "_to_copy", "type_as"), cast),
}

ATTRIBUTES = {  # the argument's name in aten → the module's attribute
    "convolution": {
        **{name: name for name in ("weight", "bias", "stride", "padding", "dilation", "groups")},
        "mode": "padding_mode",
    },
    "normalisation": {"weight": "weight", "bias": "bias", "eps": "eps"},
}
CONVOLUTION = ATTRIBUTES["convolution"]
RUNNING = {
    **ATTRIBUTES["normalisation"],
    **{name: name for name in ("running_mean", "running_var")},
}
Row = tuple[type[nn.Module], Rule, str, Mapping[str, str]]

# A module's class, its rule, the name of its argument, and where the other arguments are found.
MODULES: tuple[Row, ...] = (
    *((kind, conv, "input", CONVOLUTION) for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    *(
        (kind, conv_transpose, "input", {**CONVOLUTION, "output_padding": "output_padding"})
        for kind in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    ),
    (nn.Linear, linear, "input", {"weight": "weight", "bias": "bias"}),
    (nn.modules.batchnorm._BatchNorm, batch_norm, "input", RUNNING),
    (
        nn.GroupNorm,
        group_norm,
        "input",
        {**ATTRIBUTES["normalisation"], "num_groups": "num_groups"},
    ),
    (
        nn.LayerNorm,
        layer_norm,
        "input",
        {**ATTRIBUTES["normalisation"], "normalized_shape": "normalized_shape"},
    ),
    (nn.Embedding, embedding, "indices", {"weight": "weight"}),
    (nn.Dropout, same, "input", {}),
    (nn.Dropout1d, same, "input", {}),
    (nn.Dropout2d, same, "input", {}),
    (nn.Dropout3d, same, "input", {}),
    (nn.AlphaDropout, same, "input", {}),
    (nn.Identity, same, "input", {}),
    (Rounded, fake_quantized, "x", {name: name for name in Rounded.ARGUMENTS}),
    (Signed, signed, "x", {}),
)


def module_rule(module: nn.Module) -> tuple[Rule, str, Mapping[str, Any]] | None:
    """A module's rule, the name of its argument, and its other arguments; None: it has none."""
    if isinstance(module, Compressed | Projected | TrainedTernary):
        found = module_rule(module.layer)
        assert found is not None
        return *found[:2], {**found[2], "weight": module.weight()}
    for kind, rule, name, attributes in MODULES:
        if isinstance(module, kind):
            return rule, name, {ours: getattr(module, its) for ours, its in attributes.items()}
    return None


def function_rule(target: Any) -> Rule | None:
    """The rule of an aten op; None: it has none."""
    if not isinstance(target, torch._ops.OpOverload):
        return None
    name = target._schema.name.removeprefix("aten::")
    name = name if name.startswith("_") else name.removesuffix("_")
    return FUNCTIONS.get(name)


def bound(target: Any, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by their name in the op's schema, with its defaults filled in."""
    parameters = target._schema.arguments
    given = {parameter.name: value for parameter, value in zip(parameters, arguments, strict=False)}
    defaults = {p.name: p.default_value for p in parameters if p.name not in given}
    return {**given, **defaults, **named}
