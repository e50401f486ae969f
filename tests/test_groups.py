"""Which slices are coupled, spelled out by hand for each structure; costs in closed form."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lighten.errors import NetworkError
from lighten.network import Graph, check_exact, share, table, trace
from tests.tiny_nets import SHAPE, Net, graph_of, make

# group → (size, {(parameter, dim): the indices of slice 0}); biases and norms' other tensors aside
EXPECTED: dict[str, dict[str, tuple[int, dict[tuple[str, int], tuple[int, ...]]]]] = {
    "Residual": {
        "stem": (8, {("stem", 0): (0,), ("down", 0): (0,), ("up", 1): (0,), ("head", 1): (0,)}),
        "up": (12, {("up", 0): (0,), ("norm", 0): (0,), ("down", 1): (0,)}),
    },
    "Concat": {
        "stem": (6, {("stem", 0): (0,), ("a", 1): (0,), ("b", 1): (0,), ("head", 1): (4,)}),
        "b": (4, {("b", 0): (0,), ("head", 1): (0,)}),
        "a": (4, {("a", 0): (0,), ("head", 1): (10,)}),
    },
    "ZeroPad": {
        "stem": (8, {("stem", 0): (0,), ("conv", 1): (0,), ("conv", 0): (4,), ("more", 1): (4,)}),
        "conv": (8, {("conv", 0): (0,), ("more", 0): (0,), ("more", 1): (0,)}),
    },
    "Depthwise": {
        "stem": (8, {("stem", 0): (0,), ("depth", 0): (0, 1), ("point", 1): (0, 1)}),
        "point": (6, {("point", 0): (0,), ("head", 1): (0,)}),
    },
    "Grouped": {
        "stem": (6, {("stem", 0): (0, 6), ("grouped", 1): (0,)}),
        "grouped": (4, {("grouped", 0): (0, 4), ("head", 1): (0, 4)}),
    },
    "Norms": {
        "stem": (6, {("stem", 0): (0,), ("conv", 1): (0,)}),
        "conv": (4, {("conv", 0): (0, 1), ("norm", 0): (0, 1), ("head", 1): (0, 1)}),
    },
    "Flatten": {
        "stem": (6, {("stem", 0): (0,), ("hidden", 1): tuple(range(16))}),
        "hidden": (7, {("hidden", 0): (0,), ("head", 1): (0,)}),
    },
    "SqueezeExcite": {
        "stem": (8, {("stem", 0): (0,), ("excite", 0): (0,), ("squeeze", 1): (0,)}),
        "squeeze": (4, {("squeeze", 0): (0,), ("excite", 1): (0,)}),
    },
    "Shuffle": {
        "stem": (3, {("stem", 0): (0, 6), ("head", 1): (0, 1)}),
        "stem#2": (3, {("stem", 0): (3, 9), ("branch", 1): (0, 1)}),
        "branch": (6, {("branch", 0): (0,), ("head", 1): (6,)}),
    },
    "Shared": {"stem": (8, {("stem", 0): (0,), ("twice", 0): (0,), ("twice", 1): (0,)})},
    "Split": {
        "stem": (4, {("stem", 0): (0,), ("a", 1): (0,)}),
        "stem#2": (3, {("stem", 0): (4,)}),
        "stem#3": (3, {("stem", 0): (5,), ("b", 1): (0,)}),
        "a": (5, {("a", 0): (0,), ("head", 1): (0,)}),
        "b": (4, {("b", 0): (0,), ("head", 1): (5,)}),
    },
    "Transposed": {
        "stem": (6, {("stem", 0): (0,), ("deep", 1): (0,), ("join", 1): (0,)}),
        "deep": (10, {("deep", 0): (0,), ("up", 0): (0,)}),
        "up": (4, {("up", 1): (0,), ("join", 1): (6,)}),
        "join": (8, {("join", 0): (0,), ("head", 1): (0,)}),
    },
    "Heads": {
        "qkv": (
            2,
            {
                ("qkv", 0): tuple(8 * part + i for part in range(3) for i in range(4)),
                ("out", 1): (0, 1, 2, 3),
            },
        )
    },
}


def traced(net: nn.Module, **options: list[str]) -> Graph:
    return trace(net, torch.randn(1, *SHAPE), **options)


@pytest.mark.parametrize("name", EXPECTED)
def test_groups_by_hand(name: str) -> None:
    graph = graph_of(name)
    assert {g.name: g.size for g in graph.groups} == {n: e[0] for n, e in EXPECTED[name].items()}
    for group in graph.groups:
        found = {(m.parameter, m.dim): m.slices[0] for m in group.members}
        for (layer, dim), indices in EXPECTED[name][group.name][1].items():
            assert found[f"{layer}.weight", dim] == indices, (group.name, layer, dim)


def test_zero_padding_shifts_every_index() -> None:
    group = graph_of("ZeroPad").group("stem")
    conv = next(m for m in group.producers if m.parameter == "conv.weight")
    assert conv.slices == tuple((i + 4,) for i in range(8))


def test_roles() -> None:
    group = graph_of("Depthwise").group("stem")
    assert [m.parameter for m in group.producers] == ["stem.weight", "stem.bias"]
    assert {"depth.weight", "depth.bias", "norm.weight", "bn.running_var"} <= {
        m.parameter for m in group.followers
    }
    assert [m.parameter for m in group.consumers] == ["point.weight"]


class Unknown(Net):
    """An op that no rule knows, in the middle."""

    def __init__(self) -> None:
        super().__init__(8, 6)
        self.before, self.after, self.last = (nn.Conv2d(8, 8, 1) for _ in range(3))
        self.head = nn.Linear(8, 5)

    def body(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return F.relu(self.last(F.relu(self.after(torch.sort(x, dim=1)[0]))))


class Gate(Net):
    """One map of gates, spread over all channels; a mean over channels."""

    def __init__(self) -> None:
        super().__init__(8)
        self.gate, self.other = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 8, 1)

    def body(self, x: Tensor) -> Tensor:
        y = self.other(x)
        return x * torch.sigmoid(self.gate(x)) + y.mean(1, keepdim=True)


def test_an_unknown_op_freezes_what_it_touches_and_nothing_else() -> None:
    graph = traced(Unknown())
    assert graph.left_alone["before"] == "aten.sort is not handled"
    assert {group.name for group in graph.groups} == {"stem", "after", "last"}
    assert graph.layer("before").uncut == "aten.sort is not handled"


def test_reasons() -> None:
    graph = traced(Gate())
    assert graph.left_alone["gate"] == "is spread over the channels of another tensor"
    assert graph.left_alone["other"] == "mean is taken over its channels"
    assert graph.left_alone["head"] == "reaches the output"
    assert [group.name for group in graph.groups] == ["stem"]


@pytest.mark.parametrize("ignore", ["up", "re:u.*"])
def test_ignored_layers_stay_as_they_are(ignore: str) -> None:
    graph = traced(make("Residual"), ignore=[ignore])
    assert graph.left_alone["up"] == "ignored, as asked"
    assert not any(m.parameter.startswith("up.") for g in graph.groups for m in g.members)


class Attending(Net):
    """torch's own attention, which merges heads with the batch; then maxima of uneven windows."""

    def __init__(self) -> None:
        super().__init__(8)
        self.attend = nn.MultiheadAttention(8, 4, batch_first=True)

    def body(self, x: Tensor) -> Tensor:
        tokens = F.adaptive_max_pool2d(x, (3, 2)).flatten(2).transpose(1, 2)
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return mixed.transpose(1, 2).unsqueeze(-1)


