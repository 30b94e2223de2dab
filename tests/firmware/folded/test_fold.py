"""The folded design in simulation: the bits of the emulation, an event every N cycles, and a fixed latency."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from tests.conftest import parse
from tests.firmware.folded.conftest import make_gru, program, program_of
from tests.fixedpoint.conftest import INPUT, NAMES

from tamis._base import VerificationError
from tamis.firmware.folded import make_folded_design
from tamis.firmware.synthesis import synthesise
from tamis.firmware.verify import compare, random_vectors

pytestmark = [
    pytest.mark.fpga,
    pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed"),
]


def check(program, reuse, folder, vectors=300, clock=240):
    design = make_folded_design(program, "network", clock, reuse)
    found = compare(program, design, design.sources, random_vectors(design, vectors, seed=reuse), folder)
    assert found.differing == 0, found.first
    return design


def test_a_dense_network_shares_its_multipliers(tmp_path):
    design = check(program("dense"), 5, tmp_path)  # which divides neither layer's products
    assert design.interval == 5
    assert [layer.multipliers for layer in design.layers] == [12, 6]  # for 8 x 6 and 6 x 3 products
    assert "assign in_ready" in design.sources["network.v"]
    assert "weights <= " in design.sources["w1_row_products.v"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reuse"), [(name, (7, 2, 1000)[index % 3]) for index, name in enumerate(NAMES)]
)
def test_every_operator(name, reuse, tmp_path):
    design = check(program(name, seed=reuse), reuse, tmp_path)
    assert 1 <= design.interval <= reuse


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "outputs", "reuse", "interval"),
    [(1, 1, 9, 1), (3, 1, 2, 2), (1, 5, 3, 3), (7, 11, 5, 5), (7, 11, 76, 76), (7, 11, 78, 77)],
)
def test_odd_sizes(inputs, outputs, reuse, interval, tmp_path):
    from onnx import numpy_helper

    model = parse(f"m (float[N, {inputs}] x) => (float[N, {outputs}] y) {{ {INPUT} y = MatMul (q, w) }}")
    weights = np.random.default_rng(1).integers(3, 128, (inputs, outputs)).astype(np.float32) * 2 - 129
    model.graph.initializer.append(numpy_helper.from_array(weights / 64, "w"))
    assert check(program_of(model), reuse, tmp_path).interval == interval


@pytest.mark.slow
@pytest.mark.parametrize("clock", [20, 900])
def test_other_clocks(clock, tmp_path):
    check(program("image"), 6, tmp_path, clock=clock)


@pytest.mark.slow
@pytest.mark.parametrize("reuse", [4, 48])
def test_a_recurrent_network(reuse, tmp_path):
    design = check(program_of(make_gru()), reuse, tmp_path)
    assert design.interval == reuse


def test_the_interval_is_what_the_largest_layer_can_use():
    assert make_folded_design(program("dense"), "m", 240, 10**6).interval == 8 * 6
    assert make_folded_design(program("dense"), "m", 240, 47).interval == 47


@pytest.mark.parametrize("name", ["trees BRANCH_LT", "padded", "branches"])
def test_without_anything_to_share_an_event_enters_at_every_cycle(name):
    design = make_folded_design(program(name), "m", 240, 4)
    assert design.interval == 1
    assert "in_ready" not in design.sources["m.v"]


def test_more_reuse_means_fewer_multipliers():
    found = [
        sum(layer.multipliers for layer in make_folded_design(program("dense"), "m", 240, reuse).layers)
        for reuse in (2, 3, 8, 48)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] == 2


def images(padding):
    """Return a convolution whose windows of 3 x 3 slide over rows of eight pixels."""
    from onnx import numpy_helper

    rows, columns = 4 + 2 * padding, 6 + 2 * padding
    model = parse(
        f"m (float[N, 1, 6, 8] x) => (float[N, 2, {rows}, {columns}] y) {{ {INPUT} "
        f"y = Conv <kernel_shape = [3, 3], pads = {[padding] * 4}> (q, k) }}"
    )
    kernel = np.random.default_rng(0).integers(-7, 8, (2, 1, 3, 3)).astype(np.float32) / 8
    model.graph.initializer.append(numpy_helper.from_array(kernel, "k"))
    return program_of(model)


def test_windows_of_an_image_read_a_shift_register():
    text = make_folded_design(images(0), "m", 240, 24).sources["k.v"]
    assert "default: window <= window >> 8;" in text  # one pixel
    assert "5'd5, 5'd11, 5'd17: window <= window >> 24;" in text  # and three at the end of a row
    assert "held" not in re.findall(r"lanes <= (.*);", text)[0]
    text = make_folded_design(images(1), "m", 240, 48).sources["k.v"]
    assert "default: window <= window >> 8;" in text
    assert "padding_0 ? 8'd0 : window[" in text


@pytest.mark.slow
@pytest.mark.parametrize(("padding", "reuse"), [(0, 5), (0, 24), (0, 100), (1, 12), (1, 48), (1, 100)])
def test_windows_of_an_image_in_simulation(padding, reuse, tmp_path):
    check(images(padding), reuse, tmp_path)


def test_modules_say_what_they_are():
    sources = make_folded_design(program("image"), "m", 240, 30).sources
    assert sources["k1.v"].startswith(
        "// layer k1: 24 rows, one after the other through one copy of their logic"
    )
    assert "// in:  84 x fixed<8,8>" in sources["k1.v"]
    assert (
        "An event is handed over at the rising edge of clk at which in_valid and in_ready" in sources["m.v"]
    )
    assert not any(re.search(r"\b(table_[0-9a-f]{8}|logic\d)\b", text) for text in sources.values())


def test_a_wrong_weight_is_found(tmp_path):
    dense = program("dense")
    design = make_folded_design(dense, "m", 240, 4)
    text = design.sources["w1_row_products.v"]
    broken = design.sources | {"w1_row_products.v": re.sub(r"-4'sd7", "-4'sd6", text, count=1)}
    found = compare(dense, design, broken, random_vectors(design, 100, seed=4), tmp_path)
    assert found.differing > 0
    assert "instead of" in found.first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency": 1}, "results did not leave 1 cycles after their event"),
        ({"interval": 3}, "in_ready is 0 in cycle 3, and an event may enter from cycle 3 on"),
    ],
)
def test_a_design_that_is_late_or_slow_is_found(change, message, tmp_path):
    dense = program("dense")
    design = make_folded_design(dense, "m", 240, 4)
    vectors = random_vectors(design, 20, seed=1)
    with pytest.raises(VerificationError, match=message):
        compare(dense, replace(design, **change), design.sources, vectors, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed")
@pytest.mark.parametrize(("name", "reuse"), [("dense", 4), ("image", 24), ("functions", 8)])
def test_the_netlist_with_its_dsps_computes_the_bits(name, reuse, tmp_path):
    graph = program(name)
    design = make_folded_design(graph, "m", 240, reuse)
    cells = synthesise(design, tmp_path / "synthesis", netlist=True)
    multipliers = sum(layer.multipliers for layer in design.layers)
    assert 0 < cells.dsp <= multipliers
    estimate = sum(layer.lut_estimate for layer in design.layers)
    assert cells.lut == pytest.approx(estimate, rel=0.35)
    netlist = {"netlist.v": (tmp_path / "synthesis" / "netlist.v").read_text()}
    found = compare(graph, design, netlist, random_vectors(design, 300, seed=5), tmp_path / "netlist")
    assert found.differing == 0, found.first
