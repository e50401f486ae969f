"""A lifted network is the original: same numbers, same names, any batch, no in-place writes."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lighten.errors import NetworkError, WeightsError
from lighten.network import lift
from tests.tiny_nets import SHAPE, STRUCTURES, make


class Writes(nn.Module):
    """In-place ops, one of them through a view where asked; dropout as a function; dict output."""

    def __init__(self, through_view: bool = False, dropout: bool = True) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True)
        self.other = self.conv
        self.unused = nn.Linear(2, 2)
        self.through_view, self.dropout = through_view, dropout

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.act(self.conv(x))
        kept = y
        y += 1
        if self.through_view:
            y[:, :2].mul_(2)
        y = F.dropout(kept * y, 0.5, self.training) if self.dropout else kept * y
        return {"a": y, "b": self.other(x)}


class Masked(nn.Module):
    """A mask written part by part into a tensor of x's number type, as shifted windows have it."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.conv, self.shift, self.rate = nn.Conv2d(3, 4, 1), nn.Parameter(torch.ones(4)), rate

    def forward(self, x: Tensor) -> Tensor:
        mask = x.new_zeros(x.shape[2:])
        mask[:4, 2:] = 3
        if not self.rate:
            shift = self.shift.clone()
            shift[1:3].zero_()
            x = self.conv(x) + shift.view(4, 1, 1)
        return F.dropout(x * mask, self.rate, self.training)


class FixedBatch(nn.Module):
    """`int(batch)` pins the batch size in the export."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        n = int(x.shape[0])
        return self.conv(x).reshape(n * 4, -1).reshape(n, -1) * torch.tensor(2.0)


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return -x


def equal(ours: object, theirs: object) -> bool:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(torch.allclose(ours[k], theirs[k], atol=1e-6) for k in theirs)
    assert isinstance(ours, Tensor) and isinstance(theirs, Tensor)
    return torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("name", ["Depthwise", "Norms", "Transposed", "Heads"])
def test_equals_the_network_in_both_modes(name: str) -> None:
    net = make(name)
    check_equal(net)


@pytest.mark.parametrize(
    "net", [Writes(), Writes(True, False), Masked(), Masked(0.0), FixedBatch()]
)
def test_in_place_and_fixed_batch(net: nn.Module) -> None:
    check_equal(net)


class WrittenTwice(nn.Module):
    """A new tensor that gets a constant first and what flows later."""

    def forward(self, x: Tensor) -> Tensor:
        m = x.new_zeros(4)
        m[0] = 1.0
        y = x * m
        m.add_(x[0])
        return y + m


class WrittenApart(nn.Module):
    """A constant in one row, what flows in the others."""

    def forward(self, x: Tensor) -> Tensor:
        m = torch.zeros(4, 4)
        m[0] = 1.0
        m[1:] += x.sum(0)
        return x @ m


@pytest.mark.parametrize("kind", [WrittenTwice, WrittenApart])
def test_what_an_input_is_written_into_is_no_constant(kind: type[nn.Module]) -> None:
    net, x = kind(), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    lifted = lift(net, x)
    for _ in range(3):
        assert torch.allclose(lifted(x), net(x), atol=1e-6)


def test_dropout_is_not_lost_beside_writes_through_views() -> None:
    net, x = Writes(True, True), torch.randn(2, *SHAPE)
    lifted = lift(net, x)
    assert torch.equal(lifted.eval()(x)["a"], net.eval()(x)["a"])
    torch.manual_seed(0)
    found = lifted.train()(x)["a"]
    torch.manual_seed(0)
    assert torch.equal(found, net.train()(x)["a"]) and not torch.equal(found, net.eval()(x)["a"])


def check_equal(net: nn.Module) -> None:
    lifted = lift(net, torch.randn(1, *SHAPE))
    again = copy.deepcopy(lifted)
    assert list(lifted.state_dict()) == list(net.state_dict()) == list(again.state_dict())
    x = torch.randn(5, *SHAPE)
    for mode in (True, False):
        results = []
        for one in (net, lifted, again):
            one.train(mode)
            torch.manual_seed(1)
            results.append(one(x))
        assert equal(results[1], results[0]) and equal(results[2], results[0])


def test_modules_are_real_and_shapes_are_the_examples() -> None:
    lifted = lift(make("Shared"), torch.randn(1, *SHAPE))
    calls = [node.target for node in lifted.graph.nodes if node.op == "call_module"]
    assert calls == ["stem", "bn", "twice", "twice", "head"]
    assert isinstance(lifted.get_submodule("twice"), nn.Conv2d)
    assert [tuple(n.meta["val"].shape) for n in lifted.graph.nodes if n.target == "bn"] == [
        (1, 8, 8, 8)
    ]
    for node in lifted.graph.nodes:
        assert not getattr(getattr(node.target, "_schema", None), "is_mutable", False)


def test_the_network_is_not_touched() -> None:
    net = make("Residual").train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    lifted = lift(net, torch.randn(1, *SHAPE))
    assert net.training and lifted.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(a is not b for a, b in zip(net.parameters(), lifted.parameters(), strict=True))


def test_not_exportable_says_where() -> None:
    with pytest.raises(NetworkError, match=r"test_lift\.py:\d+ \(if x\.sum\(\) > 0:\)"):
        lift(Branches(), torch.randn(1, 3))


def test_wrong_input_shape_says_so() -> None:
    with pytest.raises(NetworkError, match=r"with inputs of shape \(2, 4, 8, 8\)"):
        lift(make("Residual"), torch.randn(1, 4, 8, 8))


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_bad_weights_are_named(value: float, word: str) -> None:
    net = make("Residual")
    next(net.get_submodule("down").parameters()).data[0, 0] = value
    with pytest.raises(WeightsError, match=rf"down\.weight holds {word}"):
        lift(net, torch.randn(1, *SHAPE))


def test_structures_cover_what_the_table_names() -> None:
    assert len(STRUCTURES) == 13
