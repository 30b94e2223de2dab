"""Programs of the quantised graphs, and a recurrent cell that is written step by step."""

from __future__ import annotations

import numpy as np
from tests.conftest import parse
from tests.fixedpoint.conftest import draw, make, quantise

from tamis.firmware.emulator import Emulator


def program_of(model):
    return Emulator(model, draw(model, 1)).graph.program


def program(name, seed=0):
    return program_of(make(name, seed))


def make_gru(steps=3, features=3, units=4, seed=0):
    """Return a GRU whose gates are quantised, as plain operators for each step."""
    from onnx import numpy_helper

    nodes = f"""m (float[N, {steps}, {features}] x) => (float[N, {units}] y) {{{quantise("x", "q", fraction=4, low=-128, high=127)}
    a = MatMul (q, wx) g = Add (a, b) one = Constant <value_float = 1.0> () zero = Sub (one, one)
    k = Constant <value_floats = {[0.0] * units}> () i0 = Constant <value_int = 0> () g0 = Gather <axis = 1> (g, i0)
    s0, t0, u0 = Split <axis = 1> (g0) h0 = Mul (u0, k)"""
    gate = {"fraction": 4, "low": -128, "high": 127, "rounding": "RND"}
    for step in range(1, steps + 1):
        nodes += f"""
        i{step} = Constant <value_int = {step - 1}> () g{step} = Gather <axis = 1> (g, i{step}) zx{step}, rx{step}, nx{step} = Split <axis = 1> (g{step})
        v{step} = MatMul (h{step - 1}, u) zh{step}, rh{step}, nh{step} = Split <axis = 1> (v{step})
        zs{step} = Add (zx{step}, zh{step}) rs{step} = Add (rx{step}, rh{step})
        {quantise(f"zs{step}", f"zq{step}", **gate)} zz{step} = Sigmoid (zq{step})
        {quantise(f"zz{step}", f"z{step}", fraction=5, low=0, high=32)}
        {quantise(f"rs{step}", f"rq{step}", **gate)} rr{step} = Sigmoid (rq{step})
        {quantise(f"rr{step}", f"r{step}", fraction=5, low=0, high=32)}
        rn{step} = Mul (r{step}, nh{step}) ns{step} = Add (nx{step}, rn{step})
        {quantise(f"ns{step}", f"nq{step}", **gate)} nn{step} = Tanh (nq{step})
        {quantise(f"nn{step}", f"n{step}", fraction=5, low=-32, high=31)}
        w{step} = Sub (one, z{step}) hn{step} = Mul (w{step}, n{step}) hz{step} = Mul (z{step}, h{step - 1}) hh{step} = Add (hn{step}, hz{step})
        {quantise(f"hh{step}", f"h{step}", fraction=5, low=-32, high=31, rounding="RND")}"""
    model = parse(f"{nodes} y = Identity (h{steps}) }}")
    rng = np.random.default_rng(seed)
    for name, shape in (("wx", (features, 3 * units)), ("b", (3 * units,)), ("u", (units, 3 * units))):
        weights = (rng.integers(-7, 8, shape) / 16).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weights, name))
    return model
