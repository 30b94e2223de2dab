"""`tamis models`: the shipped bundles, what they do and what they cost."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import duration, progress, quantity, registry
from tamis.cli.bundle_summary import WIDTH, block, summary_lines
from tamis.cli.output import json_option, print_json

if TYPE_CHECKING:
    from tamis.bundle import Bundle

RECORD_FILES = ("evaluation.json", "selection.json")  # of a bundle: what was measured when it was trained
records_option = click.option(
    "--records",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PLACE",
    help="Records of `tamis bench`, for the time of a row; default: the bundle's plan for this host. May be repeated.",
)


@click.group(
    name="models",
    invoke_without_command=True,
    epilog="Examples: tamis models; tamis models show conv-vae --json",
)
@records_option
@json_option
@click.pass_context
def command(context: click.Context, records: tuple[Path, ...], as_json: bool) -> None:
    """List the shipped bundles: what they do, cost and achieve; `tamis models show NAME` shows one with its card."""
    from tamis.bundle import BUNDLE_GROUP, Bundle

    if context.invoked_subcommand is not None:
        return
    names = registry.names(BUNDLE_GROUP)
    times = _times(records)
    found = []
    with progress("reading", len(names), "bundles") as advance:
        for name in names:
            bundle = Bundle.open(name)
            found.append(describe(bundle, times))
            advance(1)
    if as_json:
        print_json({"models": found})
        return
    for facts in found:
        click.echo(facts["name"])
        lines = [facts["description"], _cost(facts), f"inputs: {_sources(facts)}", facts["achieves"]]
        lines += [f"firmware: {facts['firmware']}"] if facts["firmware"] else []
        for line in filter(None, lines):
            click.echo(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    "))
    click.echo("next: tamis models show NAME prints inputs, outputs, working points and card")


@command.command(name="show", epilog="Example: tamis models show conv-vae")
@click.argument("name")
@records_option
@json_option
@click.pass_context
def show(context: click.Context, name: str, records: tuple[Path, ...], as_json: bool) -> None:
    """Show the bundle NAME: inputs and what computes them, outputs, working points, cost and card."""
    from tamis.bundle import Bundle
    from tamis.features import find_feature

    before = (
        context.parent.params if context.parent is not None else {}
    )  # options before `show` count as well
    bundle = Bundle.open(name)
    facts = describe(bundle, _times((*before.get("records", ()), *records)))
    features = {
        spec.feature: find_feature(spec.feature) for spec in bundle.manifest.signature.inputs if spec.feature
    }
    if as_json or before.get("as_json"):
        reads = {name: {"reads": f.reads, "needs": f.needs} for name, f in features.items()}
        manifest = bundle.manifest.model_dump(mode="json")
        print_json({**facts, "features": reads, "manifest": manifest, "card_text": bundle.card})
        return
    for line in summary_lines(bundle):
        click.echo(line)
    rows = [(feature, f"reads {', '.join(found.reads)}") for feature, found in features.items()]
    if rows:
        for line in block("features that compute the inputs from events", rows):
            click.echo(line)
    click.echo(f"cost: {_cost(facts)}")
    click.echo(f"firmware: {facts['firmware'] or 'not meant for firmware, none is recorded'}")
    click.echo(f"path: {bundle.path}")
    click.echo(f"\n{bundle.card}" if bundle.card else "card: none")


def describe(bundle: Bundle, times: dict[str, tuple[float, str]]) -> dict[str, Any]:
    """Return what a bundle does, costs and achieves; `times` are in nanoseconds, by the checksum of the model."""
    from tamis.engines import read_plan

    manifest = bundle.manifest
    checksum = manifest.files["model.onnx"].sha256
    time = times.get(checksum)
    plan = None if time else read_plan(bundle)
    if plan is not None and plan.measured:
        batch = min(entry.batch for entry in plan.measured)
        fastest = plan.ranked(batch)[0]
        time = (plan.price(fastest) / batch, f"{fastest.name}, batch {batch}")
    return {
        "name": manifest.name,
        "description": manifest.description,
        "inputs": {
            spec.name: spec.feature or ", ".join(spec.columns) or None for spec in manifest.signature.inputs
        },
        "score": manifest.score,
        "working_points": [point.name for point in manifest.working_points],
        "parameters": sum(bundle.parameters.values()),
        "flops": None if manifest.cost is None else manifest.cost.flops,
        "time_ns": None if time is None else time[0],
        "time_of": None if time is None else time[1],
        "achieves": _achieves(bundle),
        "firmware": _firmware(bundle),
        "path": str(bundle.path),
        "card": str(bundle.path / "CARD.md") if bundle.card else None,
    }


def _times(places: Sequence[Path]) -> dict[str, tuple[float, str]]:
    """Return the time of one row by the checksum of the model: that of the fastest engine at the smallest batch."""
    if not places:
        return {}
    from tamis.measure import read_records
    from tamis.records import Record

    times: dict[str, tuple[int, float, str]] = {}
    for _, record in read_records(places):
        if isinstance(record, Record):
            for row in record.latency:
                checksum = record.models.get(row.bundle, "")
                time = (row.batch, row.warm.p50_ns / row.batch, f"{row.engine}, batch {row.batch}")
                if row.engine != "null":
                    times[checksum] = min(times.get(checksum, time), time)
    return {checksum: (ns, text) for checksum, (_, ns, text) in times.items()}


def _achieves(bundle: Bundle) -> str:
    """Return the AUC of the score for each signal or class, or the energy resolution, from the evaluation in the bundle."""
    values: dict[str, float] = {}
    for name in RECORD_FILES:
        if name in bundle.manifest.files:
            record = json.loads(bundle.text(name))
            for entry in record.get("figures") or record.get("selectors") or ():
                if entry["variable"] == "score":
                    values[entry["signal"]] = entry["auc"]["value"]
            if record.get("energies"):
                last = record["energies"][-1]
                widths = {figure["method"]: figure["within"]["value"] for figure in last["figures"]}
                own = widths.pop(bundle.name, None)
                others = ", ".join(f"{name} {100 * width:.3g} %" for name, width in widths.items())
                if own is not None:
                    return f"68 % of the energies are within {100 * own:.3g} % ({others}), {last['low']:.3g} to {last['high']:.3g} GeV"
            if record.get("kind") == "arrays":
                values = {entry["name"]: entry["auc"]["value"] for entry in record["classes"]}
    return f"AUC: {', '.join(f'{name} {auc:.3g}' for name, auc in values.items())}" if values else ""


def _firmware(bundle: Bundle) -> str | None:
    """Return latency and size of the firmware that was proven of a bundle, or None without a record."""
    from tamis.bundle import FIRMWARE_FILE
    from tamis.records import FirmwareRecord

    if FIRMWARE_FILE not in bundle.manifest.files:
        return None
    record = FirmwareRecord.model_validate_json(bundle.text(FIRMWARE_FILE))
    lut = f"{record.synthesis.lut} LUT" if record.synthesis else f"about {record.lut_estimate:.0f} LUT"
    vectors = sum(one.golden_events + one.random_vectors for one in record.agreement if one.what == "RTL")
    return (
        f"{record.latency_cycles} cycles at {record.clock_mhz:g} MHz ({record.latency_ns:.1f} ns), {lut}, "
        f"every bit of {vectors} vectors compared"
    )


def _cost(facts: dict[str, Any]) -> str:
    parts = [f"{facts['parameters']:,} parameters"]
    if facts["flops"] is not None:
        parts.append(f"{quantity(facts['flops'], 'FLOP')} per row")
    if facts["time_ns"] is not None:
        parts.append(f"{duration(facts['time_ns'])} per row ({facts['time_of']})")
    return ", ".join(parts)


def _sources(facts: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} from {feature}" if feature else f"{name}, given as arrays"
        for name, feature in facts["inputs"].items()
    )
