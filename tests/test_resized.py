"""A program at other input shapes is what torch computes there, or is refused: never a third."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lighten import store
from lighten.errors import ProgramError
from lighten.network import lower
from lighten.program import Builder, Program, interpret, resized
from lighten.program.resized_axes import regrouped
from tests.grammar import draw
from tests.test_lower import lively

MADE, OTHERS = (4, 8, 8), ((4, 12, 8), (4, 8, 16), (4, 7, 9), (4, 16, 5))
BOUND = 1e-5  # max |y − torch| / max |torch|


class Calls(nn.Module):
    """A function of what a convolution gives, and of layers to use in it."""

    def __init__(self, function: Callable[[Calls, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.scale, self.down = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.up, self.to_16 = nn.Upsample(scale_factor=2), nn.Upsample(size=(16, 16))
        self.pool, self.halve, self.pad = (
            nn.AvgPool2d(4),
            nn.MaxPool2d(2),
            nn.ZeroPad2d((0, 1, 2, 1)),
        )
        self.groups, self.instance = nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)
        self.whole = nn.AvgPool2d(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.scale(x))


def attended(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


def rows(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2).reshape(len(x), x.shape[2], x.shape[3], 4)


def centred(x: Tensor) -> Tensor:
    return (x - x.mean((2, 3), keepdim=True)) / x.var((2, 3), keepdim=True, correction=0).sqrt()


def shuffled(x: Tensor) -> Tensor:
    return x.reshape(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)


TAKEN: dict[str, Callable[[Calls, Tensor], Tensor]] = {
    "convolution": lambda net, x: net.down(x),
    "global mean": lambda net, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "means over one axis": lambda net, x: x.mean(2),
    "window": lambda net, x: net.pool(x),
    "halved": lambda net, x: net.halve(x),
    "upsampled": lambda net, x: net.up(x),
    "upsampled between": lambda net, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "padded by a module": lambda net, x: net.pad(x),
    "channels padded": lambda net, x: F.pad(x, (0, 0, 0, 0, 2, 2)),
    "every second": lambda net, x: x[:, :, ::2, ::2],
    "first": lambda net, x: x[:, :, 0],
    "last": lambda net, x: x[:, :, -1],
    "flattened": lambda net, x: x.flatten(1),
    "flattened and back": lambda net, x: rows(x),
    "attention over pixels": lambda net, x: attended(x),
    "channels shuffled": lambda net, x: shuffled(x),
    "pixels shuffled": lambda net, x: F.pixel_shuffle(x, 2),
    "group norm": lambda net, x: net.groups(x),
    "instance norm": lambda net, x: net.instance(x),
    "centred": lambda net, x: centred(x),
    "variance over channels": lambda net, x: x.var(1, keepdim=True) * x,
    "gate": lambda net, x: torch.sigmoid(x.mean((2, 3), keepdim=True)) * x,
    "softmax": lambda net, x: x.softmax(3),
    "twice": lambda net, x: x.repeat(1, 1, 2, 1),
}
REFUSED: dict[str, tuple[Callable[[Calls, Tensor], Tensor], str]] = {
    "window over all": (lambda net, x: F.avg_pool2d(x, x.shape[2:]), "pool 'avg_pool2d': its num"),
    "adaptive windows": (lambda net, x: F.adaptive_avg_pool2d(x, 4), "may have been measured"),
    "uneven windows": (lambda net, x: F.adaptive_avg_pool2d(x, 3), "gather .* listed places"),
    "adaptive to the same": (lambda net, x: F.adaptive_max_pool2d(x, 8), "leaves its input as it"),
    "unbiased variance": (lambda net, x: x.var((2, 3)), "reduce .* may have been measured"),
    "to a fixed size": (lambda net, x: net.to_16(x), "resize 'to_16.*: its numbers may have"),
    "to a size in the code": (lambda net, x: F.interpolate(x, (20, 20)), "may have been measured"),
    "to its own size": (lambda net, x: F.interpolate(x, (8, 8)), "leaves its input as it is"),
    "spread": (lambda net, x: F.interpolate(x.mean((2, 3), True), x.shape[2:]), "1 became 8"),
    "padded": (lambda net, x: F.pad(x, (0, 1, 0, 1)), "pad 'pad': its numbers may have been"),
    "padded by nothing": (lambda net, x: F.pad(x, (0, -x.shape[3] % 4)), "leaves its input as"),
    "mirrored": (lambda net, x: F.pad(x, (1, 1, 1, 1), "reflect"), "gather .* listed places"),
    "halves": (lambda net, x: torch.cat(x.chunk(2, 2)[::-1], 2), r"slice .* takes 0:4 of the 8"),
    "one by one": (lambda net, x: torch.cat(x.unbind(2), 2), "slice .* takes 0:1 of the 8"),
    "all but one": (lambda net, x: x[:, :, :-1, :-1], "slice .* takes 0:7 of the 8"),
    "rolled": (lambda net, x: x.roll((2, 2), (2, 3)), "slice 'roll"),
    "divided": (lambda net, x: x.sum((2, 3)) / (x.shape[2] * x.shape[3]), "divides a sum of 64"),
    "windows": (
        lambda net, x: x.reshape(len(x), 4, 2, 4, 2, 4).transpose(3, 4).reshape(len(x), 16, 16),
        r"\(4, 8, 8\) became \(4, 2, 4, 2, 4\)",
    ),
    "positions": (lambda net, x: x + torch.arange(64.0).view(8, 8), "add': .* do not broadcast"),
    "repeated": (lambda net, x: x.mean((2, 3), True).expand(-1, -1, 8, 8), "it repeats to 8"),
    "copied": (lambda net, x: x.mean((2, 3), True).repeat(1, 1, 8, 8), "it repeats 8 times"),
    "summed up": (lambda net, x: x.cumsum(2).cumsum(3), "linear 'cumsum"),
    "registers": (
        lambda net, x: torch.cat((x.flatten(2), torch.ones(len(x), 4, 3)), 2),
        "appends a stored array",
    ),
}


def made(function: Callable[[Calls, Tensor], Tensor]) -> tuple[nn.Module, Program]:
    torch.manual_seed(0)
    net = lively(Calls(function)).eval()
    return net, lower(net, torch.zeros(2, *MADE))


def agrees(net: nn.Module, program: Program, *inputs: Tensor) -> None:
    (found,) = interpret(
        resized(program, [tuple(x.shape[1:]) for x in inputs]), *(x.numpy() for x in inputs)
    )
    with torch.no_grad():
        exact = net(*inputs).numpy()
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= BOUND * np.abs(exact).max()


@pytest.mark.parametrize("name", TAKEN)
def test_it_is_what_torch_computes(name: str) -> None:
    net, program = made(TAKEN[name])
    for other in OTHERS:
        agrees(net, program, torch.randn(2, *other))


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_mean_two_things_is_refused(name: str) -> None:
    function, why = REFUSED[name]
    net, program = made(function)
    agrees(net, program, torch.randn(2, *MADE))
    with pytest.raises(ProgramError, match=why):
        resized(program, [(4, 12, 12)])
    for other in ((4, 7, 9), (4, 5, 5), (4, 16, 20)):
        with pytest.raises(ProgramError):
            resized(program, [other])


def grown(x: Tensor, by: int) -> Tensor:
    """Another example, every axis beyond the channels (of tokens: beyond the batch) longer."""
    first = 2 if x.is_floating_point() and x.ndim > 2 else 1
    shape = [*x.shape[:first], *(extent + by for extent in x.shape[first:])]
    if x.is_floating_point():
        return torch.randn(shape, dtype=torch.float64)
    return torch.zeros(shape, dtype=x.dtype)


@pytest.mark.parametrize("part", [0, *(pytest.param(n, marks=pytest.mark.soak) for n in (1, 2, 3))])
def test_random_networks_are_right_or_refused(part: int) -> None:
    taken = 0
    for seed in range(20 * part, 20 * part + 20):
        net, inputs = draw(seed)
        program = lower(net, inputs)
        for by in (1, 4):
            others = tuple(grown(x, by) for x in inputs)
            try:
                wider = resized(program, [tuple(x.shape[1:]) for x in others])
                with torch.no_grad():
                    exact = tree_leaves(copy.deepcopy(net).double()(*others))
            except (ProgramError, RuntimeError):  # torch also runs what no output needs
                continue
            found = interpret(wider, *(x.numpy() for x in others))
            for y, wanted in zip(found, exact, strict=True):
                assert y.shape == wanted.shape
                np.testing.assert_allclose(y, wanted, atol=1e-4 * max(1, float(wanted.abs().max())))
            taken += 1
    assert taken > 3


def test_a_size_that_follows_another_is_taken_where_both_ways_agree() -> None:
    net, program = made(lambda net, x: F.interpolate(net.down(x), x.shape[2:]) + x)
    agrees(net, program, torch.randn(2, 4, 12, 10))
    with pytest.raises(ProgramError, match=r"resize .* its size \(8, 8\) would be \(8, 10\) or"):
        resized(program, [(4, 7, 9)])


def test_one_is_not_spread_over_what_is_stored() -> None:
    net, program = made(lambda net, x: x + torch.arange(8.0))
    agrees(net, program, torch.randn(2, 4, 3, 8))
    with pytest.raises(ProgramError, match="an axis that had 8 is 1 now"):
        resized(program, [(4, 8, 1)])
    net = nn.Sequential(nn.Conv2d(4, 4, 8), nn.PReLU(4)).eval()
    with pytest.raises(ProgramError, match="stored array of 1 along an axis that is 5 now"):
        resized(lower(net, torch.zeros(2, *MADE)), [(4, 12, 8)])


def test_extents_of_the_same_product_are_not_told_apart() -> None:
    _, program = made(lambda net, x: x.flatten(2))
    with pytest.raises(ProgramError, match="not certain"):
        resized(program, [(4, 16, 4)])


def test_other_ranks_and_channels() -> None:
    _, program = made(TAKEN["convolution"])
    with pytest.raises(ProgramError, match="The input 'x' has 3 axes, but got 2"):
        resized(program, [(4, 8)])
    with pytest.raises(ProgramError, match="conv 'scale': input has 5 channels"):
        resized(program, [(5, 8, 8)])


def test_the_way_back_from_a_row_is_the_way_there() -> None:
    axes = (((2, 2),), ((6, 9), (4, 5)))
    assert regrouped(axes, (2, 6, 4)) == (((2, 2),), ((6, 9),), ((4, 5),))
    assert regrouped(axes, (12, 4)) == (((2, 2), (6, 9)), ((4, 5),))
    assert regrouped(axes, (2, 4, 6)) is None
    assert regrouped(axes, (4, 12)) is None
    assert regrouped((((8, 8),), ((6, 9),)), (4, 12)) is None
    assert regrouped((((6, 6),), ((4, 4),), ((3, 5),)), (8, 3, 3)) == (
        ((8, 8),),
        ((3, 3),),
        ((3, 5),),
    )


def test_what_was_measured_survives_a_file(tmp_path: Path) -> None:
    _, program = made(REFUSED["adaptive windows"][0])
    assert program.measured == ("adaptive_avg_pool2d",)
    store.save(program, tmp_path / "model.lighten")
    assert store.load(tmp_path / "model.lighten").measured == program.measured


def test_numbers_from_the_end_are_kept() -> None:
    b = Builder()
    y = b.op("slice", b.input("x", (6,)), axis=0, start=-3, stop=-1, step=1)
    (found,) = interpret(resized(b.finish(y), [(10,)]), np.arange(10.0)[None])
    assert found.tolist() == [[7, 8]]
