"""Generated sets: the same for everyone, complete, and neither trivial nor mislabelled."""

from __future__ import annotations

import numpy as np
import pytest

from lighten import zoo
from lighten.data import generated, load, read
from lighten.data.__main__ import told
from lighten.data.generated import leaves, motion, patterns, shapes
from lighten.errors import DataError
from lighten.metrics.embeddings import unit

DRAWS = {name: entry.draw for name, entry in generated.TABLE.items()}
NETWORKS = {
    "shapes-segmentation": "unet",
    "shapes-detection": "grid_detector",
    "super-resolution": "espcn",
    "sensor": "sensor_cnn",
    "pairs": "encoder",
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "SIZES", {"train": 12, "valid": 5, "test": 6})


@pytest.mark.parametrize("name", DRAWS)
def test_a_seed_decides_the_samples(name: str) -> None:
    first, same, other = (DRAWS[name](np.random.default_rng(seed), 6) for seed in (0, 0, 1))
    for a, b, c in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert len(a) == 6 and a.shape == c.shape and not np.array_equal(a, c)


@pytest.mark.parametrize("name", generated.TABLE)
def test_a_set_is_a_task_for_its_network(name: str, small: None) -> None:
    import torch

    from lighten import api
    from lighten.train.losses import loss_of

    task = load(f"builtin:{name}", seed=3)
    assert task.train_size == 12 and task.fingerprint == load(f"builtin:{name}").fingerprint
    batch = next(iter(task.test()))
    assert batch.inputs[0].dtype == np.float32 and len(batch) == 6
    net = api.load_network(f"zoo:{NETWORKS[name]}", task=task)
    assert zoo.TABLE[NETWORKS[name]].input_shape[0] == batch.inputs[0].shape[1]
    with torch.no_grad():
        answer = net.eval()(torch.from_numpy(batch.inputs[0]))
    assert torch.isfinite(loss_of(task.loss)(answer, torch.as_tensor(batch.target)))
    rows = task.metric.rows(answer.numpy(), batch.target)
    assert len(rows) == 6 and np.isfinite(task.metric.reduce(rows))


def test_the_three_splits_differ_and_options_are_refused(small: None) -> None:
    splits = read("builtin:sensor").named()
    assert list(map(len, splits.values())) == [12, 5, 6]
    starts = [split.x[:4].tobytes() for split in splits.values()]
    assert len(set(starts)) == 3
    with pytest.raises(DataError, match="takes no options, but got 'size'"):
        load("builtin:pairs?size=3")


def test_detected_objects_lie_where_their_boxes_say() -> None:
    images, objects = shapes.detection(np.random.default_rng(0), 20)
    there = objects[..., 0] >= 0
    assert images.shape == (20, 3, 64, 64) and 20 <= there.sum() <= 100
    middle, size = objects[there][:, 1:3], objects[there][:, 3:]
    assert (middle - size / 2 >= 0).all() and (middle + size / 2 <= 1).all() and size.min() > 0.08
    for row in objects:
        cells = [tuple((8 * box[1:3]).astype(int)) for box in row if box[0] >= 0]
        assert len(cells) == len(set(cells))


def test_an_outline_fills_its_box() -> None:
    rng = np.random.default_rng(0)
    for kind in range(len(shapes.KINDS)):
        mask, (x, y, w, h) = shapes.outline(rng, kind, 64, (10.0, 10.0))
        rows, columns = np.nonzero(mask)
        assert columns.min() == round(64 * (x - w / 2)) and rows.max() + 1 == round(
            64 * (y + h / 2)
        )
        assert 0.3 < mask.sum() / (64 * w * 64 * h) <= 1.0


def test_every_class_is_segmented_and_most_is_background() -> None:
    _, labels = shapes.segmentation(np.random.default_rng(0), 40)
    shares = np.bincount(labels.ravel(), minlength=5) / labels.size
    assert shares.argmax() == 0 and (shares[1:] > 0.03).all()


def test_the_small_image_is_the_mean_of_the_large_one() -> None:
    small, large = leaves.super_resolution(np.random.default_rng(0), 3)
    assert small.shape == (3, 1, 24, 24) and large.shape == (3, 1, 48, 48)
    means = large.reshape(3, 24, 2, 24, 2).mean(axis=(2, 4))
    assert np.abs(means - small[:, 0]).max() <= 1.0


def test_dead_leaves_have_the_spectrum_of_natural_images() -> None:
    """Power falls as frequency^−k with k around 2 (Lee et al. 2001 find 1.8 to 2.5)."""
    images = leaves.drawn(np.random.default_rng(0), 60)
    window = np.hanning(leaves.SIDE)
    power = np.abs(np.fft.fft((images - images.mean((1, 2), keepdims=True)) * window, axis=2)) ** 2
    mean, at = power.mean(axis=(0, 1)), np.arange(2, 12)
    slope = np.polyfit(np.log(at), np.log(mean[at]), 1)[0]
    assert -3.0 < slope < -1.3


def test_a_turn_is_a_rotation() -> None:
    turn = motion.turned(np.random.default_rng(0), 5)
    np.testing.assert_allclose(
        turn @ turn.transpose(0, 2, 1), np.tile(np.eye(3), (5, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(turn), 1.0)


def test_pictures_of_like_attributes_look_alike() -> None:
    """Colours alone already say something of the truth, and far from all of it."""
    pictures, attributes = patterns.pictures(np.random.default_rng(0), 300)
    truth = unit(attributes) @ unit(attributes).T
    middle = unit(pictures[:, :, 12:20, 12:20].mean((2, 3)) - 110.0)
    seen = np.corrcoef((middle @ middle.T).ravel(), truth.ravel())[0, 1]
    assert 0.1 < seen < 0.8


def test_the_command_draws_one(small: None) -> None:
    text = told(read("builtin:pairs"))
    assert "the first of train: target [7]" in text and "one sample [3, 32, 32] uint8" in text
