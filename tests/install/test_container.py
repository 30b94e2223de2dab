"""The container recipe, built for real, and used as on a farm: without root, on a read-only root file system, without a network.

No image registry is needed: the base image is a Debian that `debootstrap` makes from this machine's package mirror, and the libraries
come from a folder of wheels that this machine's pip has downloaded. Buildah builds; bubblewrap runs the result with the user, environment
and folder that the image asks for, since it needs fewer rights on a build machine than a container engine does.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("buildah", "debootstrap", "bwrap", "git")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}  # of the releases of Debian
GLIBC = (36, 34, 28, 27, 24, 17, 12, 5)  # versions 2.x that wheels for Debian 12 may need
EXTRAS = ("openvino", "plot", "dask", "remote", "serve")  # those of the recipe
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)} (Debian packages; bwrap is in bubblewrap)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap needs root"),
]  # fmt: skip


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False, **options)
    assert done.returncode == 0, (
        f"{shlex.join(map(str, command))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done.stdout


def release() -> str:
    facts = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    name = facts.get("VERSION_CODENAME", "").strip('"')
    if name not in PYTHONS:
        pytest.skip(
            f"the base image is a Debian ({', '.join(PYTHONS)}) from this machine's mirror; this is {name or 'no Debian'}"
        )
    return name


def mirror() -> str:
    """Return the address of this machine's package mirror."""
    folder = Path("/etc/apt")
    for file in (*sorted((folder / "sources.list.d").glob("*.sources")), *sorted(folder.rglob("*.list"))):
        found = re.search(
            r"^(?:URIs:|deb)\s.*?(https?://\S+/debian)/?(?:\s|$)", file.read_text(), re.MULTILINE
        )
        if found:
            return found[1]
    pytest.skip("the package sources of this machine name no Debian mirror")


