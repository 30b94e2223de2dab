"""A program as Verilog that takes an event every N cycles and shares its multipliers in between."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tamis._base import ModelError
from tamis.firmware.chain import described
from tamis.firmware.design import Design, LayerFacts, make_design, pipelined
from tamis.firmware.folded.block import Block, DirectBlock
from tamis.firmware.folded.cell_maker import CellMaker
from tamis.firmware.folded.estimate import (
    MULTIPLEXER,
    chosen_luts,
    estimate_shared,
    multiplexer_luts,
    window_luts,
)
from tamis.firmware.folded.moves import origins
from tamis.firmware.folded.parts import ElementRanges, Part, parts_of, segment_program, split_products
from tamis.firmware.folded.products import ProductPlan, plan_products, products_module
from tamis.firmware.folded.repeats import Repeat, find_repeats
from tamis.firmware.folded.segments import Segment, segments_of
from tamis.firmware.folded.shared import SharedLogic
from tamis.firmware.folded.staged import StagedLogic
from tamis.firmware.folded.steps import StepsBlock, steps_latency
from tamis.firmware.folded.top import top_module
from tamis.firmware.folded.windows import find_window, sliding_order
from tamis.firmware.folded.wires import Wires
from tamis.firmware.lower import joined, lower
from tamis.firmware.luts import LutCount
from tamis.firmware.names import hardware_name, new_name
from tamis.firmware.verilog import complete, layer_modules
from tamis.fixedpoint import FixedGrid, FixedProgram, grids

REGISTER = re.compile(r"^\s*reg (?:signed )?\[(\d+):0\]", re.MULTILINE)


def make_folded_design(program: FixedProgram, name: str, clock_mhz: float, reuse: int) -> Design:
    """Return the Verilog of a program that takes an event every `reuse` cycles, or as many as its largest layer can use."""
    folder = LayerFolder(program, hardware_name(name), clock_mhz)
    interval = min(reuse, folder.useful_reuse(reuse))
    design = folder.design(interval) if interval > 1 else None
    return design or make_design(program, name, clock_mhz)


@dataclass(frozen=True)
class StepsInTurn:
    """What one cell for the equal steps of a recurrent layer would cost."""

    layer: str
    steps: int
    interval: int  # cycles from one event to the next
    luts: float


def steps_in_turn(program: FixedProgram, clock_mhz: float) -> list[StepsInTurn]:
    """Return what by-step hardware of the recurrent layers would cost if every operation of a step had logic of its own."""
    folder = LayerFolder(program, "top", clock_mhz)
    result = []
    for segment in folder.segments:
        if segment.repeat is not None:
            maker = CellMaker(folder, segment.repeat, "cell")
            logic, facts, _ = maker.direct("cell")
            luts = (
                sum(fact.lut_estimate for fact in facts)
                + maker.read_bits * MULTIPLEXER * segment.repeat.count
            )
            name = segment.name.removesuffix("_steps")
            result.append(
                StepsInTurn(name, segment.repeat.count, steps_latency(segment.repeat.count, logic), luts)
            )
    return result


class LayerFolder:
    """Makes the modules of the segments one after the other."""

    def __init__(self, program: FixedProgram, name: str, clock_mhz: float) -> None:
        """Take a program, the name of its top module, and the clock that pipelines are cut for."""
        self.program, self.name, self.clock_mhz = program, name, clock_mhz
        self.found, self.ranges, self.repeats = origins(program), grids(program), find_repeats(program)
        self.begin(self.repeats)

    def begin(self, repeats: Sequence[Repeat]) -> None:
        """Begin with the whole program, in which some runs repeat."""
        whole = joined(self.ranges)
        self.known = ElementRanges(whole.low.copy(), whole.high.copy(), whole.fraction.copy())
        self.segments = segments_of(self.program, repeats)
        for segment in self.segments:
            segment.writes = segment.writes[whole.low[segment.writes] < whole.high[segment.writes]]
        self.segments = [segment for segment in self.segments if len(segment.writes)]
        self.sources: dict[str, str] = {}
        self.taken = {self.name}

    def design(self, interval: int) -> Design | None:
        """Return the design; None if no layer shares anything."""
        self.begin(self._fitting(interval))
        inputs = joined([FixedGrid(one.low, one.high, one.fraction) for one in self.program.inputs])
        entering = Wires(np.arange(len(inputs.low)), inputs)
        blocks, facts = self.layers(entering, interval)
        if all(isinstance(block, DirectBlock) for block in blocks):
            return None
        outputs = joined(
            [
                self.known.grid(self.known.resolved(self.found[value]))
                for value in sorted(set(self.program.outputs))
            ]
        )
        origin = [self.known.resolved(self.found[value]) for value in sorted(set(self.program.outputs))]
        if not (outputs.low < outputs.high).any():
            raise ModelError(f"{self.name} computes only constants: it cannot be made into hardware")
        self.sources[f"{self.name}.v"] = top_module(self.name, entering, blocks, origin, outputs, interval)
        latency = sum(block.latency for block in blocks)
        return Design(
            self.name,
            complete(self.sources),
            inputs,
            outputs,
            latency,
            tuple(facts),
            self.clock_mhz,
            interval,
        )

    def layers(
        self, wires: Wires, interval: int
    ) -> tuple[list[Block | DirectBlock | StepsBlock], list[LayerFacts]]:
        """Return the modules of all segments, the first of which reads the given wires, and what they cost."""
        blocks: list[Block | DirectBlock | StepsBlock] = []
        facts = []
        for segment in self.segments:
            is_read = np.isin(wires.elements, np.concatenate([segment.reads, segment.keeps]))
            reads = wires.only(is_read & (wires.grid.low < wires.grid.high))
            made = self._block if segment.repeat is None else self._by_step
            block, fact = made(segment, reads, interval)
            wires = block.writes
            self._learn(wires)
            blocks.append(block)
            facts.append(fact)
        return blocks, facts

    def inner(self, program: FixedProgram, name: str) -> LayerFolder:
        """Return what folds another program, for the same clock."""
        return LayerFolder(program, name, self.clock_mhz)

    def _fitting(self, interval: int) -> list[Repeat]:
        """Return the runs that one cell can compute step by step, in as many pieces as the interval takes."""
        result = []
        for repeat in self.repeats:
            shortest = CellMaker(self, repeat, "cell").direct("cell")[0]
            most = (interval - 2 - shortest.latency) // shortest.pace + 1
            result += [piece for piece in repeat.pieces(most) if piece.count > 1] if most > 1 else []
        return result

    def _learn(self, wires: Wires) -> None:
        """Note the ranges that modules write, which may be wider than those of the program."""
        made = wires.elements >= 0
        for bound in ("low", "high", "fraction"):
            getattr(self.known, bound)[wires.elements[made]] = getattr(wires.grid, bound)[made]

    def useful_reuse(self, wanted: int) -> int:
        """Return the largest number of cycles that a layer can share its logic over, or one that is as large as wanted."""
        most = 1
        for segment in self.segments:
            if most >= wanted:
                break
            if segment.repeat is None:
                for part in parts_of(self.program, segment, self.found, self.known):
                    matrix = shared_matrix(part)
                    most = max(most, len(part.rows) * (1 if matrix is None else matrix.size))
            else:
                maker = CellMaker(self, segment.repeat, "cell")
                useful = maker.folder.useful_reuse(wanted)
                logic = maker.shared("cell", useful)[0] if useful > 1 else maker.direct("cell")[0]
                most = max(most, steps_latency(segment.repeat.count, logic))
        return most

    def _by_step(self, segment: Segment, reads: Wires, interval: int) -> tuple[StepsBlock, LayerFacts]:
        """Make a run of equal steps: one cell, whose layers share multipliers as far as its steps fit into the interval."""
        assert segment.repeat is not None  # noqa: S101 - it has one
        name = new_name(segment.name, self.taken)
        maker = CellMaker(self, segment.repeat, name, segment.writes)
        logic, facts, sources = maker.fitting(new_name(f"{name}_cell", self.taken), interval)
        self.sources |= sources
        multipliers = sum(fact.multipliers for fact in facts)
        places = maker.places(segment.writes)
        block = StepsBlock(
            name, reads, segment.keeps, maker.cell, logic, segment.writes, places, interval, multipliers
        )
        total = {key: sum(getattr(fact.luts, key) for fact in facts) for key in vars(LutCount())}
        total["logic"] += maker.read_bits * MULTIPLEXER * segment.repeat.count
        registers = sum(fact.register_bits for fact in facts)
        return block, self.finish(block, segment, LutCount(**total), registers, multipliers)

    def _block(self, segment: Segment, reads: Wires, interval: int) -> tuple[Block | DirectBlock, LayerFacts]:
        number = sum(one.name == segment.name for one in self.segments[: self.segments.index(segment)])
        name = new_name(segment.name + f"_part{number + 1}" * bool(number), self.taken)
        parts = parts_of(self.program, segment, self.found, self.known)
        if any(shared_matrix(part) is not None for part in parts):
            return self._shared(segment, name, parts, reads, interval)
        block, facts = self._direct(segment, name, reads, interval)
        if interval > 1 and max(len(part.rows) for part in parts) > 1:
            before = dict(self.sources)
            shared = self._shared(segment, name, parts, reads, interval)
            if shared[1].lut_estimate < facts.lut_estimate:
                self.sources = {
                    file: text for file, text in self.sources.items() if not file.startswith(f"{name}_logic")
                }
                return shared
            self.sources = before
        return block, facts

    def _direct(
        self, segment: Segment, name: str, reads: Wires, interval: int
    ) -> tuple[DirectBlock, LayerFacts]:
        """Make a layer whose every operation has logic of its own."""
        whole, sources = segment_program(self.program, segment, self.found, self.known)
        pipeline = self.pipeline(whole.program, f"{name}_logic")
        logic = pipeline.logic
        self.sources |= pipeline.sources
        block = DirectBlock(
            name,
            reads,
            segment.keeps,
            f"{name}_logic",
            tuple(sources),
            logic.reads,
            pipeline.used,
            pipeline.stages,
            Wires(segment.writes, logic.writes),
            interval,
        )
        return block, self.finish(block, segment, pipeline.luts, pipeline.register_bits, 0)

    def _shared(
        self, segment: Segment, name: str, parts: list[Part], reads: Wires, interval: int
    ) -> tuple[Block, LayerFacts]:
        """Make a layer that shares its logic."""
        shared, total, registers = [], LutCount(), 0
        for number, part in enumerate(parts):
            module = f"{name}_row{number if len(parts) > 1 else ''}"
            logic, pipeline = self._logic(part, module, reads, interval)
            shared.append(logic)
            luts = estimate_shared(logic, pipeline.luts)
            total = LutCount(**{key: value + getattr(total, key) for key, value in vars(luts).items()})
            registers += pipeline.register_bits * logic.copies
            if logic.products is not None:
                text = products_module(f"{module}_products", logic.products)
                self.sources[f"{module}_products.v"] = text
                registers += register_bits(text) * logic.copies
        block = Block(name, reads, segment.keeps, tuple(shared), interval)
        return block, self.finish(block, segment, total, registers, block.multipliers)

    def finish(
        self,
        block: Block | DirectBlock | StepsBlock,
        segment: Segment,
        luts: LutCount,
        registers: int,
        multipliers: int,
    ) -> LayerFacts:
        """Write the module of a layer and return what it costs."""
        heading = "\n".join(
            [
                f"// layer {segment.name}: {block.summary}",
                f"// in:  {described(block.reads.grid)}",
                f"// out: {described(block.writes.grid)}",
                f"// An event enters with in_valid, not more often than every {block.interval} cycles, and its results are there {block.latency} cycles later.",
            ]
        )
        text = block.source(heading)
        self.sources[f"{block.name}.v"] = text
        return LayerFacts(
            block.name,
            block.latency,
            luts,
            registers + register_bits(text),
            described(block.reads.grid),
            described(block.writes.grid),
            multipliers,
        )

    def _logic(self, part: Part, module: str, reads: Wires, interval: int) -> tuple[SharedLogic, StagedLogic]:
        """Make the logic of a part: of several rows, that with the fewest LUTs; of one row, multipliers if it has products."""
        rows = len(part.rows)
        multiplies = shared_matrix(part) is not None and interval // rows > 1
        forms = (True, False) if multiplies and rows > 1 else (multiplies,)
        options = [self._form(part, module, reads, interval, multiplies=form) for form in forms]
        logic, pipeline = min(options, key=lambda option: estimate_shared(option[0], option[1].luts).lut)
        self.sources |= pipeline.sources
        return logic, pipeline

    def _form(
        self, part: Part, module: str, reads: Wires, interval: int, *, multiplies: bool
    ) -> tuple[SharedLogic, StagedLogic]:
        """Make the logic of a part with multipliers, or with adders for every weight of a row."""
        rows, split = len(part.rows), split_products(part)
        plan: ProductPlan | None = None
        if not multiplies or split is None:
            pipeline = self.pipeline(part.program, module)
            stages, products_stages = pipeline.stages, 0
        else:
            slots, matrix, after = split
            plan = plan_products(matrix, part.slots, slots, interval // rows)
            sums = replace(
                after.inputs[0],
                low=plan.results.low[None],
                high=plan.results.high[None],
                fraction=plan.results.fraction[None],
            )
            pipeline = self.pipeline(replace(after, inputs=(sums,)), module)
            stages, products_stages = pipeline.stages, plan.stages
        logic = SharedLogic(
            module,
            part.slots,
            part.rows,
            part.results,
            pipeline.used,
            stages,
            pipeline.logic.writes,
            -(-rows // interval),
            plan,
            products_stages,
        )
        orders = (range(rows), sliding_order(part.rows, reads))  # as they are written, and by where they read
        options = [_with_windows(logic, order, reads) for order in orders]
        return min(options, key=multiplexer_luts), pipeline

    def pipeline(self, program: FixedProgram, module: str) -> StagedLogic:
        """Lower a program of one layer."""
        (logic,) = lower(program)
        fsm = pipelined(logic, self.clock_mhz)
        return StagedLogic(logic, fsm, layer_modules(logic, fsm, module))


def shared_matrix(part: Part) -> np.ndarray | None:
    """Return the matrix of a part's products if multipliers are worth sharing: more than one weight needs one."""
    split = split_products(part)
    if split is None:
        return None
    mantissas = np.abs(np.frexp(split[1])[0])
    return split[1] if ((mantissas != 0) & (mantissas != 0.5)).sum() > 1 else None


def _with_windows(logic: SharedLogic, order: Sequence[int], reads: Wires) -> SharedLogic:
    """Return logic that serves its rows in an order, with windows where rows slide over the event and it takes fewer LUTs."""
    logic = replace(
        logic,
        rows=tuple(logic.rows[row] for row in order),
        results=tuple(logic.results[row] for row in order),
    )
    grid = logic.products.lanes if logic.products else logic.slots
    cycles = logic.products.cycles if logic.products else 1
    windows = [
        find_window([logic.rows[row] for row in logic.served(copy)], reads) for copy in range(logic.copies)
    ]
    chosen = (
        window
        if window and window_luts(window, grid, cycles) < chosen_luts(grid, cycles * logic.turns)
        else None
        for window in windows
    )
    return replace(logic, windows=tuple(chosen))


def register_bits(source: str) -> int:
    """Return the bits of the registers that a module declares."""
    return sum(int(found) + 1 for found in REGISTER.findall(source))
