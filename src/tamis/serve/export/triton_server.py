"""Runs NVIDIA Triton from the wheel `nvidia-pytriton`, to test an export before a site deploys it.

Only the wheel's binary is used, on CPU; its Python code, which needs another numpy, is never imported.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple

from tamis._base import MissingExtraError, TamisError, UsageError
from tamis.bundle import Bundle
from tamis.engines import Options, Remote, Session, find_engine, states_of

INSTALL = "pip install --no-deps nvidia-pytriton==0.7.0"
BACKEND = ("libtriton_python.so", "triton_python_backend_utils.py")
STUB = "triton_python_backend_stub"
TRITON_START_S, TRITON_END_S = 120.0, 30.0
EXPORT_TIMEOUT_S = 30.0
MAX_LOG_CHARACTERS = 500  # of its log, in an error


class TritonAddress(NamedTuple):
    """The addresses and the process id of a running Triton."""

    grpc: str  # HOST:PORT
    http: str
    pid: int


@contextmanager
def triton_server(
    repository: Path, *, environment: Mapping[str, str] | None = None, explicit: bool = False
) -> Iterator[TritonAddress]:
    """Serve a repository with NVIDIA Triton on loopback; with `explicit`, models can be loaded and unloaded by request."""
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise MissingExtraError(f"serving with NVIDIA Triton needs its binary: {INSTALL}")
    root = Path(spec.origin).parent
    with tempfile.TemporaryDirectory(prefix="triton-") as folder:
        backends = _backends(root, Path(folder))
        # Triton cannot choose free ports itself
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        grpc, http = (listener.getsockname()[1] for listener in listeners)
        for listener in listeners:
            listener.close()
        arguments = [
            str(root / "tritonserver/bin/tritonserver"),
            f"--model-repository={repository.absolute()}",
            f"--backend-directory={backends}",
            f"--grpc-port={grpc}",
            f"--http-port={http}",
            "--grpc-address=127.0.0.1",
            "--http-address=127.0.0.1",
            "--allow-metrics=false",
            *(["--model-control-mode=explicit", "--load-model=*"] if explicit else ["--exit-on-error=true"]),
        ]
        with (Path(folder) / "log").open("w+b") as log:
            process = subprocess.Popen(
                arguments, stdout=log, stderr=log, env=_environment(root, environment or {})
            )
            try:
                _wait_ready(process, http, log)
                yield TritonAddress(f"127.0.0.1:{grpc}", f"127.0.0.1:{http}", process.pid)
            finally:
                process.terminate()
                try:
                    process.wait(TRITON_END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def check_verifiable(bundle: Bundle) -> None:
    """Raise UsageError for a bundle whose export cannot be verified."""
    if states_of(bundle.manifest.signature):
        raise UsageError(
            f"an export of {bundle.name} cannot be verified: states need Triton's ONNX Runtime backend, which nvidia-pytriton does not have; "
            "leave out --verify, and try the export with RemoteStatefulSession on a full Triton"
        )


def verify_export(bundle: Bundle, exported: Path) -> None:
    """Serve an exported model with NVIDIA Triton; raise TamisError if it does not reproduce the golden outputs."""
    check_verifiable(bundle)
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        (Path(folder) / exported.name).symlink_to(exported.absolute(), target_is_directory=True)
        with triton_server(Path(folder)) as address:
            options = Options(remote=Remote((address.grpc,), timeout_s=EXPORT_TIMEOUT_S))
            Session(bundle, find_engine("remote"), options).close()


def _backends(root: Path, folder: Path) -> Path:
    """Combine the Python backend and the stub of this Python version, which are separate in the wheel."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "tritonserver/python_backend_stubs" / version / STUB
    if not stub.exists():
        versions = ", ".join(sorted(path.parent.name for path in stub.parent.parent.glob(f"*/{STUB}")))
        raise MissingExtraError(
            f"nvidia-pytriton has no Python backend for Python {version}; use one of {versions}"
        )
    python = folder / "backends" / "python"
    python.mkdir(parents=True)
    for name in BACKEND:
        (python / name).symlink_to(root / "tritonserver/backends/python" / name)
    shutil.copy(stub, python / STUB)
    return python.parent


def _environment(root: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment: the wheel's libraries, and this Python first, whose modules the backend imports."""
    libraries = [str(root.parent / "nvidia_pytriton.libs"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **extra,
    }


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    """Wait until all models are ready."""
    until = time.monotonic() + TRITON_START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise TamisError(f"NVIDIA Triton exited with status {process.returncode}: {_error_in(log)}")
        if _is_ready(port):
            return
        time.sleep(0.05)
    raise TamisError(f"NVIDIA Triton was not ready within {TRITON_START_S:g} s: {_error_in(log)}")


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _error_in(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if "failed to load" in line] or lines[-1:] or ["its log is empty"]
    return errors[0][:MAX_LOG_CHARACTERS].split("\\n", maxsplit=1)[0]
