"""Calling compiled code through the extension and through ctypes, which behave alike."""

from __future__ import annotations

import gc
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tamis._base import InputMismatchError
from tamis.cbuild import find_compiler
from tamis.native import example_event
from tamis.native.build import build
from tamis.native.call import open_kernel
from tamis.native.call.open import load_extension


@pytest.fixture(params=["extension", "ctypes"])
def kernel_of(request, bundle_of):
    """Return a function that opens the kernel of a model, through the extension or through ctypes."""

    def open_(name: str, **changes):
        bundle = bundle_of(name)
        built = build(bundle.model_bytes, example_event(bundle))
        batched = bundle.manifest.signature.rows != "none"
        return open_kernel(
            replace(built, **changes), batched=batched, use_extension=request.param == "extension"
        )

    return open_


@pytest.fixture
def dense(kernel_of):
    return kernel_of("dense")


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)


def test_extension_compiles_where_python_has_headers():
    assert load_extension(find_compiler()) is not None


def test_call_takes_a_list_or_tuple_and_returns_new_arrays(dense, x):
    (first,) = dense([x])
    (second,) = dense((x,))
    assert first.shape == (50, 1)
    assert first.dtype == np.float32
    assert first is not second
    np.testing.assert_array_equal(first, second)
    assert dense([x[:0]])[0].shape == (0, 1)


WRONG_INPUTS = [
    (lambda x: x.tolist(), "is a list; pass a numpy array"),
    (lambda x: None, "is a NoneType; pass a numpy array"),
    (lambda x: x.astype(np.float64), "float64.*must be native float32"),
    (lambda x: x.astype(">f4"), "must be native float32"),
    (np.asfortranarray, "contiguous"),
    (lambda x: x[:, ::2], "contiguous"),
    (lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape), "aligned"),
    (lambda x: x[:, :11].copy(), r"shape \(50, 11\), expected \('1\*N', 12\)"),
    (lambda x: x[0], r"shape \(12,\)"),
    (lambda x: x[None], r"shape \(1, 50, 12\)"),
    (lambda x: np.float32(1.0), "is a "),
    (lambda x: np.array(1.0, np.float32), r"shape \(\)"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG_INPUTS)
def test_wrong_inputs_raise_and_never_crash(dense, x, wrong, message):
    out = np.zeros((50, 1), np.float32)
    for call in (lambda array: dense([array]), lambda array: dense.bind([array], [out])):
        with pytest.raises(InputMismatchError, match=message):
            call(wrong(x))
    dense([x])  # the kernel still works


def test_wrong_numbers_of_arrays_raise(dense, kernel_of, x):
    for arrays in ([], [x, x]):
        with pytest.raises(InputMismatchError, match="inputs were passed, 1 expected"):
            dense(arrays)
    for arguments in ((), (x, x), (3,)):
        with pytest.raises((TypeError, InputMismatchError)):
            dense(*arguments)
    jets = kernel_of("deep-jet")
    arrays = [np.zeros((n, *shape), np.float32) for n, shape in ((4, (3,)), (4, (7, 6)), (3, (4, 5)))]
    with pytest.raises(InputMismatchError, match="input 2 holds 3 events, those before it 4"):
        jets(arrays)


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (lambda x: [], "0 outputs were passed, 1 expected"),
        (lambda x: [np.zeros((50, 2), np.float32)], r"output 0 has the shape \(50, 2\)"),
        (lambda x: [np.zeros((49, 1), np.float32)], "inputs hold 50 events, the outputs 49"),
        (lambda x: [np.zeros((50, 1))], "output 0.*float32"),
        (lambda x: [np.broadcast_to(np.float32(0), (50, 1))], "contiguous"),
        (lambda x: [np.frombuffer(bytes(200), np.float32).reshape(50, 1)], "read-only"),
        (lambda x: [x.reshape(-1)[:50].reshape(50, 1)], "shares memory"),
    ],
)
def test_wrong_results_are_not_bound(dense, x, results, message):
    with pytest.raises(InputMismatchError, match=message):
        dense.bind([x], results(x))


def test_bound_call_reads_its_buffers_in_place_and_keeps_them_alive(dense, x):
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


def test_bound_call_outlives_its_kernel(kernel_of, x):
    kernel = kernel_of("dense")
    out = np.empty((50, 1), np.float32)
    expected, call = kernel([x])[0], kernel.bind([x], [out])
    del kernel
    gc.collect()
    call()
    np.testing.assert_array_equal(out, expected)


def test_threads_share_a_kernel(kernel_of):
    kernel = kernel_of("conv1d", cycles=1e9)  # an estimate so high that the GIL is released
    rng = np.random.default_rng(1)
    batches = [rng.normal(size=(1 + 37 * i, 3, 20)).astype(np.float32) for i in range(8)]
    alone = [kernel([x]) for x in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for results, expected in zip(pool.map(lambda x: kernel([x]), batches), alone, strict=True):
                for one, other in zip(results, expected, strict=True):
                    np.testing.assert_array_equal(one, other)


def test_call_in_pieces_has_the_same_bits(kernel_of):
    x = np.random.default_rng(1).normal(size=(1000, 3, 20)).astype(np.float32)
    for whole, piecewise in zip(kernel_of("conv1d")([x]), kernel_of("conv1d", cycles=1e9)([x]), strict=True):
        np.testing.assert_array_equal(whole, piecewise)


LONG_CALL = """
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


def test_long_call_is_interrupted_by_ctrl_c(bundle_of):
    """In a separate process: pytest's fault handler uses an alternate stack, too small for AVX-512 state on some kernels."""
    command = [sys.executable, "-c", LONG_CALL, str(bundle_of("conv1d").path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "stopped\n", done.stderr


def test_graph_without_a_batch_takes_exactly_its_shapes(kernel_of):
    kernel = kernel_of("no-batch")
    (score,) = kernel([np.ones((6, 3), np.float32), np.array(2.0, np.float32)])
    assert score.shape == ()
    with pytest.raises(InputMismatchError, match=r"shape \(7, 3\), expected \(6, 3\)"):
        kernel([np.ones((7, 3), np.float32), np.array(2.0, np.float32)])
