"""`python -m tamis` is the command line."""

from tamis.cli import main

main()
