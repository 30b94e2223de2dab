"""`tamis tune`: find the fastest engine for every batch size on this host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError
from tamis.cli.bench import sizes_of
from tamis.cli.output import (
    engines_of,
    json_option,
    print_json,
    print_table,
    say,
    sizes_by_dimension,
    threads_option,
)

if TYPE_CHECKING:
    from tamis.records import EnginePlan


@click.command(name="tune", epilog="Example: tamis tune conv-vae -o conv-vae.tamis")
@click.argument("bundle")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Bundle to write, with its plan; may be BUNDLE itself.",
)
@click.option(
    "--engine", default="all", show_default=True, help="Engines to choose from, separated by commas, or all."
)
@click.option(
    "--batch",
    "batches",
    default="1,8,16,64,256,1024",
    show_default=True,
    help="Batch sizes, separated by commas.",
)
@click.option(
    "--objective",
    type=click.Choice(["warm", "cold"]),
    default="warm",
    show_default=True,
    help="Times that count: of calls in a row (warm), or of calls with evicted caches (cold).",
)
@click.option(
    "--dims",
    multiple=True,
    help="Sizes of a free dimension that native compiles ahead wherever the bundle is opened, such as particles=16,32. Repeat it for others.",
)
@click.option("--memory", help="Exclude engines whose process needs more memory than this, such as 500MB.")
@click.option(
    "--rounded",
    is_flag=True,
    help="Also try bfloat16 and integer weights, if the outputs stay within tolerance and the golden decisions do not change.",
)
@click.option("--explain", is_flag=True, help="Only show the plan in the bundle, with its reasons.")
@threads_option
@json_option
def command(
    bundle: str,
    output: Path | None,
    engine: str,
    batches: str,
    objective: str,
    dims: tuple[str, ...],
    memory: str | None,
    rounded: bool,
    explain: bool,
    threads: int,
    as_json: bool,
) -> None:
    """Measure the verified engines on BUNDLE, and write a plan with the fastest one for each batch size on this host.

    engine="auto" follows the plan; on a host without a plan it uses onnxruntime.
    """
    from tamis.bundle import Bundle, add_texts
    from tamis.engines import plan_name, read_plan
    from tamis.tuning import Tuning, choose_engines, measure_engines

    opened = Bundle.open(bundle)
    if explain:
        existing = read_plan(opened)
        if existing is None:
            raise UsageError(
                f"{opened.name} has no plan for this host; make one: tamis tune {bundle} -o OUT.tamis"
            )
        _show(existing, as_json)
        return
    if output is None:
        raise UsageError(
            "the output is missing: pass -o OUT.tamis for the bundle with its plan (it may be the bundle itself)"
        )
    limit = None if memory is None else _bytes(memory)
    sizes = sizes_by_dimension(dims)
    tuning = Tuning(
        engines=tuple(engines_of(engine, rounded=rounded)),
        batches=sizes_of(batches),
        threads=threads,
        memory=limit is not None,
        dims=sizes,
    )
    measured, refused = measure_engines(opened, tuning)
    plan = choose_engines(
        opened,
        measured,
        objective="cold" if objective == "cold" else "warm",
        memory_bytes=limit,
        refused=refused,
        dims=sizes,
    )
    add_texts(opened, {plan_name(): plan.model_dump_json(indent=1) + "\n"}, output)
    _show(plan, as_json)
    for sentence in refused:
        say(f"not measured: {sentence}")
    say(f"{output}")


def _bytes(text: str) -> int:
    units = {"kB": 10**3, "MB": 10**6, "GB": 10**9}
    number, unit = text.strip()[:-2], text.strip()[-2:]
    try:
        value = float(number) * units[unit]
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"--memory {text!r} is not an amount of memory; write it as in 500MB or 2GB"
        ) from error
    if not 0 < value < 1e18:
        raise UsageError(f"--memory {text!r} must be positive, as in 500MB")
    return int(value)


def _show(plan: EnginePlan, as_json: bool) -> None:
    from tamis.engines import find_engine

    if as_json:
        print_json(plan)
        return
    names = list(dict.fromkeys(time.name for time in plan.measured))
    rows = []
    for choice in plan.choices:
        at = {time.name: plan.price(time) for time in plan.measured if time.batch == choice.batch}
        rows.append(
            (choice.batch, *(f"{at[name] / 1e3:.1f}" if name in at else "-" for name in names), choice.why)
        )
    print_table(f"engines, us per call, {plan.objective}", ("batch", *names, "chosen"), [
        (*row[:-1], f"{choice.engine}: {row[-1]}") for row, choice in zip(rows, plan.choices, strict=True)
    ])  # fmt: skip
    if plan.dims:
        sizes = ", ".join(f"{name}={','.join(map(str, sizes))}" for name, sizes in plan.dims.items())
        chosen = sorted({choice.engine for choice in plan.choices})
        effect = (
            ""
            if any(find_engine(name).compiles_sizes for name in chosen)
            else f"; {', '.join(chosen)} needs none of them"
        )
        click.echo(f"compiled ahead: {sizes}{effect}")
