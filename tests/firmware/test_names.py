"""Names of modules: what Verilog and VHDL allow."""

from __future__ import annotations

import pytest

from tamis.firmware.names import hardware_name, new_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("conv-vae", "conv_vae"),
        ("small", "m_small"),  # a keyword of Verilog
        ("signal", "m_signal"),  # of VHDL
        ("mux", "m_mux"),  # a cell that layers instantiate
        ("8bit", "m_8bit"),
        ("_MatMul__12_", "matmul_12"),
        ("Säge 1", "sage_1"),
        ("...", "model"),
    ],
)
def test_names_of_modules(text, name):
    assert hardware_name(text) == name


def test_names_are_unique():
    taken = {"dense"}
    assert [new_name(name, taken) for name in ("dense", "Dense", "dense/", "conv")] == [
        "dense_2",
        "dense_3",
        "dense_4",
        "conv",
    ]
