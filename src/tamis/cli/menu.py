"""`tamis menu`: check a menu and print its operations, or print the JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tamis._base import UsageError
from tamis.cli.output import json_option, print_json, print_table
from tamis.cli.reading import alias_option


@click.command(
    name="menu",
    epilog="Example: tamis menu --schema > menu.schema.json, and as first line of a menu: "
    "# yaml-language-server: $schema=menu.schema.json",
)
@click.argument("menu", type=click.Path(path_type=Path), required=False)
@click.argument("files", nargs=-1)
@click.option("--tree", help="Name of the tree in FILES.")
@alias_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of menus.")
@json_option
def command(
    menu: Path | None,
    files: tuple[str, ...],
    tree: str | None,
    aliases: tuple[str, ...],
    schema: bool,
    as_json: bool,
) -> None:
    """Check MENU, open its models, and print its operations in order; with FILES, check their columns and types, too."""
    from tamis.events import parse_aliases
    from tamis.trigger import check_files, compile_menu, format_ns, load_menu, menu_schema

    if schema:
        click.echo(json.dumps(menu_schema(), indent=1))
        return
    if menu is None:
        raise UsageError("name a menu, or use --schema")
    with compile_menu(load_menu(menu).with_aliases(parse_aliases(aliases))) as compiled:
        program = compiled.program
        fitting = check_files(compiled, files, tree) if files else []
        if as_json:
            print_json(
                {
                    "menu": compiled.menu.menu,
                    "reads": list(program.reads),
                    "fits": fitting,
                    "operations": [
                        {"step": op.label, "paths": [program.paths[i] for i in op.paths]}
                        for op in program.operations
                    ],
                    "latency_ns": {path: one.whole_ns for path, one in compiled.latencies.items()},
                }
            )
            return
        rows = [
            (
                number,
                op.label,
                op.stage.kind if op.stage else "condition",
                ", ".join(program.paths[i] for i in op.paths),
            )
            for number, op in enumerate(program.operations, 1)
        ]
        print_table(f"{compiled.menu.menu}: operations in order", ("", "step", "kind", "for the paths"), rows)
        if compiled.latencies:
            budget = compiled.menu.budget
            print_table(
                f"{compiled.menu.menu}: fixed latency{f' of {format_ns(budget)}' if budget else ''}",
                ("path", "models, ns", "everything else, ns", "together, ns"),
                [
                    (path, f"{one.models_ns:.1f}", f"{one.other_ns:.0f}", f"{one.whole_ns:.1f}")
                    for path, one in compiled.latencies.items()
                ],
            )
        click.echo(f"reads: {', '.join(program.reads)}")
        for url in fitting:
            click.echo(f"{url} has these columns, with types that fit")
