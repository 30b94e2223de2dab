"""Names of modules and entities: what Verilog, SystemVerilog and VHDL all allow."""

from __future__ import annotations

import re
import unicodedata

VERILOG_KEYWORDS = """
always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default defparam design disable edge
else end endcase endconfig endfunction endgenerate endmodule endprimitive endspecify endtable endtask event for force forever fork
function generate genvar highz0 highz1 if ifnone incdir include initial inout input instance integer join large liblist library
localparam macromodule medium module nand negedge nmos nor noshowcancelled not notif0 notif1 or output parameter pmos posedge
primitive pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent rcmos real realtime reg release repeat rnmos rpmos
rtran rtranif0 rtranif1 scalared showcancelled signed small specify specparam strong0 strong1 supply0 supply1 table task time tran
tranif0 tranif1 tri tri0 tri1 triand trior trireg unsigned use uwire vectored wait wand weak0 weak1 while wire wor xnor xor
"""
SYSTEM_VERILOG_KEYWORDS = """
accept_on alias always_comb always_ff always_latch assert assume before bind bins binsof bit break byte chandle checker class
clocking const constraint context continue cover covergroup coverpoint cross dist do endchecker endclass endclocking endgroup
endinterface endpackage endprogram endproperty endsequence enum eventually expect export extends extern final first_match foreach
forkjoin global iff ignore_bins illegal_bins implements implies import inside int interconnect interface intersect join_any
join_none let local logic longint matches modport nettype new nexttime null package packed priority program property protected pure
rand randc randcase randsequence ref reject_on restrict return s_always s_eventually s_nexttime s_until s_until_with sequence
shortint shortreal soft solve static string strong struct super sync_accept_on sync_reject_on tagged this throughout timeprecision
timeunit type typedef union unique unique0 until until_with untyped var virtual void wait_order weak wildcard with within
"""
VHDL_KEYWORDS = """
abs access after all architecture array attribute block body buffer bus component configuration constant disconnect downto elsif
entity exit file generic group guarded impure in inertial is label linkage literal loop map mod next of on open others out port
postponed procedure process pure range record register reject rem report return rol ror select severity shared signal sla sll sra
srl subtype then to transport unaffected units until variable when
"""
HARDWARE_KEYWORDS = frozenset(f"{VERILOG_KEYWORDS} {SYSTEM_VERILOG_KEYWORDS} {VHDL_KEYWORDS}".split())
CELLS_OF_LAYERS = (  # what the logic of layers instantiates
    "binop",
    "multiplier",
    "mux",
    "negative",
    "shift_adder",
    "ternary_adder",
)
MODULE_NAMES_TAKEN = frozenset({*CELLS_OF_LAYERS, "arithmetic", "testbench"})


def hardware_name(text: str) -> str:
    """Return a name that both languages allow: lower case, and single underscores, since VHDL has no others."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "model"
    return f"m_{name}" if name[0].isdigit() or name in HARDWARE_KEYWORDS | MODULE_NAMES_TAKEN else name


def new_name(layer: str, taken: set[str]) -> str:
    """Return a name for the module of a layer, and note that it is taken."""
    base = name = hardware_name(layer)
    number = 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return name
