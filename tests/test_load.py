"""Networks and weights that users type: each way in works, each bad one is one clear sentence."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lighten import zoo
from lighten.errors import InputError, NetworkError, WeightsError, WriteError
from lighten.network.lift import lift
from lighten.network.load import load_network
from lighten.network.weights import fingerprint, load_weights, save_weights

FILE = """
from torch import nn
import beside

def build():
    return nn.Linear(beside.WIDTH, 2)

class Net(nn.Linear):
    def __init__(self):
        super().__init__(3, 1)

ready = nn.Linear(1, 1)

def wrong():
    return 5

def breaks():
    raise ValueError("no such luck")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("WIDTH = 7")
    (tmp_path / "broken.py").write_text("def build(:\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)")
    (tmp_path / "empty.pt2").write_bytes(b"")
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    (tmp_path / "model.onnx").write_bytes(b"x")
    return tmp_path


def test_a_zoo_network_with_options_and_a_seed() -> None:
    net = load_network("zoo:resnet20?classes=7&channels=1")
    assert (net.linear.out_features, net.conv1.in_channels) == (7, 1)
    assert fingerprint(load_network("zoo:lenet5")) == fingerprint(load_network("zoo:lenet5"))
    assert fingerprint(load_network("zoo:lenet5", seed=1)) != fingerprint(zoo.build("lenet5"))


def test_a_factory_a_class_and_an_instance_in_a_file(folder: Path) -> None:
    assert load_network(f"{folder}/net.py:build").in_features == 7
    assert load_network(f"{folder}/net.py:Net").in_features == 3
    assert load_network(f"{folder}/net.py:ready").in_features == 1
    twice = [fingerprint(load_network(f"{folder}/net.py:build", seed=4)) for _ in range(2)]
    assert twice[0] == twice[1]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("zoo:resnet21", r"no network called 'resnet21'.*Did you mean"),
        ("zoo:resnet20?depth=3", r"no option 'depth'"),
        ("zoo:resnet20?classes=ten", r"'classes' of resnet20 must be a positive"),
        ("zoo:resnet20?classes", r"must look like zoo:resnet20\?classes=10"),
        ("{}/none.py:build", r"none\.py does not exist"),
        ("{}/net.py", r"must be followed by the function.*net\.py:FACTORY"),
        ("{}/net.py:nothing", r"net\.py has no 'nothing'.*build"),
        ("{}/net.py:wrong", r"wrong in .* must give a torch\.nn\.Module, but gave int"),
        ("{}/net.py:breaks", r"breaks in .*net\.py failed: ValueError: no such luck"),
        ("{}/broken.py:build", r"broken\.py cannot be imported: SyntaxError"),
        ("{}/exits.py:build", r"exits\.py cannot be imported: SystemExit"),
        ("{}/none.pt2", r"none\.pt2 does not exist"),
        ("{}/empty.pt2", r"empty\.pt2 is not a whole torch\.export file"),
        ("{}/weights.safetensors", r"holds weights; give the network they belong to"),
        ("{}", r"holds no structure\.safetensors"),
        ("{}/model.onnx", r"cannot be read as an ONNX model"),
        ("resnet20", r"must be zoo:NAME, FILE\.py:FACTORY.*but got 'resnet20'"),
    ],
)
def test_a_bad_network_is_one_sentence(folder: Path, spec: str, sentence: str) -> None:
    with pytest.raises(NetworkError, match=sentence) as caught:
        load_network(spec.format(folder))
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


