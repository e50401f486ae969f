"""Number formats: what a code means (`integer`, `binary`), and which range it should cover
(`calibrate`).
"""

from lighten.formats.binary import SIGNS, TERNARY, Format, Signs
from lighten.formats.calibrate import CALIBRATORS, Histogram
from lighten.formats.integer import (
    FLOAT32,
    INT8_WEIGHT,
    UINT8,
    Float32,
    Integer,
    Scale,
)

__all__ = [
    "CALIBRATORS",
    "FLOAT32",
    "INT8_WEIGHT",
    "SIGNS",
    "TERNARY",
    "UINT8",
    "Float32",
    "Format",
    "Histogram",
    "Integer",
    "Scale",
    "Signs",
]
