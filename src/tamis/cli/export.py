"""`tamis export`: a bundle as something else runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tamis._base import UsageError
from tamis.cli.output import say

TRITON = ("engine", "instances", "threads", "delay", "verify")
C = ("dims", "instructions")


@click.command(
    name="export",
    epilog="Examples: tamis export conv-vae --to c -o conv_vae/; tamis export conv-vae --to triton -o repository/. "
    "Triton's containers need tamis in the Python of the Python backend.",
)
@click.argument("bundle")
@click.option(
    "--to",
    "target",
    type=click.Choice(["triton", "c"]),
    required=True,
    help="triton: a model of a Triton repository. c: C sources with CMake and a test, for programs without Python.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="triton: the repository; it may hold other models. c: a new folder.",
)
@click.option(
    "--engine", default="onnxruntime", show_default=True, help="triton: what runs the bundle there."
)
@click.option("--instances", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Per instance.")
@click.option(
    "--delay",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Microseconds that a request may wait for others.",
)
@click.option(
    "--dims",
    default="",
    help="c: sizes of free dimensions, as in particles=50; else those of the golden events.",
)
@click.option(
    "--instructions",
    default="",
    help="c: the instruction sets to write code for, as in avx512,avx2; the portable code is always there. All if not given.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="triton: serve it by NVIDIA Triton here (the binary of the wheel nvidia-pytriton), which has to answer the golden outputs.",
)
def command(bundle: str, target: str, output: Path, **options: Any) -> None:
    """Write BUNDLE as a model of a Triton repository, which opens it behind its gate, or as C sources that need nothing else."""
    from tamis.bundle import Bundle

    opened = Bundle.open(bundle)
    if target == "c":
        _refuse_options(TRITON, "triton", "an export to C has its own test and needs none of it")
        _export_c(opened, output, options)
    else:
        _refuse_options(C, "c", "Triton's own configuration tells what it does")
        _export_triton(opened, output, options)


def _refuse_options(names: Sequence[str], target: str, why: str) -> None:
    """Refuse what was asked for and means nothing here."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise UsageError(f"--{name} is for --to {target}; {why}")


def _export_c(bundle: Any, folder: Path, options: dict[str, Any]) -> None:
    from tamis.bundle import parse_dims
    from tamis.native.export import export_c

    instructions = [one.strip() for one in options["instructions"].split(",") if one.strip()]
    export_c(bundle, folder, dims=parse_dims(options["dims"]), instructions=instructions)
    say(
        f"{folder}: build and test it with `cmake -S {folder} -B build && cmake --build build && ctest --test-dir build`"
    )


def _export_triton(bundle: Any, repository: Path, options: dict[str, Any]) -> None:
    from tamis.serve.export import export_triton, verify_export

    folder = export_triton(
        bundle,
        repository,
        engine=options["engine"],
        instances=options["instances"],
        threads=options["threads"],
        delay_us=options["delay"],
    )
    if options["verify"]:
        verify_export(bundle, folder)
        say(f"verified: NVIDIA Triton answers the golden outputs of {bundle.name}")
    say(
        f"{folder}: serve it with `tritonserver --model-repository {repository}`, or `tamis serve {repository}`"
    )
