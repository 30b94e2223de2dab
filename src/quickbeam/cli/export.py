"""`quickbeam export`: a bundle as something else runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quickbeam.cli.output import say


@click.command(
    name="export",
    epilog="Example: quickbeam export conv-vae --to triton -o repository/. Triton's containers need quickbeam in the Python of the Python backend.",
)
@click.argument("bundle")
@click.option(
    "--to",
    "target",
    type=click.Choice(["triton"]),
    required=True,
    help="triton: a model of a Triton repository.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The repository; it may hold other models.",
)
@click.option("--engine", default="onnxruntime", show_default=True, help="What runs the bundle there.")
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
    "--verify",
    is_flag=True,
    help="Serve it by NVIDIA Triton here (the binary of the wheel nvidia-pytriton), which has to answer the golden outputs.",
)
def command(bundle: str, target: str, output: Path, **options: Any) -> None:
    """Write BUNDLE as a model of a Triton repository: its Python backend opens it behind its gate."""
    from quickbeam.bundle import Bundle
    from quickbeam.serve.export import export_triton, verify_export

    del target
    opened = Bundle.open(bundle)
    folder = export_triton(
        opened,
        output,
        engine=options["engine"],
        instances=options["instances"],
        threads=options["threads"],
        delay_us=options["delay"],
    )
    if options["verify"]:
        verify_export(opened, folder)
        say(f"verified: NVIDIA Triton answers the golden outputs of {opened.name}")
    say(f"{folder}: serve it with `tritonserver --model-repository {output}`, or `quickbeam serve {output}`")