def test_heads_merged_with_the_batch_are_cut() -> None:
    graph = traced(Attending())
    sizes = {group.name: group.size for group in graph.groups}
    assert sizes == {"stem": 8, "attend.in_proj_weight": 4, "attend.out_proj": 8}
    keep = {"stem": [0, 3, 6], "attend.in_proj_weight": [0, 2, 3], "attend.out_proj": [1, 4]}
    assert check_exact(graph, keep, (), torch.randn(3, *SHAPE)) < 1e-10


class Gated(Net):
    """Halves that gate each other go together; channels mixed by an einsum are cut one by one."""

    def __init__(self) -> None:
        super().__init__(12)
        self.weight = nn.Parameter(torch.randn(12, 6))

    def body(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,oc->bohw", F.glu(x, 1).movedim(1, -1).movedim(-1, 1), self.weight)


def test_gated_halves_go_together() -> None:
    graph = traced(Gated())
    assert {group.name: group.size for group in graph.groups} == {"stem": 6, "weight": 12}
    stem = graph.group("stem").producers[0]
    assert stem.slices[0] == (0, 6)
    keep = {"stem": [1, 2, 5], "weight": [0, 7, 11]}
    assert check_exact(graph, keep, (), torch.randn(3, *SHAPE)) < 1e-10


class Written(Net):
    """Half of the channels written over in place; the largest of each channel read by index."""

    def __init__(self) -> None:
        super().__init__(8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def body(self, x: Tensor) -> Tensor:
        y = torch.cat([x, torch.zeros_like(x)], 1)[:, :8]
        y[:, :4] = x[:, 4:] * 2
        tokens = F.max_pool2d(y, 4).flatten(2).transpose(1, 2)
        unseen = torch.ones(4, 4).triu(1).bool()
        mixed, _ = self.attend(tokens, tokens, tokens, attn_mask=unseen)  # with its weights
        return mixed.max(1)[0][:, :, None, None]


def test_written_parts_filled_parts_and_the_default_attention() -> None:
    graph = traced(Written())
    sizes = {group.name: group.size for group in graph.groups}
    heads = {"attend.in_proj_weight": 2, "attend.out_proj": 8}
    assert sizes == {"stem": 4, "stem#2": 4, **heads}
    assert graph.layer("bn").kind == "batchnorm2d"  # a module still, which can train
    keep = {"stem": [0, 3], "attend.in_proj_weight": [1], "attend.out_proj": [1, 4]}
    assert check_exact(graph, keep, (), torch.randn(3, *SHAPE)) < 1e-10


class LookedUp(Net):
    """Channels that choose rows of a table."""

    def __init__(self) -> None:
        super().__init__(8, 6)
        self.table = nn.Embedding(2, 6)

    def body(self, x: Tensor) -> Tensor:
        return self.table((x.mean((2, 3)) > 0.3).long()).sum(1)[:, :, None, None]


def test_what_is_looked_up_stays() -> None:
    graph = traced(LookedUp())
    assert [group.name for group in graph.groups] == ["table"]
    assert graph.left_alone["stem"] == "is looked up in a table"
    assert check_exact(graph, {"table": [0, 4]}, (), torch.randn(3, *SHAPE)) < 1e-10


def test_ignoring_nothing_is_an_error() -> None:
    with pytest.raises(NetworkError, match="fits no layer"):
        traced(make("Residual"), ignore=["nowhere"])


def test_layers_that_share_nothing_cost_nothing_twice() -> None:
    graph = graph_of("Shared")
    assert graph.layer("twice").macs == 2 * 8 * 8 * 9 * 64
    assert graph.parameters == sum(p.numel() for p in make("Shared").parameters())


def test_costs_match_the_closed_form() -> None:
    """Row I1 and I3, written out by hand."""
    graph = graph_of("Transposed")
    macs = {row["layer"]: row["macs"] for row in table(graph.layers) if row["macs"]}
    assert macs == {
        "stem": 64 * 9 * 3 * 6,
        "deep": 16 * 9 * 6 * 10,
        "up": 16 * 10 * 4 * 4,
        "join": 64 * 9 * 10 * 8,
        "head": 8 * 5,
    }
    assert graph_of("Depthwise").layer("depth").macs == 64 * 9 * 16
    assert graph.layer("deep").activation_bytes == 4 * 10 * 16


def test_row_i1() -> None:
    dense = nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU()),
        nn.Linear(100, 10),
    )
    caffe = nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )
    example = torch.zeros(1, 1, 28, 28)
    assert trace(dense, example).macs == 266_200
    assert trace(caffe, example).macs == 2_293_000
    assert trace(caffe, example).inputs == ((1, 28, 28),)


