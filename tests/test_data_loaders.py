"""A user's own data: factories, loaders, datasets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lighten.data import from_loaders, load
from lighten.errors import DataError
from tests.data_files import (
    gathered,
    refused,
)

FACTORY = """
import numpy as np
from neighbour import CLASSES
from lighten.data import from_loaders

def task():
    batches = [(np.zeros((4, 2), np.float32), np.arange(4) % 2)] * 5
    return from_loaders(batches, batches, labels=CLASSES)

def nothing(): pass
def number(): return 3
def broken(): return 1 / 0
value = 3
"""


def test_a_factory_returns_a_task(tmp_path: Path) -> None:
    path = tmp_path / "my_data.py"
    path.write_text(FACTORY)
    (tmp_path / "neighbour.py").write_text("CLASSES = ('a', 'b')")
    before = list(sys.path)
    task = load(f"{path}:task")
    assert task.labels == ("a", "b") and task.train_size == 18 and task.fingerprint
    refused(f"{path}:nothing", "returned nothing (None)")
    refused(f"{path}:number", "must return a Task", "returned a int")
    refused(f"{path}:broken", "ZeroDivisionError", "line 12")
    refused(f"{path}:absent", "no function 'absent'")
    refused(f"{path}:value", "no function 'value'")
    refused(f"{tmp_path / 'none.py'}:task", "none.py is not a file")
    path.write_text("def task(:")
    refused(f"{path}:task", "SyntaxError")
    assert sys.path == before


class Loader:
    """Batches that can be gone through again, as a DataLoader's."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def halves(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(count, dtype=np.float64)[:, None], np.arange(count)


def test_loaders_of_pairs_are_shuffled_by_us() -> None:
    x, y = halves(40)
    loader = Loader(*[(x[i : i + 8], y[i : i + 8]) for i in range(0, 40, 8)])
    task = from_loaders(loader, loader, loss="mean_squared_error")
    got, target = gathered(task.train(0, 1, 5))
    assert got.dtype == np.float32 and task.train_size == 36 and task.loss == "mean_squared_error"
    np.testing.assert_array_equal(got[:, 0], target)
    assert not np.array_equal(target, np.sort(target))
    np.testing.assert_array_equal(got, gathered(task.train(0, 1, 5))[0])
    held = gathered(task.valid())[1]
    assert np.ptp(held) > 4  # from all over
    np.testing.assert_array_equal(np.sort(np.concatenate([held, target])), y)
    np.testing.assert_array_equal(gathered(task.test())[1], y)
    assert from_loaders(loader, loader, loader).train_size == 40


def test_several_inputs_and_dict_targets() -> None:
    x, y = halves(8)
    pairs = Loader([(x, x * 2), y])
    (batch,) = from_loaders(pairs, pairs, pairs).test()
    assert len(batch.inputs) == 2 and (batch.inputs[1] == 2 * batch.inputs[0]).all()
    named = Loader(*[{"input": x, "target": {"class": y, "box": (x, y)}}] * 2)
    task = from_loaders(named, named)
    for batch in task.train(0, 0, 4):
        np.testing.assert_array_equal(batch.inputs[0][:, 0], batch.target["class"])
        np.testing.assert_array_equal(batch.inputs[0], batch.target["box"][0])


def test_torch_loaders_are_read_sample_by_sample() -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(50, dtype=torch.float32)[:, None].repeat(1, 3)
    dataset = torch.utils.data.TensorDataset(x, torch.arange(50))
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)
    task = from_loaders(loader, torch.utils.data.DataLoader(dataset, batch_size=16))
    batches = list(task.train(3, 1, 7))
    assert [len(b) for b in batches] == [7, 7, 7, 7, 7, 7, 3]  # the recipe's size, not the loader's
    x_seen, y_seen = gathered(batches)
    assert x_seen.dtype == np.float32 and y_seen.dtype == np.int64
    np.testing.assert_array_equal(x_seen[:, 0], y_seen)
    np.testing.assert_array_equal(y_seen, gathered(task.train(3, 1, 7))[1])
    assert [len(b) for b in task.test()] == [16, 16, 16, 2]
    both = np.concatenate([y_seen, gathered(task.valid())[1]])
    np.testing.assert_array_equal(np.sort(both), np.arange(50))

    class Stream(torch.utils.data.IterableDataset):  # cannot be indexed: read once
        def __iter__(self) -> Iterator[Any]:
            return iter(dataset)

    stream = torch.utils.data.DataLoader(Stream(), batch_size=16)
    assert from_loaders(stream, stream).train_size == 45


@pytest.mark.parametrize(("batches", "words"), [
    ([], "train loader is empty"),
    ([np.zeros(3)], "gave a ndarray"),
    ([{"x": 1, "y": 2}], "with keys x, y"),
    ([(np.zeros(3), np.zeros(3), np.zeros(3))], "gave a tuple"),
    ([((np.zeros((3, 1)), np.zeros((2, 1))), np.zeros(3))], "equally many"),
    ([(np.full((3, 1), np.nan), np.zeros(3))], "NaN"),
    ([(np.array([None]), np.zeros(1))], "arrays or tensors"),
    ([(np.zeros((3, 1)), np.zeros(3)), (np.zeros((3, 2)), np.zeros(3))], "differ in shape"),
    ([(np.zeros((1, 1)), np.zeros(1))], "too few"),
])  # fmt: skip
def test_loaders_that_give_something_else(batches: list[Any], words: str) -> None:
    good = Loader((np.zeros((3, 1)), np.zeros(3)))
    with pytest.raises(DataError, match=words):
        from_loaders(Loader(*batches), good)
