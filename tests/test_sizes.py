"""Networks at other sizes than their example's: the same numbers as torch at that size, or refused
with the op that stops it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lighten
from lighten import store, zoo
from lighten.backends.native import Native
from lighten.engine import sizes
from lighten.engine.executable import Network
from lighten.errors import InputError
from lighten.network import lower
from tests.test_lower import lively

BOUND = 1e-5  # max |y − torch| / max |torch|


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def torch_says(net: nn.Module, x: np.ndarray) -> np.ndarray:
    """In double precision; whole numbers stay whole."""
    given = torch.from_numpy(x)
    with torch.no_grad():
        said = net.double()(given.double() if given.is_floating_point() else given)
    return np.asarray(said.numpy())


def agrees(net: nn.Module, network: Callable[[np.ndarray], Any], x: np.ndarray) -> None:
    (found,) = network(x)
    exact = torch_says(net, x)
    assert found.shape == exact.shape
    assert np.abs(found - exact).max() <= BOUND * np.abs(exact).max()


def taken(net: nn.Module, shape: tuple[int, ...], *others: tuple[int, ...]) -> Network:
    """The network made at one shape, which agrees with torch at the others."""
    torch.manual_seed(0)
    network = Native().compile(lower(lively(net).eval(), torch.zeros(2, *shape)))
    for other in others:
        agrees(net, network, drawn(2, *other))
    return network


def refused(net: nn.Module, shape: tuple[int, ...], other: tuple[int, ...], why: str) -> None:
    network = Native().compile(lower(lively(net).eval(), torch.zeros(2, *shape)))
    with pytest.raises(InputError, match=why):
        network(drawn(2, *other))
    agrees(net, network, drawn(1, *shape))


# ── networks of the zoo ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "shape", "others"),
    [
        ("resnet20", (3, 32, 32), [(3, 40, 40), (3, 24, 32), (3, 33, 47)]),
        ("mobilenet_v2", (3, 64, 64), [(3, 96, 72)]),
        ("unet", (3, 32, 32), [(3, 48, 40)]),
        ("shufflenet_v2", (3, 64, 64), [(3, 96, 72)]),
        ("espcn", (1, 24, 24), [(1, 17, 30)]),
        ("grid_detector", (3, 64, 64), [(3, 72, 56)]),
        ("sensor_cnn", (6, 128), [(6, 100)]),
    ],
)
def test_zoo_networks_agree_with_torch(
    name: str, shape: tuple[int, ...], others: list[tuple[int, ...]]
) -> None:
    network = taken(zoo.build(name), shape, *others)
    assert len(network._sizes) == len(others)


def test_a_linear_layer_of_fixed_width_stops_it() -> None:
    refused(zoo.build("lenet5"), (1, 28, 28), (1, 36, 36), "linear '5': input .* 800 weight reads")


class Tokens(nn.Module):
    """A transformer without positions: the mean over the tokens, or the first."""

    def __init__(self, first: bool = False) -> None:
        super().__init__()
        self.first, self.table = first, nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out = self.blocks(self.table(ids))
        return out[:, 0] if self.first else out.mean(1)


class Placed(Tokens):
    """The same, knowing where each token stands."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(64, 32)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        placed = self.table(ids) + self.places(torch.arange(ids.shape[1]))
        return self.blocks(placed).mean(1)


def ids(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 50, (2, count))


@pytest.mark.parametrize("first", [False, True])
def test_transformers_take_other_lengths(first: bool) -> None:
    torch.manual_seed(0)
    net = lively(Tokens(first)).eval()
    network = Native().compile(lower(net, torch.zeros(2, 16, dtype=torch.long)))
    for count in (16, 5, 23, 1):
        agrees(net, network, ids(count))
    with pytest.raises(InputError, match="looked up in a table"):
        network(ids(5) + 50)