def test_blocks() -> None:
    graph = graph_of("Residual")
    assert [(block.add, block.layers) for block in graph.blocks] == [
        ("add", ("up", "norm", "down"))
    ]
    assert len(graph_of("ZeroPad").blocks) == 1  # the padded shortcut is no identity


def test_share_counts_what_can_be_removed() -> None:
    assert share(graph_of("Residual")) == 1.0
    heads = graph_of("Heads")
    counted = {"qkv", "out"}
    inside = sum(layer.macs for layer in heads.layers if layer.name in counted)
    assert share(heads) == pytest.approx(inside / heads.macs)


def test_weights_used_through_functions() -> None:
    class Functional(Net):
        def __init__(self) -> None:
            super().__init__(8, 6)
            self.kernel = nn.Parameter(torch.randn(6, 8, 3, 3))

        def body(self, x: Tensor) -> Tensor:
            return F.relu(F.conv2d(x, self.kernel, padding=1))

    graph = traced(Functional())
    assert [(g.name, g.size) for g in graph.groups] == [("stem", 8), ("kernel", 6)]
    assert share(graph) == 1.0 and graph.layer("kernel").macs == 64 * 9 * 6 * 8
    assert check_exact(graph, {"stem": [0, 5], "kernel": [1]}, (), torch.randn(2, *SHAPE)) < 1e-10


def test_a_bare_layer() -> None:
    graph = trace(nn.Linear(4, 3), torch.zeros(1, 4))
    assert graph.macs == 12 and not graph.groups and list(graph.left_alone.values())


def test_equal_networks_have_equal_fingerprints() -> None:
    assert traced(make("Norms")).fingerprint == graph_of("Norms").fingerprint
    assert graph_of("Norms").fingerprint != graph_of("Grouped").fingerprint
    other = make("Norms")
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-6
    assert traced(other).fingerprint != graph_of("Norms").fingerprint
