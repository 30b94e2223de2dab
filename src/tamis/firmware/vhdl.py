"""Designs as VHDL-2008: alkaid writes the layers, with arithmetic of ours; only designs that share no multipliers."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

from tamis.firmware.chain import LayerChain, Link, layer_heading
from tamis.firmware.language import Language, Sources, cells_of_alkaid
from tamis.firmware.lower import Logic
from tamis.firmware.verilog import named

ARITHMETIC = "arithmetic.vhd"
INSTANCE = re.compile(
    r"^( *)op_\d+: ?entity work\.(\w+) generic map\((.*)\) port map\((.*)\);$", re.MULTILINE
)
REDUCTION = re.compile(r"\b(or|and)_reduce\((\w+)\)")
REDUCTION_PACKAGE = re.compile(r"use ieee\.std_logic_misc\.\w+;\n")
RELU = 2  # opcode of alkaid


def layer_entities(logic: Logic, fsm: Any, module: str) -> Sources:
    """Return the VHDL of a layer's pipeline by file name: an entity of a given name and one for each stage."""
    from alkaid.codegen.rtl.vhdl.fsm import fsm_logic_gen

    written = fsm_logic_gen(fsm, module, print_latency=False)
    for stage, comb in fsm.logic.items():
        written[stage] = with_functions(corrected_relus(written[stage], comb))
    return {
        f"{file}.vhd": "".join(f"-- {line}\n" for line in layer_heading(logic, file, module)) + readable(text)
        for file, text in named(written, module).items()
    }


def corrected_relus(text: str, comb: Any) -> str:
    """Return alkaid's VHDL of logic whose ReLUs of one bit take the right one: alkaid takes the lowest, dropped or not."""
    for index, op in enumerate(comb.ops):
        source = op.addr[0] if op.opcode == RELU else 0
        dropped = comb.ops[source].qint.kif[2] - op.qint.kif[2]
        if op.opcode == RELU and sum(op.qint.kif) == 1 and dropped > 0:
            text = text.replace(f"v{index}(0) <= v{source}(0)", f"v{index}(0) <= v{source}({dropped})")
    return text


def readable(text: str) -> str:
    """Return alkaid's VHDL with spaces after colons, without empty lines in a row, and with operators instead of functions.

    The functions of `std_logic_misc` are not part of VHDL-2008, which reduces vectors by operators.
    """
    text = REDUCTION.sub(r"\1 \2", REDUCTION_PACKAGE.sub("", text))
    text = re.sub(r"^(\s*(?:signal )?\w+):(?=\w)", r"\1: ", text, flags=re.MULTILINE)
    return re.sub(r"\n\s*\n\s*\n", "\n\n", text).strip() + "\n"


def with_functions(text: str) -> str:
    """Return alkaid's VHDL with functions of our arithmetic in the place of its entities for every operation.

    GHDL 2.0 loses entities, or crashes, when it synthesises a design with hundreds of different generics.
    """
    package = "use ieee.numeric_std.all;\n"
    return INSTANCE.sub(_call, text.replace(package, f"{package}use work.arithmetic.all;\n", 1))


def _call(instance: re.Match[str]) -> str:
    """Return the call of a function that computes what an instance does; an entity without a function stays."""
    indent, entity, generics, ports = instance.groups()
    fact = dict(part.split("=>") for part in generics.split(","))
    port = dict(part.split("=>", 1) for part in ports.split(","))
    signs = (
        f"signed0 => {fact.get('SIGNED0')}, signed1 => {fact.get('SIGNED1')}, width => {fact.get('BW_OUT')}"
    )
    match entity:
        case "shift_adder":
            name = "difference" if fact["IS_SUB"] == "1" else "sum"
            call = f"{name}({port['in0']}, {port['in1']}, {signs}, drop => {fact['DROP_LSBS']}, shift => {fact['SHIFT1']})"
        case "mux":
            call = (
                f"selected({port['key']}, {port['in0']}, {port['in1']}, {signs}, shift => {fact['SHIFT1']})"
            )
        case "multiplier":
            call = f"product({port['in0']}, {port['in1']}, {signs})"
        case "negative":
            call = f"negated({port['neg_in']}, signed0 => {fact['IN_SIGNED']}, width => {fact['BW_OUT']})"
            return f"{indent}{port['neg_out']} <= {call};"
        case _:
            return instance.group()
    return f"{indent}{port['result']} <= {call};"


def complete_vhdl(sources: Sources) -> Sources:
    """Return sources with our arithmetic, and with the entities of alkaid that they still instantiate."""
    arithmetic = resources.files("tamis.firmware").joinpath(ARITHMETIC).read_text()
    whole = "".join(sources.values())
    cells = {
        file: text
        for file, text in cells_of_alkaid("vhdl", ".vhd").items()
        if f"entity work.{file.removesuffix('.vhd')} " in whole
    }
    return sources | cells | {ARITHMETIC: arithmetic}


def chain_entity(chain: LayerChain) -> str:
    """Return the top entity."""
    latency = chain.latency
    signals = [f"    signal {name}: {_bits(width)};" for name, width in chain.wires.items()]
    layers = []
    for link in chain.links:
        parts = [f"{link.source}({end - 1} downto {begin})" for begin, end in reversed(link.parts)]
        read = parts[0]
        if len(parts) > 1:
            read = f"{link.module}_in"
            signals.append(f"    signal {read}: {_bits(_width(link))};")
            layers.append(f"    {read} <= {' & '.join(parts)};")
        layers.append(
            f"    {link.module}_layer: entity work.{link.module} port map(clk => clk, model_inp => {read}, model_out => {link.target});"
        )
    valid = f"valid <= valid({latency - 2} downto 0) & in_valid;" if latency > 1 else "valid(0) <= in_valid;"
    heading = "\n".join(f"-- {line}" for line in chain.heading)
    return f"""{heading}
library ieee;
use ieee.std_logic_1164.all;

entity {chain.name} is port(
    clk: in std_logic;
    in_valid: in std_logic;
    inputs: in {_bits(chain.input_bits)};
    out_valid: out std_logic;
    outputs: out {_bits(chain.output_bits)}
);
end entity {chain.name};

architecture rtl of {chain.name} is
{chr(10).join(signals)}
    signal valid: {_bits(latency)} := (others => '0');
begin
    out_valid <= valid({latency - 1});
    process(clk) begin
        if rising_edge(clk) then
            {valid}
        end if;
    end process;

{chr(10).join(layers)}
end architecture rtl;
"""


def _bits(width: int) -> str:
    return f"std_logic_vector({width - 1} downto 0)"


def _width(link: Link) -> int:
    return sum(end - begin for begin, end in link.parts)


VHDL = Language("vhdl", "VHDL", ".vhd", layer_entities, chain_entity, complete_vhdl)
