"""`lower(net)` equals `net`; what has no counterpart is named, all of it at once."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lighten import zoo
from lighten.backends.eager import Eager
from lighten.core.task import Preprocess
from lighten.errors import NetworkError, UnsupportedOps
from lighten.network.lift import lift
from lighten.network.lower import lower
from lighten.program.interpret import interpret
from lighten.program.ir import Program
from lighten.program.spec import check

BOUND = 1e-5  # max |y − y64| / max |y64|


def lively(net: nn.Module) -> nn.Module:
    """In eval mode, with running statistics as training would leave them: not 0 and 1."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
    return net.eval()


def exact(net: nn.Module, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    """The network's outputs in float64."""
    wide = [x.double() if x.is_floating_point() else x for x in inputs]
    with torch.no_grad():
        outputs = copy.deepcopy(net).double()(*wide)
    return [y.numpy() for y in torch.utils._pytree.tree_leaves(outputs)]


def error(found: np.ndarray, wanted: np.ndarray) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def same(net: nn.Module, *inputs: Tensor, reference: bool = True) -> Program:
    """Lowered, fused or not, it is the network, in the reference and in the eager backend."""
    program, errors = compared(net, inputs, reference)
    assert max(errors) < BOUND
    return program


def compared(
    net: nn.Module, inputs: tuple[Tensor, ...], reference: bool
) -> tuple[Program, list[float]]:
    """The unfused program, and for each output the worst error of any way to run it."""
    net = lively(net)
    arrays = [x.numpy() for x in inputs]
    lifted = lift(net, inputs)
    before = {name: value.clone() for name, value in lifted.state_dict().items()}
    modes = [module.training for module in lifted.modules()]
    programs = [check(lower(lifted, inputs, fused=fused)) for fused in (False, True)]
    runs = [Eager().compile(program)(*arrays) for program in programs]
    if reference:
        runs += [interpret(program, *arrays, dtype=np.float32) for program in programs]
    wanted = exact(net, inputs)
    assert all(len(outputs) == len(wanted) for outputs in runs)
    errors = [max(error(run[i], y) for run in runs) for i, y in enumerate(wanted)]
    assert [module.training for module in lifted.modules()] == modes
    after = lifted.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    return programs[0], errors


def zoo_input(name: str) -> Tensor:
    channels, *sizes = zoo.TABLE[name].input_shape
    torch.manual_seed(1)
    return torch.randn(2, channels, *(min(size, 64) for size in sizes))


IN_THE_REFERENCE = ("digits_cnn", "lenet5", "resnet20")
LIKE_RESNET20 = ("resnet32", "resnet44", "resnet56")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.soak) if name in LIKE_RESNET20 else name
        for name in zoo.TABLE
    ],
)
def test_every_zoo_network(name: str) -> None:
    small = name in IN_THE_REFERENCE  # the others would take minutes in plain NumPy
    program = same(zoo.build(name), zoo_input(name), reference=small)
    assert {op.kind for op in program.ops} & {"conv", "linear"}


