"""Verilog of shared logic: the counters of its turns, the elements of each turn, the logic, and what its results wait in."""

from __future__ import annotations

import numpy as np

from tamis.firmware.folded.shared import SharedLogic
from tamis.firmware.folded.windows import Window
from tamis.firmware.folded.wires import (
    BitRange,
    ElementSource,
    Wires,
    bits_for,
    bits_of,
    joined_bits,
    listed,
    literal,
)


class TurnWriter:
    """Writes one shared logic of a layer, whose results are all complete in the cycle `complete`."""

    def __init__(self, logic: SharedLogic, name: str, wires: Wires, interval: int, complete: int) -> None:
        """`name` is appended to the names of registers and wires."""
        self.logic, self.name, self.wires = logic, name, wires
        self.late = complete - logic.last_result
        # it begins later, as far as the event stays, and after that its results wait
        self.begin = min(self.late, interval - logic.turns * logic.stride)
        self.start = f"valid[{self.begin - 1}]" if self.begin else "in_valid"
        self.plan = logic.products
        counts = [("turn", logic.turns)]
        if self.plan is not None:
            counts = [("cycle", self.plan.cycles), ("group", self.plan.groups), *counts]
        self.counts = {counter: count for counter, count in counts if count > 1}
        self.lines: list[str] = []

    def write(self, collects: bool) -> list[str]:
        """Return the lines; the wires `results` with the name hold the results of all rows, which registers collect."""
        self._counters()
        address, first = self._address()
        row_width = int(self.logic.writes.widths.sum())
        collected = []
        for copy in range(self.logic.copies):
            served = self.logic.served(copy)
            if not served:
                continue
            suffix = f"{self.name}_{copy}" if self.logic.copies > 1 else self.name
            self._lanes(suffix, copy)
            port = f"lanes{suffix}"
            if self.plan is not None:
                width = int(self.plan.results.widths.sum())
                self.lines += [
                    f"    wire [{width - 1}:0] sums{suffix};",
                    f"    {self.logic.module}_products products{suffix} (",
                    f"        .clk(clk), .address({address}), .first({first}), .lanes({port}), .sums(sums{suffix}));",
                ]
                port = f"sums{suffix}"
            row = self._logic(suffix, port, row_width)
            collected.append(self._collected(row, suffix, copy, row_width) if collects else row)
        total = row_width * len(self.logic.rows)
        self.lines.append(
            f"    wire [{total - 1}:0] results{self.name} = {{{', '.join(reversed(collected))}}};"
        )
        return self.lines

    def _counters(self) -> None:
        """Write counters, each of which goes on when those before it are at their end."""
        ends: list[str] = []
        for counter, count in self.counts.items():
            name, bits = counter + self.name, bits_for(count)
            following = f"{name} == {count - 1} ? 0 : {name} + 1"
            if ends:
                following = f"{' && '.join(ends)} ? ({following}) : {name}"
            self.lines.append(f"    reg [{bits - 1}:0] {name} = 0;")
            self.lines.append(f"    always @(posedge clk) {name} <= {self.start} ? 0 : {following};")
            ends.append(f"{name} == {count - 1}")

    def _address(self) -> tuple[str, str]:
        """Return the address of the weights, and whether it begins a sum."""
        if self.plan is None:
            return "", ""
        cycle, group = f"cycle{self.name}", f"group{self.name}"
        cycles, groups = self.plan.cycles, self.plan.groups
        bits = bits_for(cycles * groups)
        value = f"{group} * {cycles} + {cycle}" if cycles > 1 else group
        value = value if groups > 1 else cycle if cycles > 1 else "0"
        self.lines.append(f"    wire [{bits - 1}:0] address{self.name} = {value};")
        return f"address{self.name}", f"{cycle} == 0" if cycles > 1 else "1'b1"

    def _lanes(self, suffix: str, copy: int) -> None:
        """Write the registers that hold the elements of a turn, and what chooses them."""
        window, counters = self.logic.windows[copy], [one for one in self.counts if one != "group"]
        served = self.logic.served(copy)
        masks: dict[int, str] = {}
        if window is not None:
            masks = self._window(window, suffix)
            served, counters = served[:1], [one for one in counters if one != "turn"]
        grid = self.logic.slots if self.plan is None else self.plan.lanes
        order = [np.arange(len(self.logic.slots.low))] if self.plan is None else list(self.plan.inputs)
        width, bits = int(grid.widths.sum()), sum(bits_for(self.counts[one]) for one in counters)
        choices = []
        for turn, row in enumerate(served):
            for cycle, places in enumerate(order):
                label = 0
                for counter in reversed(counters):
                    label = (label << bits_for(self.counts[counter])) | (turn if counter == "turn" else cycle)
                parts: list[BitRange] = []
                for place, size, fraction in zip(places, grid.widths, grid.fractions, strict=True):
                    if place >= 0 and size:
                        source = self.logic.rows[row][place]
                        if window is None:
                            parts += bits_of(
                                source, self.wires.place(source), "held", int(size), int(fraction)
                            )
                        else:
                            parts += _tapped(
                                window, int(place), f"window{suffix}", int(size), int(fraction), masks
                            )
                    elif size:
                        parts.append(f"{size}'d0")
                choices.append((label, joined_bits(parts)))
        self.lines.append(f"    reg [{width - 1}:0] lanes{suffix};")
        if not counters:
            self.lines.append(f"    always @(posedge clk) lanes{suffix} <= {choices[0][1]};")
            return
        names = ", ".join(counter + self.name for counter in reversed(counters))
        self.lines += ["    always @(posedge clk)", f"        case ({{{names}}})"]
        self.lines += [f"            {bits}'d{label}: lanes{suffix} <= {text};" for label, text in choices]
        self.lines += [f"            default: lanes{suffix} <= {{{width}{{1'bx}}}};", "        endcase"]

    def _window(self, window: Window, suffix: str) -> dict[int, str]:
        """Write the shift register over which rows slide; return for each slot with padding when it is there."""
        usual, *others = window.kinds
        name, source = f"window{suffix}", "inputs" if self.start == "in_valid" else "held"
        bits = bits_for(self.counts["turn"])
        ends = [f"{one}{self.name} == {self.counts[one] - 1}" for one in self.counts if one != "turn"]
        condition = f"if ({' && '.join(ends)}) " if ends else ""
        loaded = f"{source}[{window.high - 1}:{max(window.low, 0)}]"
        if window.low < 0:
            loaded = f"{{{loaded}, {-window.low}'d0}}"
        self.lines += [
            f"    reg [{window.width - 1}:0] {name};  // moves so that the elements of each turn are at the same place",
            "    always @(posedge clk)",
            f"        if ({self.start}) {name} <= {loaded};",
            f"        else {condition}case (turn{self.name})",
        ]
        for shift in others:
            labels = listed([f"{bits}'d{turn}" for turn, one in enumerate(window.shifts) if one == shift])
            self.lines.append(f"            {labels}: {name} <= {name} >> {shift};")
        self.lines += [f"            default: {name} <= {name} >> {usual};", "        endcase"]
        kinds = list(dict.fromkeys(window.padding.values()))
        for number, outside in enumerate(kinds):
            labels = listed([f"{bits}'d{turn}" for turn in outside])
            self.lines += [
                f"    reg padding{suffix}_{number};  // of the turns in which a slot is outside the image",
                "    always @(*)",
                f"        case (turn{self.name})",
                f"            {labels}: padding{suffix}_{number} = 1;",
                f"            default: padding{suffix}_{number} = 0;",
                "        endcase",
            ]
        return {slot: f"padding{suffix}_{kinds.index(turns)}" for slot, turns in window.padding.items()}

    def _logic(self, suffix: str, port: str, row_width: int) -> str:
        """Write alkaid's module of a row, and the registers in which its results wait; return the last ones."""
        widths = self.logic.slots.widths if self.plan is None else self.plan.results.widths
        ends = np.cumsum(widths)
        read = joined_bits(
            (port, int(end - width), int(end))
            for end, width, used in zip(ends, widths, self.logic.used, strict=True)
            if used and width
        )
        row = f"row{suffix}"
        self.lines += [
            f"    wire [{row_width - 1}:0] {row};",
            f"    {self.logic.module} shared{suffix} (.clk(clk), .model_inp({read}), .model_out({row}));",
        ]
        for stage in range(self.late - self.begin):
            self.lines += [
                f"    reg [{row_width - 1}:0] row{suffix}_after{stage};",
                f"    always @(posedge clk) row{suffix}_after{stage} <= {row};",
            ]
            row = f"row{suffix}_after{stage}"
        return row

    def _collected(self, row: str, suffix: str, copy: int, row_width: int) -> str:
        """Write the registers that collect the results of all rows."""
        served = self.logic.served(copy)
        self.lines += [
            f"    reg [{row_width * len(served) - 1}:0] rows{suffix};",
            "    always @(posedge clk) begin",
        ]
        for turn in range(len(served)):
            cycle = self.logic.first_result + self.late + turn * self.logic.stride
            part = f"rows{suffix}[{(turn + 1) * row_width - 1}:{turn * row_width}]"
            self.lines.append(f"        if (valid[{cycle - 1}]) {part} <= {row};")
        self.lines.append("    end")
        return f"rows{suffix}"


def _tapped(
    window: Window,
    slot: int,
    bundle: str,
    width: int,
    fraction: int,
    masks: dict[int, str],
) -> list[BitRange]:
    """Return what a slot reads from a shift register, or the constant of its padding."""
    constant = window.constants.get(slot, 0.0)
    if slot not in window.taps:
        return [literal(constant, width, fraction)]
    exponent = window.exponents[slot]
    parts = bits_of(ElementSource(0, exponent, 0.0), window.taps[slot], bundle, width, fraction)
    if slot not in masks:
        return parts
    return [f"({masks[slot]} ? {literal(constant, width, fraction)} : {joined_bits(parts)})"]
