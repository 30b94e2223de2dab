"""The logic of a cell: one pipeline, or layers that share multipliers, as many cycles as its steps leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tamis.firmware.chain import described
from tamis.firmware.design import LayerFacts
from tamis.firmware.folded.block import DirectBlock
from tamis.firmware.folded.cell import make_cell, union
from tamis.firmware.folded.moves import Origins, starts
from tamis.firmware.folded.repeats import Repeat
from tamis.firmware.folded.segments import Segment
from tamis.firmware.folded.steps import CellLogic, steps_latency
from tamis.firmware.folded.top import LayerBlock
from tamis.firmware.folded.wires import ElementSource, Wires
from tamis.firmware.lower import joined
from tamis.fixedpoint import FixedGrid, live_elements

if TYPE_CHECKING:
    from tamis.firmware.folded.fold import LayerFolder


class CellMaker:
    """Makes the cell of a run: its logic with a pipeline of its own for everything, or with shared multipliers."""

    def __init__(
        self, outer: LayerFolder, repeat: Repeat, name: str, written: np.ndarray | None = None
    ) -> None:
        """`written` are the elements that are read after the run."""
        self.outer, self.repeat = outer, repeat
        written = np.zeros(0, np.int64) if written is None else written
        self.cell = make_cell(outer.program, repeat, outer.found, outer.known, outer.ranges, written, name)
        self.folder = outer.inner(self.cell.program, name)
        grid = joined([FixedGrid(one.low, one.high, one.fraction) for one in self.cell.program.inputs])
        self.entering = Wires(np.arange(len(grid.low)), grid)

    @property
    def read_bits(self) -> int:
        """The bits that a step reads besides the state."""
        states = sum(int(np.prod(one.shape)) for one in self.cell.program.inputs[: len(self.cell.states)])
        return int(self.entering.grid.widths[states:].sum())

    def fitting(self, name: str, interval: int) -> tuple[CellLogic, list[LayerFacts], dict[str, str]]:
        """Return the logic with the fewest multipliers whose steps fit into the interval, what it costs, and its Verilog."""
        count = self.repeat.count
        reuse = min(interval // count, self.folder.useful_reuse(interval))
        while reuse > 1:
            found = self.shared(name, reuse)
            needed = steps_latency(count, found[0])
            if needed <= interval:
                plain = self.direct(name)
                costs = [sum(one.lut_estimate for one in option[1]) for option in (plain, found)]
                return plain if costs[0] <= costs[1] else found
            reuse = min(reuse - 1, reuse * interval // needed)
        return self.direct(name)

    def direct(self, name: str) -> tuple[CellLogic, list[LayerFacts], dict[str, str]]:
        """Return a cell of one pipeline."""
        self.folder.begin(())
        module = f"{name}_logic"
        pipeline = self.folder.pipeline(self.cell.program, module)
        numbers = starts(self.cell.program)
        live = np.concatenate(
            [mask.ravel() for mask in live_elements(self.cell.program)[: len(self.cell.program.inputs)]]
        )
        sources = tuple(ElementSource(int(one), 0, 0.0) for one in np.flatnonzero(live))
        made = np.concatenate(
            [np.arange(numbers[v], numbers[v + 1]) for v in sorted(set(self.cell.program.outputs))]
        )
        block = DirectBlock(
            f"{name}_layer",
            self.entering,
            np.zeros(0, np.int64),
            module,
            sources,
            pipeline.logic.reads,
            pipeline.used,
            pipeline.stages,
            Wires(made, pipeline.logic.writes),
            1,
        )
        whole = Segment(self.folder.name, [])
        facts = self.folder.finish(block, whole, pipeline.luts, pipeline.register_bits, 0)
        results = []
        for value in self.cell.program.outputs:
            shape = self.cell.program.shape(value)
            elements = np.arange(numbers[value], numbers[value + 1]).reshape(shape)
            results.append(Origins(elements, np.zeros(shape, np.int64), np.zeros(shape)))
        self.folder.sources |= pipeline.sources
        return self._logic(name, [block], results, [facts], 1)

    def shared(self, name: str, reuse: int) -> tuple[CellLogic, list[LayerFacts], dict[str, str]]:
        """Return a cell whose layers share multipliers over some cycles."""
        folder = self.folder
        folder.begin(())
        blocks, facts = folder.layers(self.entering, reuse)
        results = [folder.known.resolved(folder.found[value]) for value in self.cell.program.outputs]
        return self._logic(name, blocks, results, facts, reuse)

    def _logic(
        self,
        name: str,
        blocks: Sequence[LayerBlock],
        results: list[Origins],
        facts: list[LayerFacts],
        reuse: int,
    ) -> tuple[CellLogic, list[LayerFacts], dict[str, str]]:
        inputs = self.cell.program.inputs
        formats = [FixedGrid(one.low, one.high, one.fraction) for one in inputs[: len(self.cell.states)]]
        count = len(self.outer.program.inputs)
        for place in self.cell.outputs[len(formats) :]:
            values = [
                count + self.repeat.start + number * self.repeat.period + place
                for number in range(self.repeat.count)
            ]
            formats.append(union([self.outer.ranges[value] for value in values]))
        logic = CellLogic(name, self.entering, tuple(blocks), tuple(results), tuple(formats), reuse)
        heading = "\n".join(
            [
                f"// a step of {self.folder.name}",
                f"// in:  {described(self.entering.grid)}",
                f"// out: {described(joined(formats))}",
                f"// Its results are there {logic.latency} cycles after in_valid; the next step may begin after {reuse} cycles.",
            ]
        )
        return logic, facts, {**self.folder.sources, f"{name}.v": logic.source(heading)}

    def places(self, written: np.ndarray) -> tuple[tuple[int, int, int], ...]:
        """Return where written elements are: repetition, output of the cell, and element of it."""
        first, count = starts(self.outer.program), len(self.outer.program.inputs)
        owners = np.searchsorted(first, written, side="right") - 1
        result = []
        for element, value in zip(written.tolist(), owners.tolist(), strict=True):
            repetition, place = divmod(value - count - self.repeat.start, self.repeat.period)
            result.append((repetition, self.cell.outputs.index(place), element - int(first[value])))
        return tuple(result)
