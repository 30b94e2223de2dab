"""ONNX models of a Triton repository on another engine than ONNX Runtime, through the gate of bundles.

The model is packed into a temporary bundle, with golden outputs of random inputs in float64, which the engine has to reproduce.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from tamis._base import ModelError, TamisError, human_bytes
from tamis.bundle import Bundle, pack
from tamis.bundle.manifest import BUNDLE_NAME_PATTERN
from tamis.bundle.model import load_model, read_signature
from tamis.engines import Engine, Options, Session, find_engine
from tamis.engines.onnxruntime import open_session
from tamis.serve.models.bundles import open_sessions, session_facts
from tamis.serve.models.model import Model, OpeningSettings, Run
from tamis.serve.models.onnx_models import MAX_VERIFIED_BYTES, free_dims_of, match_graph, session_runner
from tamis.serve.models.triton_config import ResolvedConfig
from tamis.serve.models.warmup import configured_samples, make_ready, request_of, warm_up

GOLDEN_ROWS = 16


def open_on_engine(configured: ResolvedConfig, version: str, path: Path, settings: OpeningSettings) -> Model:
    """Open one version on the engine of the settings; raise ModelError if the engine cannot be verified on it."""
    model = load_model(path)
    configured = match_graph(configured, model, path)
    name = settings.engine
    try:
        engine = find_engine(name)
        engine.prepare()
        if not engine.computes:
            return _open_unverified(configured, version, model, engine)
        with ExitStack() as stack:  # closes the sessions if a later step fails
            bundle = _packed(configured, model, stack)
            sessions = open_sessions(
                bundle, name, configured.instances, configured.threads, settings.dims, stack
            )
            facts = session_facts(sessions[0], settings.dims)
            events = len(next(iter(bundle.golden.inputs.values()))) if configured.max_batch else 1
            verified = f"yes: agrees with the float64 reference on {events} random event{'s' * (events > 1)}"
            runs = [_runner(configured, session) for session in sessions]
            opened = make_ready(configured, version, runs, facts, lambda _: verified)
            opened.close, opened.free_dims = stack.pop_all().close, free_dims_of(model)
            return opened
    except TamisError as error:
        raise ModelError(
            f"the engine {name} cannot serve {configured.config.name!r}: {error}; leave out the engine to serve it on ONNX Runtime"
        ) from error


def _packed(configured: ResolvedConfig, model: onnx.ModelProto, stack: ExitStack) -> Bundle:
    """Return the model as a bundle in a temporary folder, which the stack removes."""
    for spec in configured.inputs:
        if spec.datatype == "BYTES" or spec.optional:
            kind = "holds strings" if spec.datatype == "BYTES" else "is optional"
            raise ModelError(f"its input {spec.name!r} {kind}, which only ONNX Runtime takes")
    size = model.ByteSize()
    if size > MAX_VERIFIED_BYTES:
        raise ModelError(
            f"it has {human_bytes(size)}, too many to compute the float64 reference at every start (at most "
            f"{human_bytes(MAX_VERIFIED_BYTES)}); pack it once with `tamis pack` and serve the bundle"
        )
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="tamis-serve-")))
    name = configured.config.name
    return pack(
        model,
        folder / "model.tamis",
        name=name if re.fullmatch(BUNDLE_NAME_PATTERN, name) else "model",
        inputs=_samples(configured, model),
        rewrites=False,
    ).bundle


def _samples(configured: ResolvedConfig, model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return random inputs of sizes that the model runs with, or its first configured sample."""
    warm = warm_up(configured, [session_runner(configured, open_session(model.SerializeToString(), 1))])
    if warm.arrays is not None:
        arrays = request_of(configured, GOLDEN_ROWS, warm.free, np.random.default_rng(0))
    elif samples := configured_samples(configured):
        arrays = samples[0].arrays
    else:
        raise ModelError("it runs on no random inputs; add a sample to model_warmup in config.pbtxt")
    return configured.to_graph(arrays)


def _runner(configured: ResolvedConfig, session: Session) -> Run:
    def run(arrays: list[Any]) -> Sequence[np.ndarray]:
        return configured.from_graph(session.run(**configured.to_graph(arrays)))

    return run


def _open_unverified(
    configured: ResolvedConfig, version: str, model: onnx.ModelProto, engine: Engine
) -> Model:
    """Open an engine that computes nothing, to measure the protocol."""
    signature = read_signature(model, configured.location)
    runner = engine.load(model.SerializeToString(), signature, Options(threads=configured.threads))
    names = [spec.name for spec in signature.outputs]

    def run(arrays: list[Any]) -> Sequence[np.ndarray]:
        feeds = configured.to_graph(arrays)
        results = runner.run([feeds[spec.name] for spec in signature.inputs])
        return configured.from_graph(dict(zip(names, results, strict=True)))

    facts = {"engine": f"{engine.name} {engine.version()}"}
    return make_ready(
        configured,
        version,
        [run] * configured.instances,
        facts,
        lambda _: f"no: the engine {engine.name} computes nothing",
        runner.close,
    )