@dataclass(frozen=True)
class Image:
    """The built image: its file system and its configuration."""

    root: str
    user: str
    variables: tuple[str, ...]
    entry: tuple[str, ...]

    def call(self, script: str, data: Path) -> subprocess.CompletedProcess[str]:
        """Run a script: the image's user, root read-only, no network, /tmp in memory, `data` writable as /data."""
        numbers = next(
            line.split(":") for line in Path(self.root, "etc/passwd").read_text().splitlines() if line.startswith(f"{self.user}:")
        )  # fmt: skip
        variables = [part for line in self.variables for part in ("--setenv", *line.split("=", 1))]
        return subprocess.run(
            [
                "bwrap", "--unshare-all", "--uid", numbers[2], "--gid", numbers[3], "--die-with-parent",
                "--ro-bind", self.root, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp",
                "--bind", data, "/data", "--chdir", "/data", "--clearenv", "--setenv", "HOME", numbers[5], *variables,
                "sh", "-euc", script,
            ],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Iterator[Image]:
    """Build the image of the recipe; everything is removed at the end."""
    folder = tmp_path_factory.mktemp("container")
    name = release()
    store = ["--root", str(folder / "store"), "--runroot", str(folder / "runroot")]
    overlay = subprocess.run(
        ["buildah", "--storage-driver", "overlay", *store, "info"], capture_output=True, check=False
    )
    driver = "vfs" if overlay.returncode else "overlay"
    buildah = ("buildah", "--storage-driver", driver, *store)
    try:
        base = make_base(folder, name, buildah)
        wheels = download(folder / "wheels", PYTHONS[name])
        source = folder / "source"
        run("git", "archive", "--output", folder / "source.tar", "HEAD", cwd=ROOT)
        with tarfile.open(folder / "source.tar") as tracked:
            tracked.extractall(source, filter="data")
        arguments = {"BASE": base, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
        options = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        run(
            *buildah, "bud", "--isolation", "chroot", *options, "--volume", f"{wheels}:/wheels:ro",
            "-f", source / "Containerfile", "-t", "localhost/tamis-test", source,
        )  # fmt: skip
        facts = json.loads(run(*buildah, "inspect", "--type", "image", "localhost/tamis-test"))["OCIv1"][
            "config"
        ]
        container = run(*buildah, "from", "localhost/tamis-test").strip()
        root = run(*buildah, "mount", container).strip()
        yield Image(root, facts["User"], tuple(facts["Env"]), tuple(facts["Entrypoint"]))
    finally:
        for command in (("umount", "--all"), ("rm", "--all"), ("rmi", "--all", "--force")):
            subprocess.run([*buildah, *command], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def make_base(folder: Path, name: str, buildah: tuple[str, ...]) -> str:
    """Make a base image like debian:NAME-slim, with this machine's package sources."""
    root = folder / "base"
    run("debootstrap", "--variant=minbase", name, root, mirror())
    for file in Path("/etc/apt/apt.conf.d").iterdir():  # how packages are fetched here: proxies, for example
        if "Acquire::" in file.read_text():
            shutil.copy(file, root / "etc/apt/apt.conf.d" / file.name)
    container = run(*buildah, "from", "scratch").strip()
    run(*buildah, "add", "--quiet", container, root, "/")
    run(*buildah, "commit", "--quiet", container, "localhost/base-test")
    shutil.rmtree(root)
    return "localhost/base-test"


def download(folder: Path, python: str) -> Path:
    """Download the locked wheels of the recipe, for the base image's Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += [one for extra in EXTRAS for one in project["project"]["optional-dependencies"][extra]]
    machine = os.uname().machine
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC] + [f"manylinux2014_{machine}", "any"]
    tag = f"cp{python.replace('.', '')}"
    run(
        sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, "--only-binary", ":all:",
        "--python-version", python, "--implementation", "cp", *(f"--abi={abi}" for abi in (tag, "abi3", "none")),
        *(f"--platform={one}" for one in platforms), "-c", ROOT / "constraints.txt", *wanted,
    )  # fmt: skip
    return folder


@pytest.mark.nightly
def test_the_container_works_without_root_network_and_a_writable_root(image, tmp_path):
    """One test, so that parallel workers build the image once."""

    def inside(script: str) -> str:
        done = image.call(script, tmp_path)
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    conditions_are_those_of_a_farm(image, tmp_path)
    doctor_finds_what_the_recipe_installs(inside)
    a_model_is_served(inside)
    the_shipped_menu_runs_as_on_this_machine(inside, tmp_path)


def conditions_are_those_of_a_farm(image, tmp_path):
    """What the other tests claim: no root, nothing writable but /tmp and /data, no network."""
    assert image.entry == ("tamis",)
    done = image.call("id -u; touch /tmp/a /data/a", tmp_path)
    assert done.returncode == 0
    assert done.stdout.strip() != "0"
    for place in ("/a", "/home/tamis/a", "/opt/tamis/a", "/var/tmp/a"):
        assert "Read-only file system" in image.call(f"touch {place}", tmp_path).stderr
    reached = image.call(
        "python -c \"import socket; socket.create_connection(('192.0.2.1', 80), 5)\"", tmp_path
    )
    assert "Network is unreachable" in reached.stderr


def doctor_finds_what_the_recipe_installs(inside):
    diagnosis = json.loads(inside("tamis doctor --json"))
    assert diagnosis["usable"]
    states = {(one["area"], one["name"]): one["state"] for one in diagnosis["findings"]}
    assert {states["extras", extra] for extra in EXTRAS} == {"ok"}
    assert states["compiler", "gcc"] == "ok"
    assert states["folders", "cache"] == "ok"


def the_shipped_menu_runs_as_on_this_machine(inside, tmp_path):
    pytest.importorskip("pythia8mc", reason="pythia8mc is not installed")
    tamis = [sys.executable, "-m", "tamis"]
    run(
        *tamis,
        "simulate",
        "z-prime-tt",
        "-n",
        "30",
        "--seed",
        "3",
        "--low-level",
        "-o",
        tmp_path / "events.root",
    )
    menu = (ROOT / "src/tamis/trigger/menus/hlt.yaml").read_text(encoding="utf-8")
    (tmp_path / "menu.yaml").write_text(
        menu.replace("budget: 100ms", "budget: 100s")
    )  # the machine may be busy
    run(
        *tamis,
        "run",
        tmp_path / "menu.yaml",
        tmp_path / "events.root",
        "-o",
        tmp_path / "here",
        "--mode",
        "event",
    )
    inside("tamis run menu.yaml events.root -o there --mode event --page")
    here, there = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("here", "there"))
    assert there["counts"] == here["counts"]
    assert there["counts"]["accepted"] > 0
    assert (tmp_path / "there" / "index.html").is_file()


def a_model_is_served(inside):
    said = inside("""
tamis serve facile --engine native --grpc 8001 --http 8000 --metrics 8002 2> server.log &
until grep -q '^ready' server.log; do kill -0 $! || { cat server.log; exit 1; }; sleep 0.2; done
python - <<'END'
import urllib.request
import numpy as np
import tamis
from tamis.engines import Remote

assert urllib.request.urlopen("http://127.0.0.1:8000/v2/health/ready").status == 200
with tamis.open("facile", "remote", remote=Remote(("grpc://127.0.0.1:8001",))) as far, tamis.open("facile", "native") as near:
    name, rows = next(iter(near.bundle.golden.inputs.items()))
    assert np.array_equal(far(rows), near(rows))
    print("rows:", len(rows))
END
tamis load grpc://127.0.0.1:8001 facile --scenario closed --streams 2 --seconds 1 -o records
kill %1 2> /dev/null || kill $!
wait
""")
    assert re.search(r"rows: \d+", said)