class Heads(nn.Module):
    """Convolution, its transpose, every norm, a shared layer, a view by batch size, a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, (1, 2), 1, groups=3, bias=False)
        self.norm = nn.BatchNorm2d(6, momentum=0.3)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2, groups=2)
        self.group = nn.GroupNorm(2, 4)
        self.tail = nn.Sequential(nn.LayerNorm(16), nn.Dropout(0.1), nn.Linear(16, 16))
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.group(self.up(self.norm(self.conv(x)).relu()))
        x = x.mean(2).reshape(x.shape[0], -1, 16)[:, 0]
        return {"first": self.tail(x) * self.scale, "second": self.tail[2](x)}


def test_an_exported_network_has_its_modules_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Heads().eval()
    exported = torch.export.export(net, (torch.randn(1, 3, 4, 8),))
    torch.export.save(exported, tmp_path / "net.pt2")
    loaded = load_network(str(tmp_path / "net.pt2"))
    assert set(loaded.state_dict()) == set(net.state_dict())
    assert fingerprint(loaded) == fingerprint(net)
    for name in ("conv", "norm", "up", "group", "tail.0"):
        assert str(loaded.get_submodule(name)) == str(net.get_submodule(name))
    x = torch.randn(5, 3, 4, 8)
    for module in (loaded, lift(loaded, x)):
        found, wanted = module(x), net(x)
        assert all(torch.equal(found[key], wanted[key]) for key in ("first", "second"))
    loaded.train()
    loaded(x)["first"].sum().backward()
    assert loaded.get_parameter("conv.weight").grad is not None
    assert not torch.equal(loaded.get_buffer("norm.running_mean"), net.norm.running_mean)


def test_an_exported_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, mark = tmp_path / "net.pt2", tmp_path / "ran"
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.randn(1, 2),)), path)
    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(bad, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name))
        copy.writestr("net/data/constants/opaque_obj_0", pickle.dumps(Attack(mark)))
    with pytest.raises(NetworkError, match="refused: it holds opaque_obj_0"):
        load_network(str(bad))
    assert not mark.exists()


class Attack:
    """Unpickling this creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def small() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def written(path: Path, weights: Any) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {k: v for k, v in weights.items() if not k.endswith("tracked")},
    ],
    ids=["plain", "data parallel", "without counters"],
)
def test_weights_come_back(tmp_path: Path, name: str, wrap: Callable[[Any], Any]) -> None:
    source, target = small(), zoo.build("lenet5")
    target = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    load_weights(target, written(tmp_path / name, wrap(dict(source.state_dict()))))
    assert fingerprint(target) == fingerprint(source)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_around_the_weights(tmp_path: Path, key: str) -> None:
    path = written(tmp_path / "w.pt", {"epoch": 3, key: small().state_dict()})
    target = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    load_weights(target, path)
    assert fingerprint(target) == fingerprint(small())


