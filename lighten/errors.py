"""Everything `lighten` raises on purpose.

    LightenError
    ├── InputError            what was given is wrong: the command line exits with 2
    │   ├── BudgetError       a limit that cannot be read, or that nothing could meet
    │   ├── DataError         images, arrays, splits, labels
    │   ├── NetworkError      a network that cannot be found, built or exported
    │   ├── WeightsError      weights that cannot be read or do not fit
    │   ├── RecipeError       a recipe that cannot be read or does not fit this network
    │   └── ArtifactError     a model.lighten that is damaged or malformed, or cannot be made
    ├── MissingExtra          an optional package is not installed
    ├── UnsupportedOps        ops a backend cannot run, by name
    ├── ProgramError          a program that breaks its executable spec: a mistake of ours, op named
    ├── WriteError            a file could not be written (a full disk); nothing half-written stays
    └── InexactError          a check that must hold exactly did not (cut against masked)

A message is one sentence that says what was wrong; `hint` says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence


class LightenError(Exception):
    """The root: `message` says what happened, `hint` what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message = message
        self.hint = hint


class InputError(LightenError):
    """What was given is wrong."""


class BudgetError(InputError):
    """A limit that cannot be read, or that nothing could meet."""


class DataError(InputError):
    """Images, arrays, splits or labels that cannot be used."""


class NetworkError(InputError):
    """A network that cannot be found, built or exported."""


class WeightsError(InputError):
    """Weights that cannot be read or do not fit the network."""


class RecipeError(InputError):
    """A recipe that cannot be read or does not fit this network."""


class ArtifactError(InputError):
    """An artifact that is damaged, foreign or malformed, or a program that no artifact can hold."""


class MissingExtra(InputError):
    """An optional package is not installed.

    >>> MissingExtra("openvino", "openvino").hint
    "Install it with: pip install 'lighten[openvino]'"
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} is not installed.", f"Install it with: pip install 'lighten[{extra}]'"
        )


class UnsupportedOps(LightenError):
    """Ops a backend cannot run, each by name."""

    def __init__(
        self, backend: str, ops: Sequence[str], hint: str = "Choose another --backend."
    ) -> None:
        super().__init__(f"{backend} cannot run {len(ops)} op(s): {', '.join(ops)}.", hint)
        self.ops = tuple(ops)


class ProgramError(LightenError):
    """A program breaks its executable spec, or a pass was asked what it cannot do; names the op."""


class WriteError(LightenError):
    """A file could not be written; what stood there before still stands."""


class InexactError(LightenError):
    """A check that must hold exactly did not hold."""
