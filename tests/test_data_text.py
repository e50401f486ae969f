"""Sentences: rows of tokens and their mask, the tokenizer named, errors with file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lighten.data import load
from lighten.data.text import with_tokenizer
from lighten.errors import DataError

pytest.importorskip("tokenizers")
WORDS = "[PAD] [UNK] [CLS] [SEP] a good bad film very not".split()


def folder(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    rows = "a good film\tgood\na bad film\tbad\nvery good\tgood\nnot good\tbad\n"
    for name, text in {"train": rows * 10, "test": rows, **files}.items():
        (tmp_path / f"{name}.tsv").write_text(text)
    return tmp_path


def test_rows_of_tokens_and_their_mask(tmp_path: Path) -> None:
    task = load(f"{folder(tmp_path)}?length=6")
    assert task.labels == ("bad", "good") and task.train_size == 36
    first = next(iter(task.test()))
    tokens, mask = first.inputs
    assert tokens.dtype == mask.dtype == np.int64
    assert tokens[0].tolist() == [2, 4, 5, 7, 3, 0]  # [CLS] a good film [SEP] [PAD]
    assert mask[0].tolist() == [1, 1, 1, 1, 1, 0]
    assert first.target.tolist() == [1, 0, 1, 0]
    assert len(task.preprocess.tokenizer) == 16


def test_long_sentences_are_cut_and_the_length_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    place = folder(tmp_path)
    short, long = load(f"{place}?length=4"), load(f"{place}?length=8")
    assert next(iter(short.test())).inputs[0][0].tolist() == [2, 4, 5, 3]
    assert short.fingerprint != long.fingerprint


def test_dev_is_valid_and_a_header_is_no_sample(tmp_path: Path) -> None:
    place = folder(tmp_path, dev="sentence\tlabel\na film\tgood\n")
    task = load(str(place))
    assert task.train_size == 40
    assert next(iter(task.valid())).target.tolist() == [1]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train": "one\tgood\nno tab here\n"}, r"train.tsv, line 2: .*1 field"),
        ({"test": "a film\tawful\n"}, r"test has the label 'awful', which train has not"),
        ({"test": ""}, r"test.tsv holds no sentences"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        load(str(folder(tmp_path, **files)))


def test_the_tokenizer_beside_the_network_is_taken(tmp_path: Path) -> None:
    place, model = folder(tmp_path), tmp_path / "model"
    model.mkdir()
    (place / "vocab.txt").rename(model / "vocab.txt")
    found = f"{place}?length=6&vocab={model / 'vocab.txt'}"
    assert with_tokenizer(f"{place}?length=6", network=f"hf:{model}?classes=2") == found
    assert with_tokenizer(f"{place}?length=6", weights=model / "w.safetensors") == found
    assert load(found).preprocess.tokenizer
    assert with_tokenizer(str(place)) == str(place)


def test_the_tokenizer_that_is_named_wins(tmp_path: Path) -> None:
    place = folder(tmp_path)
    typed = f"{place}?vocab=b.json&length=6"
    assert with_tokenizer(typed, Path("a.json")) == f"{place}?length=6&vocab=a.json"
    assert with_tokenizer(typed, network="hf:elsewhere") == typed


def test_a_tokenizer_for_other_data_is_refused() -> None:
    with pytest.raises(DataError, match="--vocab is for folders of sentences"):
        with_tokenizer("builtin:digits", Path("a.json"))


def test_options_of_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'size' is not for folders of sentences"):
        load(f"{folder(tmp_path)}?size=8")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    place = folder(tmp_path)
    (place / "vocab.txt").unlink()
    with pytest.raises(DataError, match=r"no tokenizer for them.*--vocab tokenizer.json"):
        load(str(place))
