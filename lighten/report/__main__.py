"""`python -m lighten.report DIR`: write the report of a finished run again."""

from __future__ import annotations

import sys
from pathlib import Path

from lighten.report import write_report

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m lighten.report DIR")
    print(write_report(Path(sys.argv[1])))
