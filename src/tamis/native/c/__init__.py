"""C that is written by hand: vectors and their functions."""
