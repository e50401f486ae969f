"""What flowed through the int8 layers during calibration, and the range that was chosen for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lighten.report.axes import Scale
from lighten.report.markup import Markup, element
from lighten.report.source import Source
from lighten.report.why import listed

Json = Mapping[str, Any]

WIDTH, HEIGHT, FLOOR = 220, 84, 64  # of one histogram; bars stand on FLOOR
SHOWN = 12  # histograms that are not folded away


def calibration(source: Source) -> Markup | None:
    """A small histogram per int8 tensor, those that lose most at the ends first."""
    tensors = source.calibration.get("tensors") or ()
    if not tensors:
        return None
    ordered = sorted(tensors, key=lambda tensor: -tensor["clipped"])
    figures = [_figure(tensor) for tensor in ordered]
    folded = figures[SHOWN:]
    rest = element(
        "details",
        element("summary", f"The other {len(folded)}"),
        element("div", *folded, class_="histograms"),
    )
    samples, name = source.calibration.get("samples", 0), source.calibration.get("calibrator")
    note = (
        f"What each int8 layer reads, over {samples} training samples; counts on a logarithmic "
        f"scale. The frame is the range that the 256 codes cover, chosen by {name}; what lies "
        "outside is clipped to it."
    )
    return element(
        "section",
        element("h2", "Calibration"),
        element("div", *figures[:SHOWN], class_="histograms"),
        rest if folded else Markup(""),
        element("p", note, class_="note"),
    )


def _figure(tensor: Json) -> Markup:
    (low, high), (start, stop) = tensor["range"], tensor["seen"]
    x = Scale(min(low, start), max(high, stop, min(low, start) + 1e-30), 1.0, WIDTH - 1.0)
    clipped = f"{100 * tensor['clipped']:.2g} % clipped" if tensor["clipped"] else "none clipped"
    name = listed([str(layer) for layer in tensor["layers"]], 2)
    frame = element(
        "rect", class_="range", x=x(low), y=6.0, width=max(0.0, x(high) - x(low)), height=FLOOR - 6
    )
    labels = [
        element("text", f"{low:.3g}".replace("-", "−"), x=x(low), y=HEIGHT - 4, class_="tick"),
        element("text", f"{high:.3g}", x=x(high), y=HEIGHT - 4, class_="tick end"),
    ]
    picture = element(
        "svg",
        frame,
        *_bars(tensor, x),
        *labels,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=(
            f"Values read by {name}: from {start:.3g} to {stop:.3g}; range {low:.3g} to "
            f"{high:.3g}; {clipped}"
        ),
    )
    caption = element("figcaption", element("b", name), element("small", clipped))
    return element("figure", caption, picture)


def _bars(tensor: Json, x: Scale) -> list[Markup]:
    """Two paths: what the range covers, and what it clips."""
    (low, high), (start, stop), bins = tensor["range"], tensor["seen"], tensor["bins"]
    width, most = (stop - start) / len(bins), math.log1p(max(bins))
    paths = {"inside": "", "outside": ""}
    for number, count in enumerate(bins):
        if count:
            left = start + number * width
            kind = "inside" if low <= left + width / 2 <= high else "outside"
            tall = (FLOOR - 10) * math.log1p(count) / most
            a, b = x(left), x(left + width) - 0.6
            paths[kind] += f"M{a:.1f} {FLOOR}V{FLOOR - tall:.1f}H{b:.1f}V{FLOOR}z"
    return [element("path", class_=kind, d=d) for kind, d in paths.items() if d]
