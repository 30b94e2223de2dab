"""The overhead of the trigger framework per event: the time of deciding outside stages and conditions.

Measured in two ways. `running`: the menu as it is, where the framework also pays for caches that the models evicted. `by itself`: the
same menu over the same events, but stages return the outputs recorded in a first pass, so that almost only the framework runs. Both
event by event and in micro-batches.

Usage: python benchmarks/framework_cost.py FILE [--menu hlt] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tamis._base import file_stamp, host_facts, utc_timestamp
from tamis.events import Frame, columns_of, read_events
from tamis.trigger import compile_menu, load_menu
from tamis.trigger.decide import EVENT, Laps, decide_batch, decide_single
from tamis.trigger.menu import MenuProgram
from tamis.trigger.stages import Added, Stage

ROUNDS = 5


def with_stages(program: MenuProgram, changed: Callable[[Stage], Stage]) -> MenuProgram:
    """Return the program with changed stages."""
    operations = [replace(op, stage=changed(op.stage)) if op.stage else op for op in program.operations]
    return replace(program, operations=tuple(operations))


def recorded(memory: dict[str, list[Added]]) -> Callable[[Stage], Stage]:
    """Return a function that wraps a stage to record its outputs, in the order of calls."""

    def remember(stage: Stage) -> Stage:
        def run(frame: Frame) -> Added:
            memory.setdefault(stage.name, []).append(stage.run(frame))
            return memory[stage.name][-1]

        return replace(stage, run=run)

    return remember


def replayed(memory: dict[str, list[Added]]) -> Callable[[Stage], Stage]:
    """Return a function that wraps a stage to replay its recorded outputs."""

    def repeat(stage: Stage) -> Stage:
        outputs: Iterator[Added] = iter(memory.get(stage.name, ()))
        return replace(stage, run=lambda _: next(outputs))

    return repeat


def own(
    decide: Callable[[MenuProgram, Laps], object], program: MenuProgram, events: int
) -> tuple[float, float]:
    """Return the time per event in microseconds, and the part outside stages, conditions and the setup of events."""
    laps = Laps()
    start = time.perf_counter_ns()
    decide(program, laps)
    whole = time.perf_counter_ns() - start
    inside = sum(total for label, total in laps.total_ns.items() if label != EVENT)
    return whole / events / 1e3, (whole - inside) / events / 1e3


def main() -> None:
    """Measure in turn and print the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("--menu", default="hlt")
    parser.add_argument("--keep", action="store_true", help="write a record")
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {}
    with compile_menu(load_menu(options.menu)) as compiled:
        chunk = next(iter(read_events(options.file, columns=compiled.program.reads)))
        columns, events = columns_of(chunk.events), len(chunk.events)
        size = compiled.program.micro_batch
        pieces = [
            (min(size, events - a), Frame(columns, events).rows(a, min(events, a + size)))
            for a in range(0, events, size)
        ]
        cut = [(count, {name: frame[name] for name in columns}) for count, frame in pieces]

        def single(program: MenuProgram, laps: Laps) -> object:
            return decide_single(program, columns, events, laps)

        def batches(program: MenuProgram, laps: Laps) -> object:
            return [decide_batch(program, some, count, laps) for count, some in cut]

        for name, decide in {"event by event": single, "micro-batches": batches}.items():
            memory: dict[str, list[Added]] = {}
            decide(with_stages(compiled.program, recorded(memory)), Laps())
            for _ in range(ROUNDS):
                found.setdefault(f"{name}, running", []).append(own(decide, compiled.program, events))
                alone = with_stages(compiled.program, replayed(memory))
                found.setdefault(f"{name}, by itself", []).append(own(decide, alone, events))
    medians = {
        name: [sorted(part)[ROUNDS // 2] for part in zip(*turns, strict=True)]
        for name, turns in found.items()
    }
    for name, (whole, mine) in medians.items():
        print(
            f"{name:28s} {whole:9.1f} us per event, of which framework {mine:6.1f} us ({100 * mine / whole:.1f} %)"
        )
    if options.keep:
        record = {
            "kind": "framework",
            "created": utc_timestamp(),
            "host": host_facts().model_dump(mode="json"),
            "menu": options.menu,
            "events": events,
            "us_per_event": {
                name: {"whole": whole, "framework": mine} for name, (whole, mine) in medians.items()
            },
        }
        stamp = file_stamp(record["created"])
        path = Path(__file__).parent / "records" / f"framework-{stamp}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
