"""What is done to a network, as data: hashable, sorted, replayable, without torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import Any

from lighten.errors import RecipeError

Json = None | bool | int | float | str | tuple["Json", ...]

VERSION = 1


def freeze(value: Any) -> Json:
    """Lists become tuples, all the way down, so that the value can be hashed."""
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise RecipeError(f"A recipe holds plain values only, but got {type(value).__name__}.")


@dataclass(frozen=True, order=True)
class Edit:
    """One thing done to one place.

    `technique` names a row of `lighten.techniques.TABLE`, `place` a group, block or layer of the
    graph, and `settings` are sorted name–value pairs.

    >>> Edit.of("channels", "layer1.0.conv1", keep=[0, 2], of=4)["keep"]
    (0, 2)
    """

    technique: str
    place: str
    settings: tuple[tuple[str, Json], ...] = ()

    @classmethod
    def of(cls, technique: str, place: str, **settings: Any) -> Edit:
        """An edit from keyword settings."""
        return cls(technique, place, tuple(sorted((k, freeze(v)) for k, v in settings.items())))

    def __getitem__(self, name: str) -> Any:
        for key, value in self.settings:
            if key == name:
                return value
        raise RecipeError(f"The edit {self.technique} of {self.place} has no setting {name!r}.")


@dataclass(frozen=True)
class Training:
    """How the edited network learns its way back.

    `epochs` may be fractional. `signals` are rows of `lighten.train.signals.TABLE` with their
    weight: what the student copies from its teacher. `precision` is "float32" or "bfloat16"
    (autocast). `schedule` is "cosine" or "constant", with a linear warm-up of `warmup` (a share).
    """

    epochs: float = 0.0
    batch: int = 128
    optimizer: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    warmup: float = 0.05
    signals: tuple[tuple[str, float], ...] = (("soft_targets", 0.9), ("task", 0.1))
    temperature: float = 4.0
    label_smoothing: float = 0.0
    precision: str = "bfloat16"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "lr", "temperature"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not isfinite(value) or value < 0:
                raise RecipeError(f"The {name} must be a finite number from 0 on, but got {value}.")
        if self.batch < 1:
            raise RecipeError(f"The batch must be at least 1, but got {self.batch}.")


@dataclass(frozen=True)
class Recipe:
    """Sorted edits, the training that follows them, and what they were made for.

    `weights` and `data` are fingerprints of the network and data the recipe was found on; `""`
    where unknown. Equal recipes have equal digests.
    """

    edits: tuple[Edit, ...] = ()
    training: Training = field(default_factory=Training)
    weights: str = ""
    data: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "edits", tuple(sorted(self.edits)))

    def by(self, technique: str) -> tuple[Edit, ...]:
        """The edits of one technique."""
        return tuple(edit for edit in self.edits if edit.technique == technique)

    def without_training(self) -> Recipe:
        """The same structure, untrained: what decides latency, bytes and MACs."""
        return replace(self, training=Training(epochs=0.0))

    def with_edits(self, edits: Iterable[Edit]) -> Recipe:
        """The same recipe with other edits."""
        return replace(self, edits=tuple(edits))

    def as_dict(self) -> dict[str, Any]:
        """Plain lists and dicts, ready for YAML or JSON; `Recipe.from_dict` reads it back."""
        edits = [
            {"technique": e.technique, "place": e.place, **{k: _thaw(v) for k, v in e.settings}}
            for e in self.edits
        ]
        training = {k: _thaw(v) for k, v in asdict(self.training).items()}
        return {
            "lighten": VERSION,
            "weights": self.weights,
            "data": self.data,
            "training": training,
            "edits": edits,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Read what `as_dict` wrote. Raises `RecipeError` naming what is wrong."""
        if not isinstance(data, Mapping) or data.get("lighten") != VERSION:
            raise RecipeError(f"A recipe must be a mapping that begins with 'lighten: {VERSION}'.")
        try:
            edits = [
                Edit.of(e["technique"], e["place"], **_settings(e)) for e in data.get("edits", [])
            ]
            training = Training(**{k: freeze(v) for k, v in data.get("training", {}).items()})  # type: ignore[arg-type]
        except (KeyError, TypeError) as error:
            raise RecipeError(f"The recipe cannot be read: {error}.") from error
        return cls(tuple(edits), training, data.get("weights", ""), data.get("data", ""))

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that name this recipe."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _settings(edit: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in edit.items() if k not in ("technique", "place")}


def _thaw(value: Any) -> Any:
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value
