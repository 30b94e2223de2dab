"""Verifies an export by serving it with NVIDIA Triton."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tamis.bundle import Bundle
from tamis.engines import Options, Remote, Session, find_engine
from tamis.serve.export.triton_server import triton_server

EXPORT_TIMEOUT_S = 30.0


def verify_export(bundle: Bundle, exported: Path) -> None:
    """Serve an exported model with NVIDIA Triton; raise TamisError if it does not reproduce the golden outputs."""
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        (Path(folder) / exported.name).symlink_to(exported.absolute(), target_is_directory=True)
        with triton_server(Path(folder)) as address:
            options = Options(remote=Remote((address.grpc,), timeout_s=EXPORT_TIMEOUT_S))
            Session(bundle, find_engine("remote"), options).close()
