"""Tiny networks, one per way in which channels are coupled. All ReLU, so zero in is zero out."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lighten.network import Graph, trace

SHAPE = (3, 8, 8)


def _conv(inputs: int, outputs: int, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, **options)


class Net(nn.Module):
    """conv → body → pool → linear; subclasses say what the body is."""

    def __init__(self, width: int, out: int | None = None) -> None:
        super().__init__()
        self.stem = _conv(3, width)
        self.bn = nn.BatchNorm2d(width)
        self.head = nn.Linear(out or width, 5)

    def body(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(F.relu(self.bn(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Residual(Net):
    def __init__(self) -> None:
        super().__init__(8)
        self.up, self.norm, self.down = _conv(8, 12), nn.BatchNorm2d(12), _conv(12, 8)

    def body(self, x: Tensor) -> Tensor:
        return F.relu(x + self.down(F.relu(self.norm(self.up(x)))))


class Concat(Net):
    def __init__(self) -> None:
        super().__init__(6, 14)
        self.a, self.b = _conv(6, 4), _conv(6, 4)

    def body(self, x: Tensor) -> Tensor:
        return torch.cat([F.relu(self.b(x)), x, F.relu(self.a(x))], 1)


class ZeroPad(Net):
    """ResNet option A: the shortcut's channels land four places further on."""

    def __init__(self) -> None:
        super().__init__(8, 16)
        self.conv = _conv(8, 16, stride=2)
        self.more = _conv(16, 16)

    def body(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4)))
        return F.relu(x + self.more(x))


class ZeroCat(Net):
    """The same written with concatenated zeros."""

    def __init__(self) -> None:
        super().__init__(8, 16)
        self.conv = _conv(8, 16)

    def body(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(x.size(0), 4, x.size(2), x.size(3))
        return F.relu(self.conv(x) + torch.cat([zeros, x, zeros], dim=1))


class Depthwise(Net):
    def __init__(self) -> None:
        super().__init__(8, 6)
        self.depth, self.norm, self.point = _conv(8, 16, groups=8), nn.BatchNorm2d(16), _conv(16, 6)

    def body(self, x: Tensor) -> Tensor:
        return F.relu(self.point(F.relu(self.norm(self.depth(x)))))


class Grouped(Net):
    def __init__(self) -> None:
        super().__init__(12, 8)
        self.grouped = _conv(12, 8, groups=2)

    def body(self, x: Tensor) -> Tensor:
        return F.relu(self.grouped(x))


class Norms(Net):
    """GroupNorm with four groups of two channels."""

    def __init__(self) -> None:
        super().__init__(6, 8)
        self.conv, self.norm = _conv(6, 8), nn.GroupNorm(4, 8)

    def body(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Flatten(Net):
    def __init__(self) -> None:
        super().__init__(6, 7)
        self.hidden = nn.Linear(6 * 16, 7)

    def body(self, x: Tensor) -> Tensor:
        x = torch.flatten(F.max_pool2d(x, 2), 1)
        return F.relu(self.hidden(x))[:, :, None, None]


class SqueezeExcite(Net):
    def __init__(self) -> None:
        super().__init__(8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def body(self, x: Tensor) -> Tensor:
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1))))
        return x * torch.sigmoid(gate)


class Shuffle(Net):
    """Channel shuffle with two groups, then a split whose halves go different ways."""

    def __init__(self) -> None:
        super().__init__(12)
        self.branch = _conv(6, 6)

    def body(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        a, b = x.chunk(2, dim=1)
        return torch.cat([a, F.relu(self.branch(b))], 1)


class Shared(Net):
    """One module called twice: what it makes the second time is what it read the first time."""

    def __init__(self) -> None:
        super().__init__(8)
        self.twice = _conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return F.relu(self.twice(F.relu(self.twice(x))))


class Split(Net):
    """Uneven parts, one of them strided over its channels, and a free parameter."""

    def __init__(self) -> None:
        super().__init__(10, 9)
        self.a, self.b = _conv(4, 5), _conv(3, 4)
        self.scale = nn.Parameter(torch.rand(10, 1, 1) + 0.5)

    def body(self, x: Tensor) -> Tensor:
        a, b = (x * self.scale).split([4, 6], dim=1)
        return torch.cat([F.relu(self.a(a)), F.relu(self.b(b[:, 1::2]))], 1)


class Transposed(Net):
    """A small U-Net: pooled, upsampled by a transposed convolution, concatenated."""

    def __init__(self) -> None:
        super().__init__(6, 8)
        self.deep, self.up = _conv(6, 10), nn.ConvTranspose2d(10, 4, 2, stride=2)
        self.join = _conv(10, 8)

    def body(self, x: Tensor) -> Tensor:
        deep = F.relu(self.up(F.relu(self.deep(F.max_pool2d(x, 2)))))
        return F.relu(self.join(torch.cat([x, deep], 1)))


class Heads(Net):
    """Attention over positions: two heads of four features, LayerNorm."""

    def __init__(self) -> None:
        super().__init__(8)
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)
        self.place = nn.Parameter(torch.randn(1, 16, 8))

    def body(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 2).flatten(2).transpose(1, 2) + self.place
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c)
        return (x + self.out(mixed)).transpose(1, 2).unsqueeze(-1)


STRUCTURES: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(Residual, Concat, ZeroPad, ZeroCat, Depthwise, Grouped, Norms, Flatten),
        *(SqueezeExcite, Shuffle, Shared, Split, Transposed),
    )
}


def make(name: str) -> nn.Module:
    """The network with random weights and random running statistics, in eval mode."""
    torch.manual_seed(0)
    net = STRUCTURES[name]() if name in STRUCTURES else Heads()
    return settled(net)


@cache
def graph_of(name: str) -> Graph:
    """`make(name)`, traced once; nobody may change it."""
    return trace(make(name), torch.zeros(1, *SHAPE))


def settled(net: nn.Module) -> nn.Module:
    """Normalisations as after training: none of them the identity."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, 0, 0.2)
    return net.eval()
