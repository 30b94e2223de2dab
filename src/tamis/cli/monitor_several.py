"""`tamis monitor LIST.yaml`: several monitors at the same time, each with its own stream, model and journal."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tamis._base import TamisError
from tamis.bundle import Bundle
from tamis.cli.monitor_lines import Announcer
from tamis.cli.output import print_json, print_text, say
from tamis.monitor.model import monitor_of
from tamis.monitor.run import monitor_stream
from tamis.monitor.watch import ListedMonitor, read_monitor_list


def watch_several(
    path: Path,
    output: Path,
    *,
    engine: str,
    follow: bool,
    idle_s: float,
    hooks: Sequence[str],
    as_json: bool,
) -> None:
    """Watch all streams of a list until they end; a monitor that fails stops none of the others."""
    listed = read_monitor_list(path).monitors
    bundles = {one.name: Bundle.open(one.model) for one in listed}
    for bundle in bundles.values():
        monitor_of(bundle)
    counts: dict[str, Counter[str]] = {}
    failed: dict[str, TamisError] = {}

    def watch(one: ListedMonitor) -> None:
        told = Announcer(hooks, quiet=as_json, name=one.name)
        counts[one.name] = told.counts
        try:
            monitor_stream(
                one.stream, bundles[one.name], output / one.name, engine=engine, follow=follow, idle_s=idle_s, watched=told.verdict,
                alarmed=told.alarm, opened=told.opened,
            ).journal.close()  # fmt: skip
        except TamisError as error:
            failed[one.name] = error
            say(f"{one.name}: ended, {error}")
        finally:
            told.close()

    threads = [threading.Thread(target=watch, args=(one,), name=one.name, daemon=True) for one in listed]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if as_json:
        print_json(
            {
                "journals": {
                    name: {"journal": str(output / name), "blocks": dict(own)} for name, own in counts.items()
                }
            }
        )
    else:
        for name, own in counts.items():
            blocks = ", ".join(f"{count} {state}" for state, count in own.most_common()) or "no new blocks"
            print_text(f"{output / name}: {blocks}")
    for error in failed.values():
        raise error