class Calls(nn.Module):
    """A network that is one function of its input, with layers that function may use."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


IMAGE = (4, 6, 8)  # channels, height, width: all different
MASK = torch.tensor([[True, False, False], [True, True, False], [False, True, True]])
FUNCTIONS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "option A": lambda _, x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 1)),
    "negative pad": lambda _, x: F.pad(x, (-1, 2, 1, -2), value=0.5),
    "slices": lambda _, x: x[:, 1:3, -4:-1, 1::3],
    "select": lambda _, x: x[:, -1, 2] + x[:, 0, :, :].sum(1),
    "shuffle by hand": lambda _, x: (
        x.view(x.shape[0], 2, 2, 6, 8).transpose(1, 2).reshape(x.shape[0], -1, 6, 8)
    ),
    "channel shuffle": lambda _, x: F.channel_shuffle(x, 2),
    "pixel shuffle": lambda _, x: F.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda _, x: F.pixel_unshuffle(x, 2),
    "chunk": lambda _, x: (
        torch.cat(x.chunk(3, 3)[::-1], 1) if x.shape[3] % 3 == 0 else x.chunk(3, 3)[1]
    ),
    "split": lambda _, x: torch.cat([y * i for i, y in enumerate(x.split([1, 2, 1], 1))], 1),
    "unbind and stack": lambda _, x: torch.stack(x.unbind(2)[::-1], -1),
    "gated": lambda _, x: F.glu(x, 1) + F.glu(x.flip(1), -3),
    "dimensions exchanged": lambda _, x: (
        x.movedim(1, -1).swapaxes(1, 3).moveaxis((1, 2), (-1, 1)).mT.swapdims(2, 3)
    ),
    "einsum with a matrix": lambda _, x: torch.einsum("bchw,oc->bohw", x, x.new_ones(3, 4)),
    "einsum after einsum": lambda _, x: torch.einsum(
        "bcwv,bchv->bhcw", torch.einsum("bchw,bchv->bcwv", x, x), x
    ),
    "permute": lambda _, x: x.permute(0, 3, 1, 2).flatten(2),
    "fills": lambda _, x: torch.cat([torch.zeros_like(x), x, x.new_ones(len(x), 2, 6, 8)], 1),
    "expand": lambda _, x: x.mean((2, 3), keepdim=True).expand(-1, -1, 3, 2) + 0.0,
    "repeat": lambda _, x: x.repeat(1, 2, 1, 3),
    "unsqueeze": lambda _, x: x.unsqueeze(-1).squeeze(1).unsqueeze(2),
    "scalars": lambda _, x: (2 - x) / 3 + 1.5 * x - 0.25,
    "alpha": lambda _, x: torch.add(x, x.relu(), alpha=0.3),
    "constant of one sample": lambda _, x: x * torch.ones(1, 4, 1, 1) - torch.arange(8.0),
    "powers": lambda _, x: x**2 + x.abs() ** 0.5 + (x.abs() + 1) ** -1 + (x.abs() + 1) ** 1.7,
    "unary": lambda _, x: x.sigmoid() + x.tanh().exp() + (x.abs() + 1).log().add(1).rsqrt(),
    "clamps": lambda _, x: x.clamp(-0.3, 0.8) + x.clamp(min=0) + x.clamp(max=0.1) + F.relu6(x),
    "activations": lambda _, x: (
        F.silu(x) + F.hardswish(x) + F.hardsigmoid(x) + F.mish(x) + F.softplus(x) + F.elu(x, 0.7)
    ),
    "leaky": lambda _, x: F.leaky_relu(x, 0.2) + F.gelu(x) + F.gelu(x, approximate="tanh"),
    "extremes": lambda _, x: torch.maximum(x, -x) - torch.minimum(x, x * 2) + x.amin(1, True),
    "max pool": lambda _, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "average pool": lambda _, x: (
        F.avg_pool2d(x, 3, 2, 1) + F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    ),
    "pool to a size": lambda _, x: F.adaptive_avg_pool2d(x, (3, 2)),
    "pool to uneven sizes": lambda _, x: (
        F.adaptive_avg_pool2d(x, (4, 5)) + F.adaptive_max_pool2d(x, (4, 5))
    ),
    "borders repeated": lambda _, x: (
        F.pad(x, (3, 1, 0, 2), mode="reflect")
        + F.pad(x, (3, 1, 0, 2), mode="replicate")
        + F.pad(x, (3, 1, 0, 2), mode="circular")
    ),
    "pool to one": lambda _, x: F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1),
    "reductions": lambda _, x: x.mean((2, 3)) + x.sum(-1).amax(2) + x.var((2, 3)),
    "extremes along one": lambda _, x: x.max(1)[0] - x.min(1).values + torch.max(x, -x).std((1,)),
    "a bias that is not read": lambda _, x: torch.baddbmm(
        x[:, 0] * torch.nan, x[:, 1], x[:, 2, :, :].mT @ x[:, 3], beta=0
    ),
    "baddbmm": lambda _, x: torch.baddbmm(x[:, 0], x[:, 1], x[:, 2, :, :].mT @ x[:, 3], alpha=0.5),
    "norms": lambda _, x: F.normalize(x, dim=1) + F.normalize(x, p=1.0, dim=2),
    "softmax": lambda _, x: x.softmax(1) + x.log_softmax(-1) * 1e-2,
    "nearest": lambda _, x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda _, x: F.interpolate(x, (9, 5), mode="bilinear"),
    "bilinear corners": lambda _, x: F.interpolate(x, (9, 5), mode="bilinear", align_corners=True),
    "index": lambda _, x: x[:, [2, 0, -1]] + x[:, torch.tensor([0, 1, 1])],
    "masked": lambda _, x: x[:, :, :3, :3].masked_fill(MASK, -2.0),
    "matmul": lambda _, x: x.transpose(2, 3) @ x,
    "batch moved": lambda _, x: x.permute(2, 0, 3, 1).relu().mul(2).permute(1, 0, 3, 2),
    "batch merged": lambda _, x: (
        x.transpose(1, 2).reshape(-1, 8).softmax(-1).view(x.shape[0], 6, 4, 8)
    ),
    "dropped": lambda _, x: F.dropout(x, 0.5, training=False).contiguous().detach().float(),
}


class Together(nn.Module):
    """All the functions of one input, so that one export serves every test of them."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(self, x) for function in FUNCTIONS.values())


