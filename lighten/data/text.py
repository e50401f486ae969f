"""Labelled sentences in `.tsv` files, as fixed-length rows of token numbers and their mask.

    folder/train.tsv, valid.tsv (or dev.tsv), test.tsv     sentence, tab, label; a header may stand

The tokenizer is a `tokenizer.json` or a BERT `vocab.txt`: named by `?vocab=PATH`, else beside the
data, or (`with_tokenizer`) beside the network's weights. `?length=64` says how many tokens a row
has; longer sentences are cut off.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lighten.core.task import Array, Batch, Preprocess, Task
from lighten.data.batches import task_from_sources
from lighten.data.npz import hash_file
from lighten.data.splits import HELD_OUT, Split, hold_out
from lighten.errors import DataError, MissingExtra

NAMES = {"train": ("train",), "valid": ("valid", "dev", "validation"), "test": ("test",)}
TOKENIZERS = ("tokenizer.json", "vocab.txt")
OPTIONS = ("length", "vocab")
LENGTH = 64
Rows = tuple[list[str], list[str]]  # sentences, labels


def is_text(path: Path) -> bool:
    """Whether the folder holds sentences."""
    return path.is_dir() and (path / "train.tsv").is_file()


def with_tokenizer(
    spec: str, vocab: Path | None = None, network: str = "", weights: Path | None = None
) -> str:
    """What was typed after --data, with the tokenizer that belongs to it named.

    `vocab` wins; where neither it nor the data's folder has one, one that lies beside the network
    (`hf:FOLDER`) or its weights is taken. Data that is no sentences stays as it is, but must not
    come with a `vocab`.
    """
    place, _, query = spec.partition("?")
    folder = Path(place).expanduser()
    if not is_text(folder):
        if vocab is not None:
            raise DataError(f"--vocab is for folders of sentences, but the data is {place}.")
        return spec
    named = [part for part in query.split("&") if part.startswith("vocab=")]
    if vocab is None and (named or _in(folder)):
        return spec
    models = [Path(network[3:].partition("?")[0]).expanduser()] if network[:3] == "hf:" else []
    models += [weights.parent] if weights is not None else []
    found = vocab or next((file for model in models if (file := _in(model))), None)
    if found is None:
        return spec
    rest = [part for part in query.split("&") if part and part not in named]
    return f"{place}?{'&'.join([*rest, f'vocab={quote(str(found))}'])}"


def read_text(path: Path, options: Mapping[str, Any], seed: int, batch: int) -> Task:
    """A classification task whose inputs are (tokens, mask), both int64 `[n, length]`.

    Raises `DataError` naming the file and the line, `MissingExtra` without `tokenizers`.
    """
    for option in options:
        if option not in OPTIONS:
            raise DataError(f"{path}: the option {option!r} is not for folders of sentences.")
    files = {name: _file(path, choices) for name, choices in NAMES.items()}
    for name in ("train", "test"):
        if files[name] is None:
            raise DataError(f"{path} lacks {name}.tsv.", "A folder of sentences needs both.")
    vocab = _vocab(path, options.get("vocab"))
    tokenizer, pad = _tokenizer(vocab, int(options.get("length", LENGTH)))
    rows = {name: _rows(file) for name, file in files.items() if file is not None}
    labels = tuple(sorted(set(rows["train"][1]), key=_in_order))
    splits = {
        name: Split(_encoded(tokenizer, sentences), _numbered(path, name, given, labels))
        for name, (sentences, given) in rows.items()
    }
    if "valid" not in splits:
        train = splits["train"]
        kept, held = hold_out(train.y, HELD_OUT, seed)
        splits["train"] = Split(train.x, train.y, kept)
        splits["valid"] = Split(train.x, train.y, held)
    digest = hashlib.sha256(f"{options.get('length', LENGTH)} {seed}".encode())
    for file in (*(file for file in files.values() if file), vocab):
        digest.update(hash_file(file).encode())
    return task_from_sources(
        *(Sentences(splits[name], pad) for name in NAMES),
        batch=batch,
        labels=labels,
        preprocess=Preprocess(tokenizer=hash_file(vocab)[:16]),
        fingerprint=digest.hexdigest()[:16],
    )


@dataclass(frozen=True, eq=False)
class Sentences:
    """A split of token rows; the mask is 0 where a row is padded."""

    split: Split
    pad: int

    def __len__(self) -> int:
        return len(self.split)

    def pick(self, index: Array, rng: np.random.Generator | None) -> Batch:
        """The batch of these sentences."""
        tokens, labels = self.split.take(index)
        return Batch((tokens, (tokens != self.pad).astype(np.int64)), labels)


def _file(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((f for name in names if (f := folder / f"{name}.tsv").is_file()), None)


def _vocab(folder: Path, named: str | None) -> Path:
    if named is not None:
        path = Path(named).expanduser()
        path = _in(path) or path
        if not path.is_file():
            raise DataError(f"There is no tokenizer at {path}.", f"Give {' or '.join(TOKENIZERS)}.")
        return path
    beside = _in(folder)
    if beside is None:
        raise DataError(
            f"{folder} holds sentences, but no tokenizer for them.",
            "Name the one that the network was trained with: --vocab tokenizer.json.",
        )
    return beside


def _in(folder: Path) -> Path | None:
    """The tokenizer in a folder."""
    return next((folder / name for name in TOKENIZERS if (folder / name).is_file()), None)


def _tokenizer(path: Path, length: int) -> tuple[Any, int]:
    """The tokenizer, set to rows of `length`, and the number of its padding token."""
    try:
        from tokenizers import BertWordPieceTokenizer, Tokenizer
    except ImportError:
        raise MissingExtra("tokenizers", "text") from None
    try:
        found: Any
        if path.suffix == ".json":
            found = Tokenizer.from_file(str(path))
        else:
            found = BertWordPieceTokenizer(str(path), lowercase=True)
    except Exception as error:  # the library raises plain exceptions
        raise DataError(f"{path} cannot be read as a tokenizer: {error}.") from error
    token = next((t for t in ("[PAD]", "<pad>", "<|pad|>") if found.token_to_id(t) is not None), "")
    pad = found.token_to_id(token) if token else 0
    found.enable_truncation(length)
    found.enable_padding(length=length, pad_id=pad, pad_token=token or "[PAD]")
    return found, pad


def _rows(path: Path) -> Rows:
    sentences: list[str] = []
    labels: list[str] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)):
                if not row:
                    continue
                if len(row) != 2:
                    raise DataError(
                        f"{path}, line {number + 1}: must be a sentence, a tab and a label, but "
                        f"has {len(row)} field(s)."
                    )
                if number == 0 and row[1].strip().lower() in ("label", "labels", "class"):
                    continue
                sentences.append(row[0])
                labels.append(row[1].strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    if not sentences:
        raise DataError(f"{path} holds no sentences.")
    return sentences, labels


def _in_order(label: str) -> tuple[float, str]:
    try:
        return float(label), label
    except ValueError:
        return float("inf"), label


def _encoded(tokenizer: Any, sentences: list[str]) -> Array:
    return np.array([row.ids for row in tokenizer.encode_batch(sentences)], np.int64)


def _numbered(folder: Path, split: str, given: list[str], labels: tuple[str, ...]) -> Array:
    places = {label: place for place, label in enumerate(labels)}
    unknown = sorted(set(given) - set(labels))
    if unknown:
        raise DataError(f"{folder}: {split} has the label {unknown[0]!r}, which train has not.")
    return np.array([places[label] for label in given], np.int64)
