"""The handwritten digits that ship inside scikit-learn: 1797 images of 8 × 8 pixels, 0 to 16.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
"""

from __future__ import annotations

import hashlib

import numpy as np

from lighten.core.task import Preprocess
from lighten.data.splits import Split, Splits, hold_out
from lighten.errors import MissingExtra

TEST_SHARE = 0.3  # 539 digits; which ones never depends on a user's seed
TEST_SEED = 1797


def read_digits() -> Splits:
    """Train and test, `[n, 1, 8, 8]` uint8. Raises `MissingExtra` without scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtra("scikit-learn", "demo") from error
    digits = load_digits()
    x = digits.images.astype(np.uint8)[:, None]
    y = digits.target.astype(np.int64)
    train, test = hold_out(y, TEST_SHARE, TEST_SEED)
    return Splits(
        "builtin:digits",
        Split(x[train], y[train]),
        Split(x[test], y[test]),
        labels=tuple("0123456789"),
        preprocess=Preprocess(16.0),
        content=hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest(),
    )
