"""Run the command line with `python -m tamis`."""

from tamis.cli import main

main()
