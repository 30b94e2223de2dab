"""Calling compiled code: by the extension and by ctypes, which do the same."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tamis._base import InputMismatchError
from tamis.native import example_event
from tamis.native.build import build, find_compiler
from tamis.native.call import open_kernel
from tamis.native.call.extension import load_extension


@pytest.fixture(params=["extension", "ctypes"])
def kernel_of(request, bundle_of):
    """Open a model's code one way or the other."""

    def make(name: str, **changes):
        bundle = bundle_of(name)
        built = build(bundle.model_bytes, example_event(bundle))
        batched = bundle.manifest.signature.rows != "none"
        return open_kernel(replace(built, **changes), batched=batched, plain=request.param == "ctypes")

    return make


@pytest.fixture
def dense(kernel_of):
    return kernel_of("dense")


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)


def test_the_extension_is_there_where_python_has_headers():
    assert load_extension(find_compiler()) is not None


def test_a_list_and_a_tuple_go_in_and_new_arrays_come_out(dense, x):
    (first,) = dense([x])
    (second,) = dense((x,))
    assert first.shape == (50, 1)
    assert first.dtype == np.float32
    assert first is not second
    np.testing.assert_array_equal(first, second)
    assert dense([x[:0]])[0].shape == (0, 1)


WRONG = [
    (lambda x: x.tolist(), "is a list; pass a numpy array"),
    (lambda x: None, "is a NoneType; pass a numpy array"),
    (lambda x: x.astype(np.float64), "float64.*has to be native float32"),
    (lambda x: x.astype(">f4"), "has to be native float32"),
    (np.asfortranarray, "contiguous"),
    (lambda x: x[:, ::2], "contiguous"),
    (lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape), "aligned"),
    (lambda x: x[:, :11].copy(), r"shape \(50, 11\), it has to be \('1\*N', 12\)"),
    (lambda x: x[0], r"shape \(12,\)"),
    (lambda x: x[None], r"shape \(1, 50, 12\)"),
    (lambda x: np.float32(1.0), "is a "),
    (lambda x: np.array(1.0, np.float32), r"shape \(\)"),
]


@pytest.mark.parametrize(("wrong", "told"), WRONG)
def test_wrong_inputs_raise_and_never_crash(dense, x, wrong, told):
    out = np.zeros((50, 1), np.float32)
    for call in (lambda given: dense([given]), lambda given: dense.bind([given], [out])):
        with pytest.raises(InputMismatchError, match=told):
            call(wrong(x))
    dense([x])  # and it goes on


def test_wrong_numbers_of_arrays_raise(dense, kernel_of, x):
    for given in ([], [x, x]):
        with pytest.raises(InputMismatchError, match="inputs were given, it takes 1"):
            dense(given)
    for given in ((), (x, x), (3,)):
        with pytest.raises((TypeError, InputMismatchError)):
            dense(*given)
    jets = kernel_of("deep-jet")
    arrays = [np.zeros((n, *shape), np.float32) for n, shape in ((4, (3,)), (4, (7, 6)), (3, (4, 5)))]
    with pytest.raises(InputMismatchError, match="input 2 holds 3 events, those before it 4"):
        jets(arrays)


@pytest.mark.parametrize(
    ("results", "told"),
    [
        (lambda x: [], "0 outputs were given, it takes 1"),
        (lambda x: [np.zeros((50, 2), np.float32)], r"output 0 has the shape \(50, 2\)"),
        (lambda x: [np.zeros((49, 1), np.float32)], "inputs hold 50 events, the outputs 49"),
        (lambda x: [np.zeros((50, 1))], "output 0.*float32"),
        (lambda x: [np.broadcast_to(np.float32(0), (50, 1))], "contiguous"),
        (lambda x: [np.frombuffer(bytes(200), np.float32).reshape(50, 1)], "read-only"),
        (lambda x: [x.reshape(-1)[:50].reshape(50, 1)], "shares memory"),
    ],
)
def test_wrong_results_are_not_bound(dense, x, results, told):
    with pytest.raises(InputMismatchError, match=told):
        dense.bind([x], results(x))


def test_a_bound_call_sees_what_is_filled_in_and_keeps_the_buffers(dense, x):
    out = np.empty((50, 1), np.float32)
    buffer = np.zeros_like(x)
    call = dense.bind([buffer], [out])
    assert call() is None
    zeros = out.copy()
    buffer[...] = x
    call()
    np.testing.assert_array_equal(out, dense([x])[0])
    assert (out != zeros).any()
    with pytest.raises(TypeError):
        call(x)
    call = dense.bind([np.ones((50, 12), np.float32)], [out])
    gc.collect()
    call()
    np.testing.assert_array_equal(out, dense([np.ones((50, 12), np.float32)])[0])


def test_a_bound_call_outlives_its_kernel(kernel_of, x):
    kernel = kernel_of("dense")
    out = np.empty((50, 1), np.float32)
    expected, call = kernel([x])[0], kernel.bind([x], [out])
    del kernel
    gc.collect()
    call()
    np.testing.assert_array_equal(out, expected)


def test_threads_share_a_kernel(kernel_of):
    kernel = kernel_of("conv1d", cycles=1e9)  # so dear that other threads run meanwhile
    rng = np.random.default_rng(1)
    batches = [rng.normal(size=(1 + 37 * i, 3, 20)).astype(np.float32) for i in range(8)]
    alone = [kernel([x]) for x in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for found, expected in zip(pool.map(lambda x: kernel([x]), batches), alone, strict=True):
                for one, other in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(one, other)


def test_pieces_give_the_bits_of_the_whole(kernel_of):
    x = np.random.default_rng(1).normal(size=(1000, 3, 20)).astype(np.float32)
    for whole, piecewise in zip(kernel_of("conv1d")([x]), kernel_of("conv1d", cycles=1e9)([x]), strict=True):
        np.testing.assert_array_equal(whole, piecewise)


LONG = """
import signal, sys, threading
from dataclasses import replace
import numpy as np
from tamis.bundle import Bundle
from tamis.native import example_event
from tamis.native.build import build
from tamis.native.call import open_kernel

bundle = Bundle.open(sys.argv[1])
kernel = open_kernel(replace(build(bundle.model_bytes, example_event(bundle)), cycles=1e9))
x = np.zeros((2_000_000, 3, 20), np.float32)
threading.Timer(0.02, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
try:
    kernel([x])
except KeyboardInterrupt:
    assert kernel([x[:3]])[0].shape == (3,)
    print("stopped")
"""


def test_a_long_call_heeds_signals(bundle_of):
    """In a process of its own: pytest's fault handler has a stack of its own, on which some kernels put no AVX-512 state."""
    command = [sys.executable, "-c", LONG, str(bundle_of("conv1d").path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "stopped\n", done.stderr


def test_a_graph_without_a_batch_takes_its_very_shapes(kernel_of):
    kernel = kernel_of("no-batch")
    (score,) = kernel([np.ones((6, 3), np.float32), np.array(2.0, np.float32)])
    assert score.shape == ()
    with pytest.raises(InputMismatchError, match=r"shape \(7, 3\), it has to be \(6, 3\)"):
        kernel([np.ones((7, 3), np.float32), np.array(2.0, np.float32)])
