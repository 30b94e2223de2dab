"""`tamis export`: a bundle as a Triton model, as C sources, or as an hls4ml project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tamis._base import UsageError
from tamis.cli.firmware import parse_clock
from tamis.cli.output import (
    json_option,
    print_json,
    print_table,
    print_text,
    say,
    sizes_by_dimension,
)

TRITON_OPTIONS = ("engine", "instances", "threads", "delay", "verify")
C_OPTIONS = ("dims", "instructions")
HLS_OPTIONS = ("clock", "part", "vectors", "seed")


@click.command(
    name="export",
    epilog="Examples: tamis export conv-vae --to c -o conv_vae/; tamis export conv-vae --to triton -o repository/; "
    "tamis export small.tamis --to hls4ml -o project/. "
    "In Triton's containers, tamis must be installed for the Python backend.",
)
@click.argument("bundle")
@click.option(
    "--to",
    "target",
    type=click.Choice(["triton", "c", "hls4ml"]),
    required=True,
    help="triton: a model in a Triton model repository. c: C sources with CMake and a test, for programs without Python. "
    "hls4ml: a project of hls4ml for a quantised bundle, whose C simulation gives the same bits.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="triton: the model repository, which may hold other models. c, hls4ml: a new folder.",
)
@click.option(
    "--engine", default="onnxruntime", show_default=True, help="triton: the engine that runs the bundle."
)
@click.option(
    "--instances", type=click.IntRange(1, 256), default=1, show_default=True, help="triton: model instances."
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="triton: threads per instance.",
)
@click.option(
    "--delay",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="triton: microseconds that a request may wait to be batched with others.",
)
@click.option(
    "--dims",
    multiple=True,
    help="c: sizes of a free dimension that the function takes, such as particles=1..100 or particles=16,32; a single one, such as "
    "particles=50, is fixed. Repeat it for others. Default: 1 to 128 and that of the golden events.",
)
@click.option(
    "--instructions",
    default="",
    help="c: instruction sets to generate code for, such as avx512,avx2; portable code is always included. Default: all.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="triton: serve it with NVIDIA Triton (from the wheel nvidia-pytriton) and compare its answers with the golden outputs.",
)
@click.option("--clock", default="200MHz", show_default=True, help="hls4ml: clock, such as 240MHz.")
@click.option(
    "--part",
    default="xcvu13p-flga2577-2-e",
    show_default=True,
    help="hls4ml: the FPGA, in its vendor's name.",
)
@click.option(
    "--vectors",
    type=click.IntRange(1),
    default=100_000,
    show_default=True,
    help="hls4ml: random vectors that are compared besides the golden events, uniform over the range of every input.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="hls4ml: seed of the random vectors."
)
@json_option
def command(bundle: str, target: str, output: Path, as_json: bool, **options: Any) -> None:
    """Write BUNDLE as a model of a Triton repository, verified when Triton loads it, as C sources without dependencies, or for hls4ml."""
    from tamis.bundle import Bundle

    opened = Bundle.open(bundle)
    if target != "hls4ml":
        _reject_options(HLS_OPTIONS, "hls4ml", "other targets are no hardware")
    if target == "hls4ml":
        _reject_options(TRITON_OPTIONS, "triton", "an hls4ml project is always compared with the bundle")
        _reject_options(C_OPTIONS, "c", "an hls4ml project has the sizes of the golden events")
        _export_hls4ml(opened, output, options, as_json)
        return
    if target == "c":
        _reject_options(TRITON_OPTIONS, "triton", "C sources contain a test of their own")
        _export_c(opened, output, options)
    else:
        _reject_options(
            C_OPTIONS, "c", "a Triton model accepts any size, and its engine chooses the instructions"
        )
        _export_triton(opened, output, options)
    if as_json:
        print_json(
            {"bundle": opened.name, "to": target, "folder": str(output), "verified": options["verify"]}
        )


def _reject_options(names: Sequence[str], target: str, why: str) -> None:
    """Raise UsageError if an option of the other target was passed."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise UsageError(f"--{name} is for --to {target}; {why}")


def _export_c(bundle: Any, folder: Path, options: dict[str, Any]) -> None:
    from tamis.native.export import export_c

    instructions = [one.strip() for one in options["instructions"].split(",") if one.strip()]
    written = export_c(bundle, folder, dims=sizes_by_dimension(options["dims"]), instructions=instructions)
    if written.sizes:
        say(f"{written.name}() takes events of {written.sizes}, {written.name}_ragged() of different sizes")
    if written.why_fixed:
        say(f"the sizes are those of the golden events: {written.why_fixed}")
    say(
        f"{folder}: build and test it with `cmake -S {folder} -B build && cmake --build build && ctest --test-dir build`"
    )


def _export_triton(bundle: Any, repository: Path, options: dict[str, Any]) -> None:
    from tamis.serve.export import check_verifiable, export_triton, verify_export

    if options["verify"]:
        check_verifiable(bundle)
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
        say(f"verified: NVIDIA Triton reproduces the golden outputs of {bundle.name}")
    say(
        f"{folder}: serve it with `tritonserver --model-repository {repository}`, or `tamis serve {repository}`"
    )


def _export_hls4ml(bundle: Any, folder: Path, options: dict[str, Any], as_json: bool) -> None:
    from tamis.firmware.hls import HlsRequest, export_hls4ml

    request = HlsRequest(
        part=options["part"],
        clock_mhz=parse_clock(options["clock"]),
        vectors=options["vectors"],
        seed=options["seed"],
    )
    record = export_hls4ml(bundle, folder, request, say)
    if as_json:
        print_json(record)
        return
    print_table(
        f"{bundle.name} in hls4ml",
        ("layer", "kind", "result", "weights", "accumulator"),
        [
            (
                layer.name,
                layer.class_name,
                layer.types["result"],
                layer.types.get("weight", layer.types.get("scale", "")),
                layer.types.get("accum", ""),
            )
            for layer in record.layers
        ],
    )
    one = record.agreement
    print_text(
        f"{one.what}: every bit of {one.golden_events} golden events and {one.random_vectors} random vectors agrees"
    )
    click.echo(f"all in {folder}; `make -C {folder}` compares the golden events again")
