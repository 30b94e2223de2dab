from __future__ import annotations

import subprocess
import sys


def test_importing_the_package_loads_no_file_format():
    # awkward itself imports pyarrow if it is installed
    script = "import sys, tamis.events; print([m for m in ('uproot', 'h5py') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
