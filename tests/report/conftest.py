"""Small synthetic records of every kind: two models, three engines, two signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis._base import Document, Host
from tamis.bundle import Bundle, WorkingPoint, pack
from tamis.events import Events, write_events
from tamis.measure import EvaluationSample as Values
from tamis.measure import compare_models, histogram, load_samples, study_rates
from tamis.records import (
    Agreement,
    DemoModel,
    DemoPath,
    DemoRecord,
    DemoSample,
    Discrimination,
    Estimate,
    Evaluation,
    Flips,
    LatencyRow,
    LoadRow,
    MemoryRow,
    OutputAgreement,
    Rate,
    RateRecord,
    Ratio,
    Record,
    Roofline,
    SampleFacts,
    Spread,
    TrainingCurves,
)
from tamis.report import write_report
from tamis.trigger import RunSummary, load_menu, run_menu

MODELS = ("conv-vae", "graph-vae")
ENGINES = {"onnxruntime": 1.0, "openvino": 0.8, "torch": 3.0}
CREATED = "2026-01-02T03:04:05+00:00"
HOST = Host(
    cpu="Test CPU <1>",
    cores=4,
    memory_bytes=16_000_000_000,
    instruction_sets=("avx2",),
    system="Linux",
    python="3.11.9",
    versions={"tamis": "0.1.0", "numpy": "2.0"},
)
VARIABLES = ("score", "jet mass", "-tau21", "multiplicity", "-multiplicity", "jet pT")


def spread(ns: float) -> Spread:
    return Spread(calls=100, mean_ns=ns, p50_ns=ns, p95_ns=1.4 * ns, p99_ns=2 * ns)


def latency(model: str, engine: str, batch: int, cold: bool = True) -> LatencyRow:
    ns = 2e5 * ENGINES[engine] * (1 + batch)
    return LatencyRow(
        bundle=model,
        engine=engine,
        version="1.0",
        mode="call",
        batch=batch,
        chunk=32,
        warm=spread(ns),
        cpu_p50_ns=ns,
        cold=spread(2 * ns) if cold else None,
        ratio=Ratio(
            baseline="onnxruntime call",
            median=ENGINES[engine],
            low=0.9 * ENGINES[engine],
            high=1.2 * ENGINES[engine],
            rounds=9,
        ),
        floor_ns=1e4 * batch,
        events_per_second=batch / ns * 1e9,
    )


def memory(model: str, engine: str, batch: int) -> MemoryRow:
    return MemoryRow(
        bundle=model,
        engine=engine,
        batch=batch,
        events=4 * batch,
        rss_before_bytes=10**8,
        rss_open_bytes=2 * 10**8,
        rss_after_bytes=2 * 10**8,
        rss_peak_bytes=21 * 10**7,
        allocated_peak_bytes=5 * 10**7,
        curve=((batch, 2 * 10**8), (2 * batch, 2 * 10**8), (4 * batch, 2 * 10**8)),
    )


def agreement(model: str, engine: str) -> Agreement:
    if engine == "torch":
        return Agreement(
            bundle=model, engine=engine, version="1.0", events=0, passed=False, problem="it uses <Loop>"
        )
    output = OutputAgreement(
        output="score",
        values=64,
        largest_absolute=1e-6,
        largest_relative=2e-7,
        matching={"0.0001": 0.99999, "0.001": 1.0, "0.01": 1.0, "0.05": 1.0},
        out_of_tolerance=0,
    )
    flips = Flips(
        working_point="background-0.01", threshold=3.5, decisions=64, flips=1, low=0.0027, high=0.083
    )
    return Agreement(
        bundle=model,
        engine=engine,
        version="1.0",
        events=64,
        passed=True,
        outputs=(output,),
        flips=(flips,),
    )


@pytest.fixture(scope="session")
def bench() -> Record:
    pairs = [(model, engine) for model in MODELS for engine in ENGINES]
    times = {"import_ns": 5e7, "open_ns": 2e8, "first_call_ns": 3e6, "second_call_ns": 1e6}
    return Record(
        created=CREATED,
        host=HOST,
        options={"engines": list(ENGINES), "batches": [1, 8, 64], "threads": 1},
        models=dict.fromkeys(MODELS, "ab" * 32),
        agreement=tuple(agreement(*pair) for pair in pairs),
        refused=("the engine torch cannot run this model",),
        roofline=Roofline(flops_per_second=1e11, bytes_per_second={"32000": 1e10}),
        latency=tuple(latency(*pair, batch) for pair in pairs for batch in (1, 8, 64)),
        memory=tuple(memory(*pair, batch) for pair in pairs for batch in (1, 64)),
        load=tuple(LoadRow(bundle=m, engine=e, processes=3, **times) for m, e in pairs),
        harness_ns=400.0,
    )


@pytest.fixture(scope="session")
def small(bench: Record) -> Record:
    """Return a record of one model on two engines, with few figures."""
    parts = {}
    for part in ("latency", "memory", "load", "agreement"):
        rows = [row for row in getattr(bench, part) if row.bundle == MODELS[0] and row.engine != "torch"]
        parts[part] = tuple(rows)
    return bench.model_copy(update=parts)


def discrimination(signal: str, variable: str, auc: float) -> Discrimination:
    return Discrimination(
        variable=variable,
        signal=signal,
        auc=Estimate(value=auc, error=0.01),
        signal_efficiency={
            "0.01": Estimate(value=auc / 4, error=0.01),
            "0.001": Estimate(value=auc / 20, error=0.02),
        },
        curve=tuple((float(x), float(x ** (1 - auc))) for x in np.geomspace(1e-3, 1, 30)),
    )


def evaluation_of(model: str) -> Evaluation:
    """Return an evaluation where the score is best on the first signal and worse than the jet mass on the second."""
    aucs = {"graviton-ww": (0.9, 0.8, 0.7, 0.6, 0.4, 0.5), "z-prime-tt": (0.7, 0.95, 0.705, 0.6, 0.4, 0.5)}
    rng = np.random.default_rng(3)
    samples = [
        Values(name, {v: rng.gamma(shape, 20, 500) for v in VARIABLES})
        for name, shape in (("background", 2.0), ("graviton-ww", 4.0), ("z-prime-tt", 6.0))
    ]
    facts = [SampleFacts(name=s.name, files=(f"{s.name}.root",), events=250, jets=500) for s in samples]
    return Evaluation(
        bundle=model,
        bundle_version="1",
        model_sha256="ab" * 32,
        engine="onnxruntime",
        created=CREATED,
        host=HOST,
        background=facts[0],
        signals=tuple(facts[1:]),
        figures=tuple(
            discrimination(signal, v, a)
            for signal, values in aucs.items()
            for v, a in zip(VARIABLES, values, strict=True)
        ),
        histograms=tuple(histogram(samples, v) for v in VARIABLES),
        working_points={"background-0.01": {"background": 0.0102, "graviton-ww": 0.225, "z-prime-tt": 0.17}},
    )


@pytest.fixture(scope="session")
def evaluation() -> Evaluation:
    return evaluation_of("conv-vae")


@pytest.fixture(scope="session")
def small_evaluation(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation of one signal with only the distribution of the score."""
    signal = evaluation.signals[0]
    figures = tuple(f for f in evaluation.figures if f.signal == signal.name)
    parts = {"signals": (signal,), "figures": figures, "histograms": evaluation.histograms[:1]}
    return evaluation.model_copy(update=parts)


