"""Put NVIDIA's perf_analyzer into .venv/perf_analyzer: the last wheel of tritonclient that holds it, and the CUDA runtime it links.

Usage: python tools/perf_analyzer.py. It also needs the library libb64, in Debian the package libb64-0d.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

TARGET = Path(sys.prefix) / "perf_analyzer"
WHEELS = ("tritonclient==2.50.0", "nvidia-cuda-runtime-cu12==12.9.79")
WANTED = ("perf_analyzer", "libcudart.so.12")


def main() -> None:
    """Download both wheels, and take one file out of each."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for wheel in WHEELS:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--dest",
                folder,
                wheel,
            ]
            subprocess.run(command, check=True)
        for path in Path(folder).glob("*.whl"):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if (file := name.rpartition("/")[2]) in WANTED:
                        (TARGET / file).write_bytes(archive.read(name))
                        (TARGET / file).chmod(0o755)


if __name__ == "__main__":
    main()
