"""`python -m lighten.cli` is `lighten`."""

from lighten.cli import main

main()
