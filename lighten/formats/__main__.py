"""`python -m lighten.formats`: what each calibrator makes of outliers, at 8 and at 4 bits."""

from __future__ import annotations

import numpy as np

from lighten.formats.calibrate import CALIBRATORS, Histogram
from lighten.formats.integer import UINT8, Integer

FORMATS = {
    "int8 symmetric": Integer(8, signed=True, symmetric=True),
    "uint8 affine": UINT8,
    "uint4 affine": Integer(4),
}


def main() -> None:
    """Print the range each calibrator covers, and the error of the bulk and of everything."""
    x = np.random.default_rng(0).normal(size=200_000)
    x[:10] *= 20 / np.abs(x[:10])
    bulk = np.abs(x) < np.quantile(np.abs(x), 0.999)
    seen = Histogram.of(x)
    print("A Gaussian with 0.005 % of outliers at 20 sigma; root mean square error:\n")
    print(f"{'format':16}{'calibrator':12}{'covers':>18}{'bulk':>10}{'all':>10}")
    for name, form in FORMATS.items():
        for calibrator, choose in CALIBRATORS.items():
            low, high = choose(seen, form)
            params = form.span(low, high)
            error = (form.decode(form.encode(x, params), params) - x) ** 2
            covers = f"{low:8.2f} … {high:5.2f}"
            bulk_error, all_error = np.sqrt(error[bulk].mean()), np.sqrt(error.mean())
            print(f"{name:16}{calibrator:12}{covers:>18}{bulk_error:10.4f}{all_error:10.4f}")


if __name__ == "__main__":
    main()