@pytest.fixture(scope="session")
def curves() -> TrainingCurves:
    rows = [
        {"epoch": float(e)}
        | {
            f"{kind}_{part}": 10.0 / e
            for kind in ("train", "validation")
            for part in ("loss", "reconstruction", "kl")
        }
        for e in range(1, 6)
    ]
    return TrainingCurves(bundle="conv-vae", history=tuple(rows))


@pytest.fixture(scope="session")
def put() -> Callable[..., Path]:
    """Return a function that writes records as files of a folder."""

    def write(folder: Path, *records: Document) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for index, record in enumerate(records):
            (folder / f"record-{index}.json").write_text(record.model_dump_json(), encoding="utf-8")
        return folder

    return write


def detector(target: Path, name: str) -> Bundle:
    """Pack a detector whose score is the sum of the transverse momenta of a jet's constituents."""
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["jets", "start", "end", "axis"], ["pt"]),
            helper.make_node("ReduceSum", ["pt", "axes"], ["score"], keepdims=0),
        ],
        "sum",
        [helper.make_tensor_value_info("jets", TensorProto.FLOAT, ["N", 100, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        [
            numpy_helper.from_array(np.array(value, np.int64), key)
            for key, value in {"start": [2], "end": [3], "axis": [2], "axes": [1, 2]}.items()
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    point = WorkingPoint(
        name="background-0.01", threshold=3.5, background_efficiency=0.01, background="test jets"
    )
    return pack(
        proto,
        target,
        name=name,
        score="score",
        description="Sum of transverse momenta",
        features={"jets": "leading_jets"},
        units={"jets": "GeV"},
        working_points=[point],
        training={"seed": 7, "files": ["qcd_train.root"], "recipe": {"batch": 256}},
        extra={"training.json": '[{"epoch": 1.0, "train_loss": 2.0, "validation_loss": 2.5}]'},
    ).bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return detector(tmp_path_factory.mktemp("bundle") / "conv-vae.tamis", "conv-vae")


MENU = """
menu: first
thresholds: {tight: 50}
stages:
  sums: {define: {HT: sum(Jet_pt)}}
paths:
  met:
    steps: [HT > 20, "MET_pt > threshold('tight')"]
  busy: {steps: [HT > 100], prescale: 2}
streams:
  physics: {paths: [met, busy]}
histograms:
  HT: {of: HT, bins: 20, low: 0, high: 400}
"""


@pytest.fixture(scope="session")
def trigger(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSummary, RateRecord]:
    """Return the summary of a run of a small menu, and its rates on two samples."""
    folder = tmp_path_factory.mktemp("trigger")
    rng = np.random.default_rng(4)
    for number, (name, scale) in enumerate((("qcd", 20.0), ("top", 60.0))):
        jets = rng.integers(0, 6, 800)
        columns = {
            "run": np.full(800, number + 1, np.uint32),
            "luminosityBlock": np.ones(800, np.uint32),
            "event": np.arange(800, dtype=np.uint64),
            "MET_pt": rng.exponential(scale, 800).astype("f4"),
            "Jet_pt": ak.unflatten(rng.exponential(30, jets.sum()).astype("f4"), jets),
        }
        write_events(folder / f"{name}.parquet", Events.of(columns))
    (folder / "menu.yaml").write_text(MENU)
    (folder / "before.yaml").write_text(MENU.replace("sum(Jet_pt)", "sum(Jet_pt) + 0 * count(Jet_pt > 0)"))
    (folder / "samples.yaml").write_text(
        "samples:\n  qcd: {files: [qcd.parquet], cross_section_pb: 1}\n"
        "  top: {files: [top.parquet], cross_section_pb: 1, kind: signal}\n"
    )
    menu, samples = load_menu(folder / "menu.yaml"), load_samples(folder / "samples.yaml")
    summary = run_menu(menu, [folder / "qcd.parquet"], folder / "out", mode="event")
    rates = study_rates(menu, samples, input_hz=1e5, targets=["met=2kHz"], turn_ons=["met=MET_pt"])
    changed = compare_models(load_menu(folder / "before.yaml"), menu, samples, input_hz=1e5)
    return summary, rates.model_copy(update={"before": "before", "changed": tuple(changed)})


@pytest.fixture(scope="session")
def story() -> DemoRecord:
    """Return the record of a demo with two samples, two paths and two models."""
    sample = {"description": "collisions of one kind"}
    model = {
        "purpose": "a network",
        "signal": "z-prime-tt",
        "baseline": "jet mass",
        "measured_on": "these events",
    }
    better, worse = Estimate(value=0.9, error=0.01), Estimate(value=0.6, error=0.01)
    return DemoRecord(
        created=CREATED,
        host=HOST,
        menu="hlt",
        simulation="proton collisions from a test",
        budget_ms=100.0,
        input_hz=1e5,
        samples=(
            DemoSample(name="qcd", title="QCD", kind="background", events=300, accepted=12, paths={"met": 12, "top": 0}, **sample),
            DemoSample(name="z", title="Z' to top quarks", kind="signal", events=100, accepted=40, paths={"met": 0, "top": 40}, **sample),
        ),
        paths=(
            DemoPath(name="met", description="missing momentum", streams=("physics",), prescale=1),
            DemoPath(name="top", description="a jet like a top quark", streams=("physics",), prescale=1),
        ),
        rate=Rate(hz=4000.0, error_hz=1154.0, events=12),
        p50_ms=3.0,
        p99_ms=5.0,
        most_ms=7.0,
        time_edges_ms=(1.0, 2.0, 4.0, 8.0),
        time_counts=(10, 380, 10),
        models=(
            DemoModel(name="top", auc=better, baseline_auc=worse, verdict="better", **model),
            DemoModel(name="conv-vae", auc=worse, baseline_auc=better, verdict="worse", **model),
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def report(
    tmp_path_factory: pytest.TempPathFactory,
    put: Callable[..., Path],
    bench: Record,
    evaluation: Evaluation,
    curves: TrainingCurves,
    trigger: tuple[RunSummary, RateRecord],
) -> Path:
    """Return the page of a report with records of every kind."""
    folder = tmp_path_factory.mktemp("report")
    other = evaluation.model_copy(update={"bundle": "graph-vae"})
    records = put(folder / "records", bench, evaluation, other, curves, *trigger)
    return write_report([records], folder / "out")
