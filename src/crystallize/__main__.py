"""The `crystallize` command, as `python -m crystallize`."""

from ._cli.app import main

main()
