"""`python -m quickbeam` is the command line."""

from quickbeam.cli import main

main()