@pytest.fixture(scope="module")
def function_errors() -> dict[str, float]:
    torch.manual_seed(2)
    _, errors = compared(Together(), (torch.randn(3, *IMAGE),), True)
    return dict(zip(FUNCTIONS, errors, strict=True))


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_functions(name: str, function_errors: dict[str, float]) -> None:
    assert function_errors[name] < BOUND


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "conv same": (nn.Conv2d(4, 6, (4, 3), padding="same", dilation=(1, 2)), IMAGE),
    "conv grouped": (nn.Conv2d(4, 6, 3, stride=(1, 2), padding=(0, 1), groups=2), IMAGE),
    "conv 1-D": (nn.Conv1d(4, 3, 5, 2, 2, bias=False), (4, 11)),
    "conv 3-D": (nn.Conv3d(2, 3, 3, padding=1), (2, 4, 5, 6)),
    "transpose": (nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), IMAGE),
    "transpose 1-D": (nn.ConvTranspose1d(4, 3, 4, 2, 1), (4, 7)),
    "linear on images": (nn.Linear(8, 3), IMAGE),
    "batch norm 1-D": (nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5)), (8,)),
    "batch norm bare": (nn.BatchNorm2d(4, affine=False), IMAGE),
    "group norm": (nn.GroupNorm(2, 4), IMAGE),
    "group norm bare": (nn.GroupNorm(2, 4, affine=False), IMAGE),
    "instance norm": (nn.InstanceNorm2d(4, affine=True), IMAGE),
    "instance norm kept": (nn.InstanceNorm2d(4, track_running_stats=True), IMAGE),
    "layer norm": (nn.LayerNorm([6, 8]), IMAGE),
    "rms norm": (nn.RMSNorm(8), IMAGE),
    "prelu": (nn.PReLU(4), IMAGE),
    "attention": (
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"),
        (5, 8),
    ),
    "upsample": (nn.Upsample(scale_factor=2, mode="bilinear"), IMAGE),
}


