"""Small networks with the shapes that Torch-Pruning's tests are about, written anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pointwise(source: int, out: int) -> nn.Sequential:
    """A 1×1 convolution and its norm."""
    return nn.Sequential(nn.Conv2d(source, out, 1), nn.BatchNorm2d(out))


def twice(source: int, middle: int, out: int) -> nn.Sequential:
    """Two of them with a GELU between."""
    return nn.Sequential(pointwise(source, middle), nn.GELU(), pointwise(middle, out))


class WideAndDeep(nn.Module):
    """A perceptron and a linear part, concatenated along the last dimension (its test_concat)."""

    def __init__(self) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            *(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2)),
            *(nn.Linear(32, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 6)),
        )
        self.wide, self.last = nn.Linear(32, 10), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 32] to [n, 2]."""
        flat = x.reshape(x.shape[0], -1)
        return torch.sigmoid(self.last(torch.concat([self.wide(flat), self.deep(flat)], dim=-1)))


class ConcatSplit(nn.Module):
    """Half of a split is concatenated, the other half added (test_concat_split)."""

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        self.split, self.beside = twice(10, width, 20), twice(10, width, 10)
        self.joined, self.last = pointwise(20, 10), nn.Conv2d(10, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 10, h, w] to [n, 4, h, w]."""
        beside = self.beside(x)
        wide = self.split(x)
        first = self.joined[0].in_channels - self.beside[2][1].num_features
        left, right = torch.split(wide, (first, self.split[2][1].num_features - first), 1)
        return self.last(self.joined(torch.cat([left, beside], dim=1)) + right)


class SharedSplit(nn.Module):
    """A split into three, of which two are read by one layer (test_split)."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = twice(32, 32, 128)
        self.shared, self.other = pointwise(32, 8), pointwise(64, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[n, 32, h, w] to three of [n, 8, h, w]."""
        narrow, rest = self.shared[0].in_channels, self.other[0].in_channels
        a, b, c = torch.split(self.wide(x), [narrow, narrow, rest], dim=1)
        return self.shared(a), self.shared(b), self.other(c)


class CascadedConcat(nn.Module):
    """Concatenations of concatenations (test_cascaded_concat)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = twice(10, 10, 10), twice(10, 20, 20)
        self.three, self.four = pointwise(10, 30), pointwise(10, 60)
        self.last = nn.Conv2d(120, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 10, h, w] to the same."""
        joined = torch.cat([self.one(x), self.two(x)], dim=1)
        joined = torch.cat([joined, self.three(x)], dim=1)
        return self.last(torch.cat([joined, self.four(x)], dim=1))


class Generator(nn.Module):
    """Features become positions, transposed convolutions, and flat again (test_reshape)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 512)
        self.up = nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1)
        self.more = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.last = nn.Linear(2048, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 64] to [n, 10]."""
        maps = F.relu(self.first(x)).view(-1, self.up.in_channels, 4, 4)
        return self.last(torch.flatten(F.relu(self.more(F.relu(self.up(maps)))), 1))


class OtherConcat(nn.Module):
    """Concatenated and split along the height, not the channels (test_non_feature_dim_cat)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = twice(16, 24, 32), twice(16, 24, 32)
        self.first, self.last = nn.Conv2d(32, 24, 1), nn.Conv2d(24, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 16, h, w] to [n, 8, h, w]."""
        a, b = self.one(x), self.two(x)
        joined = self.first(torch.cat([a, b], dim=2))
        return self.last(torch.split(joined, [a.shape[2], b.shape[2]], dim=2)[0])


class TwoInTwoOut(nn.Module):
    """Two inputs, several outputs that are also read (test_multiple_inputs_and_outputs)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(128, 32), nn.Linear(64, 32)
        self.middle, self.last = nn.Linear(64, 48), nn.Linear(48, 10)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """[n, 128], [n, 64] to [n, 32], [n, 10]."""
        a, b = F.relu(self.a(x)), F.relu(self.b(y))
        return b, self.last(F.relu(self.middle(torch.cat([a, b], dim=1))))


class Scaled(nn.Module):
    """A layer of one's own: unit length, scale, shift, linear (test_customized_layer)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))
        self.mix = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width] to the same."""
        return self.mix(x / x.pow(2).sum(dim=1, keepdim=True).sqrt() * self.scale + self.shift)


class Customized(nn.Module):
    """That layer between two linear ones, and a parameter nobody uses (test_unused_parameters)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.own, self.last = nn.Linear(128, 256), Scaled(256), nn.Linear(256, 10)
        self.unused = nn.Parameter(torch.rand(10))

    def forward(self, x: Tensor) -> Tensor:
        """[n, 128] to [n, 10]."""
        return self.last(self.own(F.relu(self.first(x))))


class SkippingPerceptron(nn.Module):
    """Linear layers with a shortcut (test_fully_connected_layers)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner = nn.Linear(128, 256), nn.Linear(256, 256)
        self.last = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 128] to [n, 10]."""
        skip = F.relu(self.first(x))
        return self.last(F.relu(self.inner(skip)) + skip)


class OneChannelOut(nn.Module):
    """A map of one channel (test_single_channel_output); `transposed` as test_pruner has it."""

    def __init__(self, transposed: bool = False) -> None:
        super().__init__()
        middle = nn.ConvTranspose2d if transposed else nn.Conv2d
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(middle(16, 64, 2, stride=2), nn.BatchNorm2d(64), nn.ReLU()),
        )
        self.last = nn.Conv2d(64, 8 if transposed else 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, h, w] to [n, 1 or 8, h′, w′]."""
        return self.last(self.body(x))


class LeNet(nn.Module):
    """Convolutions flattened by a view (test_dependency_lenet)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.three, self.four, self.last = (
            nn.Linear(256, 120),
            nn.Linear(120, 84),
            nn.Linear(84, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n, 1, 28, 28] to [n, 10]."""
        maps = F.max_pool2d(F.relu(self.two(F.max_pool2d(F.relu(self.one(x)), 2))), 2)
        return self.last(F.relu(self.four(F.relu(self.three(maps.view(maps.shape[0], -1))))))