def test_fixed_positions_stop_other_lengths() -> None:
    net = lively(Placed()).eval()
    network = Native().compile(lower(net, torch.zeros(2, 16, dtype=torch.long)))
    for count in (1, 5, 23):
        with pytest.raises(InputError, match="at another size, binary 'add'"):
            network(ids(count))


# ── calls ─────────────────────────────────────────────────────────────────────────────────────


def test_sizes_in_turn_are_compiled_once() -> None:
    net = lively(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1))).eval()
    network = Native().compile(lower(net, torch.zeros(2, 3, 8, 8)))
    for side in (8, 12, 8, 12, 16, 12):
        agrees(net, network, drawn(1, 3, side, side))
    kept = network._sizes
    assert len(kept) == 2
    shapes = ((3, 12, 12),)
    assert kept.at(shapes) is kept.at(shapes)


def test_threads_with_sizes_of_their_own() -> None:
    net = lively(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())).eval()
    network = Native().compile(lower(net, torch.zeros(2, 3, 8, 8)), threads=2)
    given = [drawn(2, 3, 6 + which % 4, 9) for which in range(8)]
    wanted = [torch_says(net, x) for x in given]
    wrong: list[object] = []

    def work(which: int) -> None:
        try:
            for _ in range(5):
                (found,) = network(given[which])
                np.testing.assert_allclose(found, wanted[which], atol=1e-5)
        except BaseException as problem:
            wrong.append(problem)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(network._sizes) == 4


def test_the_sizes_used_last_are_kept() -> None:
    asked: list[int] = []
    kept = sizes.Sizes(lambda shapes: asked.append(shapes[0][0]) or shapes)
    for extent in [*range(sizes.MOST), 0, 100]:
        assert kept.at(((extent,),)) == ((extent,),)
    assert len(kept) == sizes.MOST
    assert asked == [*range(sizes.MOST), 100]
    kept.at(((0,),))
    assert asked[-1] == 100, "it was used after 1"
    kept.at(((1,),))
    assert asked[-1] == 1, "it was dropped"


def test_what_cannot_be_made_takes_no_place() -> None:
    def never(shapes: Any) -> Any:
        raise InputError("no")

    kept = sizes.Sizes(never)
    with pytest.raises(InputError):
        kept.at(((1,),))
    assert len(kept) == 0


def test_one_thread_makes_what_several_ask_for() -> None:
    made: list[object] = []
    begun = threading.Barrier(4)
    kept = sizes.Sizes(lambda shapes: made.append(object()) or made[-1])

    def work() -> None:
        begun.wait()
        kept.at(((1,),))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_large_batches_and_profiles_of_another_size() -> None:
    net = lively(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())).eval()
    network = Native().compile(lower(net, torch.zeros(2, 3, 8, 8)))
    agrees(net, network, drawn(40, 3, 10, 6))
    assert "0" in network.profile([drawn(1, 3, 10, 6)], runs=2)


def test_loaded_models_take_other_sizes(tmp_path: Path, own_cache: Path) -> None:
    net = lively(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())).eval()
    store.save(lower(net, torch.zeros(2, 3, 8, 8)), tmp_path / "model.lighten")
    for _ in range(2):  # planned, then found
        model = lighten.load(tmp_path / "model.lighten")
        for side in (8, 11, 8):
            agrees(net, lambda x, m=model: (m(x),), drawn(1, 3, side, 8))
    assert model._found is not None
    with pytest.raises(InputError, match=r"must be \[n, 3, 8, 8\], but got \[1, 4, 8, 9\]"):
        model(drawn(1, 4, 8, 9))


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 3, 8, 8, 1), (0, 3, 9, 9), (2, 3, 9, 0)])
def test_other_ranks_and_nothing_are_refused(shape: tuple[int, ...]) -> None:
    network = Native().compile(lower(nn.Conv2d(3, 8, 3), torch.zeros(2, 3, 8, 8)))
    with pytest.raises(InputError, match=r"must be \[n, 3, 8, 8\], but got"):
        network(np.zeros(shape, np.float32))
