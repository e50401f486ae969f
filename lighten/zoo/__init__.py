"""Networks by name: definitions only, written from the papers; weights come from training.

>>> build("lenet5", classes=10)(torch.zeros(2, 1, 28, 28)).shape
torch.Size([2, 10])
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lighten.errors import NetworkError
from lighten.zoo.densenet import densenet121
from lighten.zoo.detector import grid_detector
from lighten.zoo.digits import digits_cnn
from lighten.zoo.efficientnet import efficientnet_b0
from lighten.zoo.encoder import encoder
from lighten.zoo.espcn import espcn, from_the_anchor_
from lighten.zoo.lenet import lenet5, lenet_300_100
from lighten.zoo.mobilenet import mobilenet_v1, mobilenet_v2, mobilenet_v3
from lighten.zoo.parts import initialise_
from lighten.zoo.resnet import resnet18, resnet50
from lighten.zoo.resnet_cifar import resnet20, resnet32, resnet44, resnet56
from lighten.zoo.sensor import sensor_cnn
from lighten.zoo.shufflenet import shufflenet_v2
from lighten.zoo.squeezenet import squeezenet
from lighten.zoo.unet import unet
from lighten.zoo.vgg import vgg16_bn


@dataclass(frozen=True)
class Entry:
    """A builder, the shape of one input, and one line about it.

    A builder takes `channels` of the input and, where the network classifies, `classes`. `start_`
    changes the weights that `build` draws.
    """

    builder: Callable[..., nn.Module]
    input_shape: tuple[int, ...]
    description: str
    start_: Callable[[Any], None] = lambda net: None


MNIST, CIFAR, IMAGENET = (1, 28, 28), (3, 32, 32), (3, 224, 224)

TABLE: dict[str, Entry] = {
    "lenet_300_100": Entry(lenet_300_100, MNIST, "784-300-100-10, LeCun 1998"),
    "lenet5": Entry(lenet5, MNIST, "LeNet-5 as in the Caffe examples"),
    "digits_cnn": Entry(digits_cnn, (1, 8, 8), "residual CNN for the 8 x 8 digits of the demo"),
    "resnet20": Entry(resnet20, CIFAR, "option-A shortcuts, He 2016"),
    "resnet32": Entry(resnet32, CIFAR, "option-A shortcuts, He 2016"),
    "resnet44": Entry(resnet44, CIFAR, "option-A shortcuts, He 2016"),
    "resnet56": Entry(resnet56, CIFAR, "option-A shortcuts, He 2016"),
    "vgg16_bn": Entry(vgg16_bn, CIFAR, "thirteen 3 x 3 convolutions, Li 2017"),
    "resnet18": Entry(resnet18, IMAGENET, "basic blocks, He 2016"),
    "resnet50": Entry(resnet50, IMAGENET, "bottlenecks, He 2016"),
    "mobilenet_v1": Entry(mobilenet_v1, IMAGENET, "depthwise-separable pairs, Howard 2017"),
    "mobilenet_v2": Entry(mobilenet_v2, IMAGENET, "inverted residuals, Sandler 2018"),
    "mobilenet_v3": Entry(mobilenet_v3, IMAGENET, "V3-Large, gated, Howard 2019"),
    "efficientnet_b0": Entry(efficientnet_b0, IMAGENET, "gated, SiLU, Tan 2019"),
    "squeezenet": Entry(squeezenet, IMAGENET, "1.1, Fire modules, Iandola 2016"),
    "densenet121": Entry(densenet121, IMAGENET, "dense concatenation, Huang 2017"),
    "shufflenet_v2": Entry(shufflenet_v2, IMAGENET, "1.0x, channel shuffle, Ma 2018"),
    "unet": Entry(unet, (3, 96, 96), "small U-Net, one label per pixel, Ronneberger 2015"),
    "grid_detector": Entry(grid_detector, (3, 64, 64), "a box per cell of 8 x 8, Redmon 2016"),
    "espcn": Entry(espcn, (1, 24, 24), "sub-pixel super-resolution, Shi 2016", from_the_anchor_),
    "sensor_cnn": Entry(sensor_cnn, (6, 128), "1-D, windows of sensor samples, Wang 2017"),
    "encoder": Entry(encoder, (3, 32, 32), "embeddings compared by cosine, Hadsell 2006"),
}


def options(name: str) -> tuple[str, ...]:
    """The options that the network `name` takes; none for a name that the zoo does not know.

    >>> options("espcn")
    ('channels', 'scale')
    """
    entry = TABLE.get(name)
    return tuple(inspect.signature(entry.builder).parameters) if entry else ()


def build(name: str, *, seed: int = 0, **options: Any) -> nn.Module:
    """The untrained network `name` with Kaiming weights drawn from `seed`.

    Options are the builder's own: `classes`, `channels` (of the input), for some `width`. The
    global random state is left as it was. Raises `NetworkError` for a name or an option it does
    not know.

    >>> build("resnet20", classes=100).linear.out_features
    100
    """
    if name not in TABLE:
        close = difflib.get_close_matches(name, TABLE, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Choose one of: {', '.join(TABLE)}."
        raise NetworkError(f"The zoo has no network called {name!r}.", hint)
    builder = TABLE[name].builder
    _check(name, builder, options)
    with torch.random.fork_rng(devices=[]):
        net = builder(**options)
    initialise_(net, torch.Generator().manual_seed(seed))
    TABLE[name].start_(net)
    return net


def _check(name: str, builder: Callable[..., nn.Module], options: dict[str, Any]) -> None:
    known = inspect.signature(builder).parameters
    for option, value in options.items():
        if option not in known:
            raise NetworkError(
                f"{name} has no option {option!r}.", f"It takes: {', '.join(known)}."
            )
        whole = isinstance(known[option].default, int)
        good = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not good or value <= 0:
            kind = "a positive whole number" if whole else "a positive number"
            raise NetworkError(f"The option {option!r} of {name} must be {kind} but got {value!r}.")
