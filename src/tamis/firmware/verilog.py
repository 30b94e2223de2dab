"""Designs as Verilog."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

from tamis.firmware.chain import LayerChain, Link, layer_heading
from tamis.firmware.language import Language, Sources, cells_of_alkaid
from tamis.firmware.lower import Logic

ADDER = "shift_adder.v"
TABLE_MODULE = re.compile(r"\btable_[0-9a-f_]{36}\b")
LINT = re.compile(
    r"[ \t]*(//\s*verilator lint.*\n?|/\*\s*verilator lint[^*]*\*/)"
)  # not known to every version


def layer_modules(logic: Logic, fsm: Any, module: str) -> Sources:
    """Return the Verilog of a layer's pipeline by file name: a module of a given name and one for each stage."""
    from alkaid.codegen.rtl.verilog.fsm import fsm_logic_gen

    written = named(fsm_logic_gen(fsm, module, print_latency=False, timescale=""), module)
    return {
        f"{file}.v": "".join(f"// {line}\n" for line in layer_heading(logic, file, module)) + f"{text}\n"
        for file, text in written.items()
    }


def named(written: Sources, module: str) -> Sources:
    """Return alkaid's code of a layer with names that say to which layer stages and tables belong."""
    tables = list(
        dict.fromkeys(TABLE_MODULE.findall("\n".join(written.values())))
    )  # of alkaid, by what is in them
    sources = {}
    for part, code in written.items():
        text = re.sub(r"\blogic(\d+)\b", rf"{module}_stage\1", code).strip()
        text = TABLE_MODULE.sub(lambda found: f"{module}_table{tables.index(found.group())}", text)
        sources[re.sub(r"^logic(\d+)$", rf"{module}_stage\1", part)] = text
    return sources


def complete(sources: Sources) -> Sources:
    """Return sources with the modules that they instantiate and without hints to linters.

    The adder is our own: yosys makes two carry chains of alkaid's where it subtracts a number with lower bits.
    """
    adder = resources.files("tamis.firmware").joinpath(ADDER).read_text()
    everything = sources | cells_of_alkaid("verilog", ".v") | {ADDER: adder}
    return {file: LINT.sub("", text) for file, text in everything.items()}


def chain_module(chain: LayerChain) -> str:
    """Return the top module."""
    latency = chain.latency
    wires = [f"    wire [{width - 1}:0] {name};" for name, width in chain.wires.items()]
    layers = [
        f"    {link.module} {link.module}_layer (.clk(clk), .model_inp({_read(link)}), .model_out({link.target}));"
        for link in chain.links
    ]
    valid = f"{{valid[{latency - 2}:0], in_valid}}" if latency > 1 else "in_valid"
    heading = "\n".join(f"// {line}" for line in chain.heading)
    return f"""{heading}
module {chain.name} (
    input wire clk,
    input wire in_valid,
    input wire [{chain.input_bits - 1}:0] inputs,
    output wire out_valid,
    output wire [{chain.output_bits - 1}:0] outputs
);
{chr(10).join(wires)}
    reg [{latency - 1}:0] valid = 0;
    assign out_valid = valid[{latency - 1}];
    always @(posedge clk) valid <= {valid};

{chr(10).join(layers)}
endmodule
"""


def _read(link: Link) -> str:
    """Return the bits that a layer reads, the highest first."""
    parts = [f"{link.source}[{end - 1}:{begin}]" for begin, end in reversed(link.parts)]
    return parts[0] if len(parts) == 1 else f"{{{', '.join(parts)}}}"


VERILOG = Language("verilog", "Verilog", ".v", layer_modules, chain_module, complete)
