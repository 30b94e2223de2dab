"""What `tamis monitor` says while it judges: a line for each alarm and each block that is not good, and the reports to hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from tamis.cli.output import say
from tamis.monitor.hooks import Hook
from tamis.monitor.journal import JournalAlarm
from tamis.monitor.run import JudgedBlock


class Announcer:
    """Tells alarms and verdicts to the terminal and to hooks, and counts the verdicts."""

    def __init__(self, hooks: Sequence[str], *, quiet: bool, name: str = "") -> None:
        """Open the hooks; `quiet` prints nothing, `name` is that of one of several monitors."""
        self._hooks, self._quiet = [Hook(target, say) for target in hooks], quiet
        self._prefix = f"{name}: " if name else ""
        self.counts = Counter[str]()
        self.page: Callable[[JournalAlarm], None] = lambda _: None  # where alarms are shown as well

    def verdict(self, judged: JudgedBlock) -> None:
        """Tell the verdict on a block."""
        self.counts[judged.verdict.state] += 1
        for hook in self._hooks:
            hook.take(judged)
        if judged.verdict.state != "good" and not self._quiet:
            say(self._prefix + verdict_sentence(judged))

    def alarm(self, alarm: JournalAlarm) -> None:
        """Tell an alarm, whose block has no verdict yet."""
        self.page(alarm)
        for hook in self._hooks:
            hook.take_alarm(alarm)
        if not self._quiet:
            say(self._prefix + alarm_sentence(alarm))

    def opened(self, address: str) -> None:
        """Tell where senders can connect."""
        say(f"{self._prefix}waiting for senders at {address}")

    def dropped(self) -> int:
        """Return how many reports to hooks were dropped."""
        return sum(hook.dropped for hook in self._hooks)

    def close(self) -> None:
        """Wait for the hooks."""
        for hook in self._hooks:
            hook.close()


def alarm_sentence(alarm: JournalAlarm) -> str:
    """Return the line for an alarm, whose block has no verdict yet."""
    kinds = " or ".join(alarm.kinds[:2])
    return f"run {alarm.run}, block {alarm.block}, second {alarm.second}: alarm, {alarm.quantity} in {alarm.region} {alarm.direction} (score {alarm.score:.3g} times its limit): {kinds}"


def verdict_sentence(judged: JudgedBlock) -> str:
    """Return the line for a block that is not good."""
    verdict, explanation = judged.verdict, judged.explanation
    name = f"run {verdict.key[0]}, block {verdict.key[1]}"
    if explanation is None:
        return f"{name}: {verdict.state}, {verdict.reason}"
    kinds = " or ".join(explanation.kinds[:2])
    if verdict.score <= 1 and not verdict.bursts:
        alarm = max(judged.alarms, key=lambda one: one.score)
        return f"{name}: bad, {explanation.quantity} in {explanation.region} {explanation.direction} in seconds {alarm.second} to {alarm.last} (score {alarm.score:.3g} times its limit): {kinds}"
    if verdict.score <= 1:
        burst = max(verdict.bursts, key=lambda one: one.number)
        return f"{name}: bad, a burst in {burst.region} in second {burst.second} ({burst.number} {burst.name}): {kinds}"
    return f"{name}: bad, {explanation.quantity} in {explanation.region} {explanation.direction} (score {verdict.score:.3g} times its limit): {kinds}"
