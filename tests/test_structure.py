"""A network on disk without its class: opened, it answers, learns and is traced as before."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lighten import api
from lighten.errors import NetworkError, WeightsError
from lighten.network import lift, trace
from lighten.network.structure import STRUCTURE, WEIGHTS, read_network, save_network
from lighten.network.written_form import called, named, read, written
from tests.architectures import ARCHITECTURES

IMAGE = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def there_and_back(net: nn.Module, folder: Path, *inputs: Tensor) -> tuple[Any, Any]:
    """The lifted network and the one opened from its files."""
    lifted = trace(net.eval(), inputs).module.eval()
    save_network(lifted, folder)
    return lifted, read_network(folder)


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v3", "shufflenet_v2", "unet"])
def test_a_zoo_network_answers_as_before(name: str, tmp_path: Path) -> None:
    lifted, opened = there_and_back(api.load_network(f"zoo:{name}"), tmp_path, IMAGE)
    assert list(opened.state_dict()) == list(lifted.state_dict())
    assert torch.equal(opened(IMAGE), lifted(IMAGE))


@pytest.mark.parametrize("name", ["bert classifier, masked", "gpt2", "swin"])
def test_a_transformer_answers_as_before(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    case = ARCHITECTURES[name]
    lifted, opened = there_and_back(case.make(), tmp_path, *case.inputs)
    before, after = lifted(*case.inputs), opened(*case.inputs)
    assert isinstance(after, dict), "a dataclass comes back as a mapping"
    for key, value in after.items():
        if isinstance(value, Tensor):
            assert torch.equal(value, before[key])


@pytest.mark.soak
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_comes_back(name: str, tmp_path: Path) -> None:
    case = ARCHITECTURES[name]
    lifted, opened = there_and_back(case.make(), tmp_path, *case.inputs)
    assert list(opened.state_dict()) == list(lifted.state_dict())
    before, after = trace(lifted, case.inputs), trace(opened, case.inputs)
    assert [g.name for g in after.groups] == [g.name for g in before.groups]
    assert after.macs == before.macs


def test_an_opened_network_learns_like_the_one_that_was_stored(tmp_path: Path) -> None:
    lifted, opened = there_and_back(api.load_network("zoo:resnet20"), tmp_path, IMAGE)
    losses = []
    for net in (lifted, opened):
        net.train()
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(IMAGE), torch.arange(4))
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == losses[1]
    assert torch.equal(opened.bn1.running_mean, lifted.bn1.running_mean)


class Tied(nn.Module):
    """One matrix read twice, one layer used twice, a frozen scale, and a constant of the code."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(9, 4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.words.weight
        self.first = self.second = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(4), requires_grad=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens) * self.scale + torch.tensor([1.0, 2.0, 3.0, 4.0])
        return self.head(self.drop(self.second(self.first(x))))


def test_what_was_tied_frozen_or_dropped_stays_so(tmp_path: Path) -> None:
    tokens = torch.tensor([[1, 2], [3, 4]])
    lifted, opened = there_and_back(Tied(), tmp_path, tokens)
    assert opened.head.weight is opened.words.weight
    assert opened.first is opened.second
    assert not opened.scale.requires_grad
    assert torch.equal(opened(tokens), lifted(tokens))
    assert not torch.equal(opened.train()(tokens), opened(tokens)), "dropout is still there"


class Structured(nn.Module):
    """A network of two inputs that answers with a nested structure."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Any]:
        return {"pair": (self.layer(x) + y, x * y), "list": [x.flatten(0, 1)[..., ::2]]}


def test_inputs_and_outputs_keep_their_structure(tmp_path: Path) -> None:
    x, y = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    net = Structured()
    _, opened = there_and_back(net, tmp_path, x, y)
    before, after = net(x, y), opened(x, y)
    assert torch.equal(after["pair"][0], before["pair"][0])
    assert torch.equal(after["pair"][1], before["pair"][1])
    assert torch.equal(after["list"][0], before["list"][0])


ARGUMENTS = [None, True, 3, 1.5, "same", [1, [2]], (1, (2, 3)), slice(1, None, 2), torch.int64]


@pytest.mark.parametrize("value", [*ARGUMENTS, torch.strided, torch.device("cpu"), {"a": (1,)}])
def test_an_argument_comes_back_as_it_was(value: Any) -> None:
    assert read(json.loads(json.dumps(written(value))), {}) == value


def test_infinity_is_an_argument() -> None:
    assert read(json.loads(json.dumps(written(float("-inf")))), {}) == float("-inf")


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "operator.attrgetter", "aten.from_file.default", "aten.add_.Tensor"),
        *(
            "aten.save.default",
            "aten.manual_seed.default",
            "aten.warn.default",
            "aten._print.default",
        ),
        *("aten.nothing.default", "builtins.eval", "aten.__class__.x", "torch.load", "aten", ""),
    ],
)
def test_nothing_but_pure_operations_can_be_called(name: str) -> None:
    with pytest.raises(NetworkError, match="is not an operation"):
        called(name)


def test_functions_have_one_name() -> None:
    assert called(named(torch.ops.aten.add.Tensor)) is torch.ops.aten.add.Tensor
    with pytest.raises(NetworkError, match="no written form"):
        named(print)


@cache
def small() -> nn.Module:
    """A linear layer and a ReLU."""
    return lift(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.zeros(1, 4))


def stored(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A folder with a small network, and its structure."""
    save_network(small(), tmp_path)
    with safe_open(tmp_path / STRUCTURE, framework="pt") as file:
        return tmp_path, json.loads(file.metadata()["lighten"])