class SideBySide(nn.Module):
    """Every layer with an input of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer for layer, _ in LAYERS.values())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(layer(x) for layer, x in zip(self.layers, inputs, strict=True))


@pytest.fixture(scope="module")
def layer_errors() -> dict[str, float]:
    torch.manual_seed(3)
    inputs = tuple(torch.randn(2, *shape) for _, shape in LAYERS.values())
    _, errors = compared(SideBySide(), inputs, True)
    return dict(zip(LAYERS, errors, strict=True))


@pytest.mark.parametrize("name", list(LAYERS))
def test_layers(name: str, layer_errors: dict[str, float]) -> None:
    assert layer_errors[name] < BOUND


class Patches(nn.Module):
    """A small vision transformer: patches, a class token, positions, attention by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 5, 16))
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.attend = nn.MultiheadAttention(16, 4)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cut(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + y.transpose(1, 2).reshape(b, n, c)
        turned = x.transpose(0, 1)  # MultiheadAttention wants the batch second
        x = x + self.attend(turned, turned, turned, need_weights=False)[0].transpose(0, 1)
        return self.head(x[:, 0])


def test_a_vision_transformer() -> None:
    program = same(Patches(), torch.randn(2, 3, 8, 8))
    assert {"softmax", "matmul", "layer_norm"} <= {op.kind for op in program.ops}


class Words(nn.Module):
    """Token indices in, an embedding looked up, a mean over words; the table is shared."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)

    def forward(self, words: Tensor, shift: Tensor) -> dict[str, Tensor]:
        x = self.table(words)
        scores = F.linear(x.mean(1), self.table.weight) + shift
        return {"scores": scores, "means": x.mean(1)}


def test_two_inputs_indices_and_a_dict_of_outputs() -> None:
    words = torch.randint(0, 20, (3, 5))
    program = same(Words(), words, torch.randn(3, 1))
    assert len(program.outputs) == 2
    assert [name for name in program.arrays if "table" in name] == ["table.weight"]


def test_a_layer_used_twice_has_two_ops_and_one_weight() -> None:
    net = Calls(lambda m, x: m.conv(m.conv(x).relu()), conv=nn.Conv2d(4, 4, 3, padding=1))
    program = same(net, torch.randn(2, *IMAGE))
    assert [op.name for op in program.ops if op.kind == "conv"] == ["conv", "conv#2"]
    assert set(program.arrays) == {"conv.weight", "conv.bias"}


def test_names_are_module_paths_and_what_travels_with_it() -> None:
    net = zoo.build("resnet20", classes=10)
    preprocess = Preprocess(255.0, (0.5,) * 3, (0.2,) * 3)
    program = lower(
        net, zoo_input("resnet20"), preprocess=preprocess, labels=["a"] * 10, origin="zoo"
    )
    modules = dict(net.named_modules())
    weighted = [op.name for op in program.ops if op.kind in ("conv", "linear")]
    assert len(weighted) == 20
    assert all(isinstance(modules[name], (nn.Conv2d, nn.Linear)) for name in weighted)
    assert {op.kind for op in program.ops} == {
        *("conv", "binary", "slice", "pad", "reduce", "linear", "reshape")
    } - ({"reshape"} if all(op.kind != "reshape" for op in program.ops) else set())
    assert (program.preprocess, program.origin) == (preprocess, "zoo")
    assert program.labels == ("a",) * 10


def test_an_output_that_is_an_input_and_one_given_twice() -> None:
    net = Calls(lambda _, x: (x, (y := x.relu()), y))  # type: ignore[arg-type,return-value]
    program = same(net, torch.randn(2, *IMAGE))
    assert len(set(program.outputs)) == 3


UNKNOWN: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], list[str]]] = {
    "two ops, both named": (
        lambda _, x: torch.cumprod(x.relu(), 1) + torch.sort(x, 1)[0],
        ["aten.cumprod.default", "aten.sort.default"],
    ),
    "what follows is not blamed": (
        lambda _, x: torch.cumprod(x, 1).relu(),
        ["aten.cumprod.default"],
    ),
    "mixing samples": (lambda _, x: x - x.mean(0, keepdim=True), ["mixes the samples"]),
    "a softmax over the batch": (lambda _, x: x.softmax(0), ["mixes the samples"]),
    "swapping samples": (lambda _, x: x.transpose(0, 1).reshape(-1, 4, 6, 8), ["one sample to"]),
    "the batch size": (lambda _, x: x / x.shape[0], ["depends on the batch size"]),
    "the batch last": (lambda _, x: x.permute(1, 2, 3, 0), ["not the first dimension"]),
    "bicubic": (lambda _, x: F.interpolate(x, (9, 9), mode="bicubic"), ["upsample_bicubic2d"]),
    "a constant output": (lambda _, x: torch.ones(2), ["does not depend on the input"]),
}


@pytest.mark.parametrize("name", list(UNKNOWN))
def test_what_has_no_counterpart_is_named(name: str) -> None:
    function, texts = UNKNOWN[name]
    with pytest.raises(UnsupportedOps) as caught:
        lower(Calls(function).eval(), torch.randn(2, *IMAGE))
    assert len(caught.value.ops) == len(texts)
    for op, text in zip(caught.value.ops, texts, strict=True):
        assert text in op


def test_the_module_of_an_unsupported_op_is_named() -> None:
    inner = Calls(lambda _, x: torch.cumprod(x, 1))
    padded = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    with pytest.raises(UnsupportedOps) as caught:
        lower(
            nn.Sequential(nn.ReLU(), inner, nn.BatchNorm2d(4, track_running_stats=False), padded),
            torch.randn(2, *IMAGE),
        )
    assert [op.split(" (")[0] for op in caught.value.ops][:2] == [
        "aten.cumprod.default in 1",
        "BatchNorm2d in 2",
    ]
    assert "running statistics" in caught.value.ops[1]


def test_what_cannot_be_exported_is_an_input_error() -> None:
    net = Calls(lambda _, x: x if x.sum() > 0 else -x)
    with pytest.raises(NetworkError, match="cannot be exported"):
        lower(net.eval(), torch.randn(2, *IMAGE))
