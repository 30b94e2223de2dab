"""Print the versions of everything that an environment has installed, as constraints for pip.

Usage: python tools/lock.py PYTHON > constraints.txt, where PYTHON is the interpreter of the environment. `make lock` does the whole.
"""

from __future__ import annotations

import subprocess
import sys

HEADER = """\
# The versions that `make demo`, `make test` and the continuous integration install (option `-c constraints.txt` of pip).
# Written by `make lock`; do not edit. `make latest` tests against the newest releases instead.
"""
NOT_LOCKED = ("tamis", "pip", "setuptools", "wheel", "nvidia-pytriton")


def main(python: str) -> None:
    """Print one `name==version` per line, without local version labels such as `+cpu`."""
    command = [python, "-m", "pip", "list", "--format=freeze"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    pins = [line.partition("+")[0] for line in listed if "==" in line]
    print(HEADER + "\n".join(sorted(pin for pin in pins if pin.partition("==")[0] not in NOT_LOCKED)))


if __name__ == "__main__":
    main(sys.argv[1])