def changed(folder: Path, told: dict[str, Any]) -> Path:
    """The folder with another structure."""
    save_file(load_file(folder / STRUCTURE), folder / STRUCTURE, {"lighten": json.dumps(told)})
    return folder


def refused(folder: Path, match: str) -> None:
    with pytest.raises((NetworkError, WeightsError), match=match):
        read_network(folder)


def test_a_folder_without_a_network_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "holds no structure")


def test_a_damaged_structure_is_refused(tmp_path: Path) -> None:
    folder, _ = stored(tmp_path)
    data = (folder / STRUCTURE).read_bytes()
    (folder / STRUCTURE).write_bytes(data[: len(data) // 2])
    refused(folder, "not a whole safetensors file")


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder, _ = stored(tmp_path)
    save_file({"0.weight": torch.zeros(3, 5), "0.bias": torch.zeros(3)}, folder / WEIGHTS)
    refused(folder, r"does not fit .*0\.weight")


def test_another_version_is_refused(tmp_path: Path) -> None:
    folder, told = stored(tmp_path)
    refused(changed(folder, {**told, "version": 99}), "version 99")


def test_a_layer_of_an_unknown_class_is_refused(tmp_path: Path) -> None:
    folder, told = stored(tmp_path)
    told["modules"]["0"]["kind"] = "Module"
    refused(changed(folder, told), "'Module' is not a kind of layer")


def test_an_answer_that_nothing_gives_is_refused(tmp_path: Path) -> None:
    folder, told = stored(tmp_path)
    refused(
        changed(folder, {**told, "output": {"node": "nothing"}}), "node 'nothing' cannot be read"
    )


CODE = "__import__('os').mkdir('ran')"


@pytest.mark.parametrize(
    ("op", "change"),
    [
        ("placeholder", {"target": f"x={CODE}"}),
        ("placeholder", {"name": f"x={CODE}"}),
        ("placeholder", {"args": [{"tuple": []}]}),
        ("call_function", {"kwargs": {f"zz={CODE}, yy": 1}}),
        ("call_function", {"kwargs": {"alpha2": 1}}),
        ("call_function", {"args": [f"'+{CODE}+'"]}),
        ("call_function", {"args": [{"dict": {f"'+{CODE}+'": 1}}]}),
        ("call_module", {"target": f"training'+str({CODE})+'"}),
        ("call_module", {"op": "get_attr", "target": f"training'+str({CODE})+'", "args": []}),
        ("call_module", {"op": "call_method", "target": "detach"}),
        ("call_module", {"op": "get_attr", "target": "training", "args": []}),
    ],
)
def test_no_part_of_a_structure_is_code(
    op: str, change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fx makes Python source of a graph: nothing of the file may become a part of it."""
    monkeypatch.chdir(tmp_path)
    folder, told = stored(tmp_path)
    next(node for node in told["nodes"] if node["op"] == op).update(change)
    refused(changed(folder, told), r"\.")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [f"a'+str({CODE})+'", "", "a..b", 'a"', "a b"])
def test_paths_are_paths(name: str, tmp_path: Path) -> None:
    folder, told = stored(tmp_path)
    told["modules"][name] = {}
    refused(changed(folder, told), "is not the path")


def test_a_layer_that_holds_more_than_its_class_is_not_written(tmp_path: Path) -> None:
    class More(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)
            self.register_buffer("seen", torch.zeros(1))

    with pytest.raises(NetworkError, match="A More holds more than a Linear does"):
        save_network(lift(nn.Sequential(More()), torch.zeros(1, 4)), tmp_path)


def test_sizes_of_other_libraries_are_numbers(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, int(np.int64(4))), nn.Dropout(float(np.float32(0.5))))
    net[0].out_features = np.int64(4)
    there_and_back(net, tmp_path, torch.zeros(2, 4))


@pytest.mark.parametrize("key", ["modules", "nodes", "parameters"])
@pytest.mark.parametrize("value", [None, 7, "x", [{"a": 1}], {"a": []}])
def test_a_structure_that_makes_no_sense_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    folder, told = stored(tmp_path)
    refused(changed(folder, {**told, key: value}), r"\.")
