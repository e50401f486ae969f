"""Number formats: what a code means (`integer`, `binary`), and which range it should cover
(`calibrate`).
"""

from lighten.formats.calibrate import CALIBRATORS, Histogram
from lighten.formats.integer import (
    FLOAT32,
    INT8_WEIGHT,
    UINT8,
    Float32,
    Integer,
    Scale,
)
from lighten.formats.signs import SIGN, TERNARY, Binary, Format

__all__ = [
    "CALIBRATORS",
    "FLOAT32",
    "INT8_WEIGHT",
    "SIGN",
    "TERNARY",
    "UINT8",
    "Binary",
    "Float32",
    "Format",
    "Histogram",
    "Integer",
    "Scale",
]
