"""The `crystallize` command, as `python -m crystallize`."""

from .cli import main

main()