def test_what_is_saved_is_loaded_and_half_precision_is_widened(tmp_path: Path) -> None:
    tied = small()
    tied.again = tied[0]  # type: ignore[assignment]
    save_weights(tied, tmp_path / "new" / "w.safetensors")
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    other.again = other[0]  # type: ignore[assignment]
    load_weights(other, tmp_path / "new" / "w.safetensors")
    assert fingerprint(other) == fingerprint(tied)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["w.safetensors"]
    half = {name: value.half() for name, value in small().state_dict().items()}
    load_weights(
        other,
        written(
            tmp_path / "half.pt",
            {**half, "again.weight": half["0.weight"], "again.bias": half["0.bias"]},
        ),
    )
    assert other[0].weight.dtype == torch.float32


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(small(), tmp_path / "w.safetensors")
    before = (tmp_path / "w.safetensors").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lighten.core.files.os.fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        save_weights(zoo.build("lenet5"), tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_weights_are_readable_like_any_new_file(tmp_path: Path) -> None:
    save_weights(small(), tmp_path / "w.safetensors")
    (tmp_path / "plain").write_bytes(b"")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


Change = Callable[[dict[str, Tensor]], Any]
MISFITS: dict[str, tuple[Change, str]] = {
    "missing": (
        lambda w: {k: v for k, v in w.items() if k != "2.bias"},
        r"does not fit Sequential: missing: 2\.bias\.",
    ),
    "unexpected": (
        lambda w: {**w, **{f"extra{i}": w["2.bias"].clone() for i in range(7)}},
        r"unexpected: extra0, extra1, extra2, extra3, extra4 and 2 more\.",
    ),
    "shape": (
        lambda w: {**w, "2.weight": torch.zeros(5, 4)},
        r"shape: 2\.weight \(must be \[2, 4\], but got \[5, 4\]\)",
    ),
    "NaN": (lambda w: {**w, "2.bias": w["2.bias"] * float("nan")}, r"holds NaN in 2\.bias"),
    "infinite": (lambda w: {**w, "0.bias": w["0.bias"] / 0}, r"infinite values in 0\.bias"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("name", list(MISFITS))
def test_weights_that_do_not_fit_change_nothing(tmp_path: Path, name: str, suffix: str) -> None:
    change, sentence = MISFITS[name]
    weights = {key: value.clone() for key, value in small().state_dict().items()}
    target = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    before = fingerprint(target)
    with pytest.raises(WeightsError, match=sentence):
        load_weights(target, written(tmp_path / f"w{suffix}", change(weights)))
    assert fingerprint(target) == before


@pytest.mark.parametrize("whole", [True, False], ids=["alone", "beside good weights"])
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, whole: bool) -> None:
    mark, path = tmp_path / "ran", tmp_path / "w.pt"
    good = dict(small().state_dict())
    torch.save(Attack(mark) if whole else {**good, "x": Attack(mark)}, path)
    with pytest.raises(
        WeightsError, match=r"was refused: reading it would run code \(posix\.mkdir"
    ):
        load_weights(small(), path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Attack(mark)))  # it would have
    assert mark.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_plain_pickle_that_runs_code_is_refused(tmp_path: Path, protocol: int) -> None:
    mark, path = tmp_path / "ran", tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Attack(mark), protocol))
    with pytest.raises(WeightsError, match=r"refused: reading it would run code"):
        load_weights(small(), path)
    assert not mark.exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"would run code.*net\.state_dict\(\)"):
        load_weights(small(), tmp_path / "w.pt")


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "cut safetensors": ("w.safetensors", lambda b: b[:-9], "not a whole safetensors file"),
    "a length that lies": (
        "w.safetensors",
        lambda b: (2**62).to_bytes(8, "little") + b[8:],
        "not a whole safetensors file",
    ),
    "cut zip": ("w.pt", lambda b: b[: len(b) // 2], "not a whole file of weights"),
    "noise": ("w.pt", lambda b: bytes(range(256)) * 4, "not a whole file of weights"),
    "empty": ("w.pt", lambda b: b"", "is empty"),
    "ONNX": ("w.onnx", lambda b: b, "is an ONNX model.*exported from"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    file, damage, sentence = BROKEN[name]
    path = tmp_path / file
    whole = written(tmp_path / f"whole{path.suffix}", dict(small().state_dict()))
    path.write_bytes(damage(whole.read_bytes()))
    with pytest.raises(WeightsError, match=sentence) as caught:
        load_weights(small(), path)
    assert "\n" not in str(caught.value)


def test_other_things_that_are_no_weights(tmp_path: Path) -> None:
    for content, sentence in (
        ([1, 2], "must hold a state dict, but holds list"),
        ({"lr": 0.1, "0.weight": torch.zeros(1)}, "'lr' is a float"),
        ({}, "must hold a state dict"),
    ):
        with pytest.raises(WeightsError, match=sentence):
            load_weights(small(), written(tmp_path / "w.pt", content))
    with pytest.raises(WeightsError, match=r"none\.pt does not exist"):
        load_weights(small(), tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="is not a file"):
        load_weights(small(), tmp_path)


def test_the_fingerprint_sees_every_number_and_name() -> None:
    net, other = small(), small()
    assert fingerprint(net) == fingerprint(other)
    with torch.no_grad():
        other[2].bias[1] += 1e-6  # type: ignore[union-attr,operator]
    assert fingerprint(net) != fingerprint(other)


def test_a_folder_that_transformers_saved(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=30, intermediate_size=16, **sizes)
    saved = transformers.BertModel(config)
    saved.save_pretrained(tmp_path)
    net = load_network(f"hf:{tmp_path}?classes=3")
    assert net(torch.zeros(1, 4, dtype=torch.long)).logits.shape == (1, 3)
    assert torch.equal(net.bert.pooler.dense.weight, saved.pooler.dense.weight)
    with pytest.raises(NetworkError, match="only option is classes"):
        load_network(f"hf:{tmp_path}?labels=3")
    with pytest.raises(NetworkError, match=r"holds no config\.json"):
        load_network(f"hf:{tmp_path / 'nowhere'}")
