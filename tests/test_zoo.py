"""The zoo: published sizes, formulas, names, options, and that every network can be exported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from lighten.errors import NetworkError
from lighten.zoo import TABLE, build, options
from lighten.zoo.squeezenet import Fire

PARAMETERS = {
    "lenet_300_100": 266_610,
    "lenet5": 431_080,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "vgg16_bn": 14_986_698,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3": 5_483_032,
    "efficientnet_b0": 5_288_548,
    "squeezenet": 1_235_496,
    "densenet121": 7_978_856,
    "shufflenet_v2": 2_278_604,
}
# multiply-accumulates of convolutions and linear layers, as the papers count them
MACS = {
    "lenet_300_100": (266_200, 0.0),
    "lenet5": (2_293_000, 0.0),
    "resnet20": (40.55e6, 0.01),
    "resnet56": (125.5e6, 0.01),
    "vgg16_bn": (313e6, 0.01),
    "resnet18": (1.81e9, 0.01),
    "resnet50": (4.09e9, 0.01),
    "mobilenet_v1": (569e6, 0.01),
    "mobilenet_v2": (300e6, 0.01),
    "mobilenet_v3": (219e6, 0.02),
    "efficientnet_b0": (0.39e9, 0.02),
    "squeezenet": (0.35e9, 0.02),
    "densenet121": (2.83e9, 0.02),
    "shufflenet_v2": (146e6, 0.02),
}
SMALL = {
    "densenet121": 32,
    "unet": 16,
    "sensor_cnn": 128,
}  # the side of the test's images; 64 elsewhere
# exported in the default run, one per idea: plain, option A, depthwise, concat, skips
QUICK = ("lenet_300_100", "lenet5", "digits_cnn", "resnet20", "mobilenet_v1", "squeezenet", "unet")
QUICK += ("grid_detector", "espcn", "sensor_cnn", "encoder")
# what answers otherwise than with one score per class: from the input's sides, and 7 classes
ANSWERS = {
    "unet": lambda h, w: (7, h, w),
    "grid_detector": lambda h, w: (5 + 7, h // 8, w // 8),
    "espcn": lambda h, w: (2, 2 * h, 2 * w),
    "encoder": lambda h, w: (32,),
}


def macs(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Counted by the definition on the meta device: weight size x output positions."""
    total = 0

    def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal total
        positions = out[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
        total += layer.weight.numel() * positions

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    net.eval().to("meta")(torch.zeros(1, *shape, device="meta"))
    return total


def small_shape(name: str) -> tuple[int, ...]:
    channels, *size = TABLE[name].input_shape
    side = SMALL.get(name, 64)
    return (channels, *(min(s, side) for s in size))


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_count_is_the_published_one(name: str) -> None:
    assert sum(p.numel() for p in build(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", MACS)
def test_macs_are_the_published_ones(name: str) -> None:
    published, tolerance = MACS[name]
    assert macs(build(name), TABLE[name].input_shape) == pytest.approx(published, rel=tolerance)


def test_the_demo_network_keeps_its_promise() -> None:
    net = build("digits_cnn")
    assert sum(p.numel() for p in net.parameters()) <= 500_000
    assert 12e6 <= macs(net, (1, 8, 8)) <= 20e6


def test_every_network_answers_with_its_classes_and_channels() -> None:
    for name in TABLE:
        _, *size = small_shape(name)
        classes = {"classes": 7} if "classes" in options(name) else {}
        net = build(name, channels=2, **classes).eval().to("meta")
        shape = net(torch.zeros(2, 2, *size, device="meta")).shape
        answer = ANSWERS[name](*size) if name in ANSWERS else (7,)
        assert shape == (2, *answer), name


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.soak) for n in TABLE]
)
def test_exports_with_a_dynamic_batch_and_answers_the_same(name: str) -> None:
    net = build(name).eval()
    shape = small_shape(name)
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(net, (torch.zeros(2, *shape),), dynamic_shapes=(batch,))
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), net(x))


def test_fire_module_follows_its_formula() -> None:
    """Row E11."""
    inputs, squeeze, expand, side = 96, 16, 64, 10
    fire = Fire(inputs, squeeze, expand)
    assert sum(p.numel() for p in fire.parameters()) == (
        inputs * squeeze + 10 * squeeze * expand + squeeze + 2 * expand
    )
    assert macs(fire, (inputs, side, side)) == side**2 * (inputs * squeeze + 10 * squeeze * expand)


def test_published_weights_fit_and_classify(shared_data: Path) -> None:
    net = build("resnet20")
    net.load_state_dict(load_file(shared_data / "resnet20-cifar10.safetensors"), strict=True)
    names = [n for n, _ in net.named_parameters()]
    assert names[:2] == ["conv1.weight", "bn1.weight"]
    assert "layer2.0.bn2.weight" in names
    assert names[-1] == "linear.bias"


def test_option_a_shortcut_shifts_the_channels() -> None:
    block = build("resnet20").get_submodule("layer2.0")
    x = torch.randn(1, 16, 8, 8)
    shortcut = block.shortcut(x)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert shortcut[:, :8].abs().sum() == shortcut[:, 24:].abs().sum() == 0


def test_a_seed_decides_the_weights_and_leaves_the_global_state_alone() -> None:
    state = torch.get_rng_state()
    first, same, other = build("lenet5"), build("lenet5", seed=0), build("lenet5", seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True)
    )
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_activations_neither_die_nor_explode_at_the_start() -> None:
    """Kaiming weights keep the scale of the signal through all layers."""
    for name in ("resnet20", "squeezenet", "shufflenet_v2"):
        x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            spread = float(build(name).train()(x).std())
        assert 0.05 < spread < 50, (name, spread)


def test_options_and_names_are_checked() -> None:
    assert build("mobilenet_v2", width=0.5, classes=5)(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(NetworkError, match=r"resnet21.*Did you mean resnet\d\d\?"):
        build("resnet21")
    with pytest.raises(NetworkError, match="Choose one of: lenet_300_100, lenet5"):
        build("transformer-xl")
    with pytest.raises(NetworkError, match=r"has no option 'depth'.*classes, channels"):
        build("resnet20", depth=3)
    for bad in (0, -1, "ten", 2.5, True):
        with pytest.raises(NetworkError, match="must be a positive whole number"):
            build("resnet20", classes=bad)
    with pytest.raises(NetworkError, match="must be a positive number but got 0"):
        build("mobilenet_v1", width=0)
