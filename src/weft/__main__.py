"""`python -m weft` is the command `weft`."""

from .cli.main import main

main()
