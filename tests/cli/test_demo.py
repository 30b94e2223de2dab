from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from tamis.bundle import Bundle, pack
from tamis.cli import main
from tamis.records import DemoRecord


@pytest.fixture
def detector(tmp_path: Path) -> Bundle:
    """Pack a detector whose score is the highest transverse momentum in a jet."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMax", ["jets"], ["score"], axes=[1, 2], keepdims=0)],
        "highest",
        [helper.make_tensor_value_info("jets", TensorProto.FLOAT, ["N", 100, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    features = {"jets": "leading_jets"}
    return pack(proto, tmp_path / "highest.tamis", name="highest", score="score", features=features).bundle


@pytest.mark.slow
def test_the_demo_runs_from_collisions_to_a_report(tmp_path: Path, detector: Bundle, capsys) -> None:
    pytest.importorskip("pythia8mc", reason="pythia8mc is not installed")
    output = tmp_path / "demo"
    arguments = ["demo", "-o", str(output), "--events", "50", "--bundle", str(detector.path), "--json"]
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert Path(result["page"]) == output / "index.html"
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "roc-highest-z-prime-tt" in page
    (record,) = (output / "records").glob("demo-*.json")
    story = DemoRecord.model_validate_json(record.read_text(encoding="utf-8"))
    assert [(sample.name, sample.events) for sample in story.samples] == [("qcd", 50), ("z-prime-tt", 20)]
    assert sum(sample.accepted for sample in story.samples) == result["trigger"]["counts"]["accepted"]
    for path, events in result["trigger"]["counts"]["paths"].items():
        assert sum(sample.paths[path] for sample in story.samples) == events
    assert sum(story.time_counts) == 70
    assert story.p50_ms <= story.p99_ms <= story.most_ms
    assert [model.name for model in story.models] == ["highest", "conv-vae", "top", "tau"]
    assert story.unmeasured == ("topology-both",)
    assert "What was simulated" in page
    assert set(result["times_ms"]) == {"simulation", "features", "scoring, highest"}
    assert all(ms > 0 for ms in result["times_ms"].values())
    best = result["most_anomalous"]["highest"]
    assert [row["score"] for row in best] == sorted((row["score"] for row in best), reverse=True)
    for row in best:  # both samples number their events from one: the process must be that of the file
        table = pq.read_table(output / f"scores-highest-{row['process']}.parquet").to_pylist()
        same = [r for r in table if (r["event"], r["jet"]) == (row["event"], row["jet"])]
        assert [r["score"] for r in same] == [row["score"]]
    kinds = sorted(path.stem.split("-")[0] for path in (output / "records").iterdir())
    assert kinds == ["bench", "demo", "evaluation"]


@pytest.mark.parametrize(("engine", "message"), [("null", "does no work"), ("onnxruntim", "onnxruntime")])
def test_wrong_options_are_reported_before_the_simulation(
    engine: str, message: str, tmp_path: Path, detector: Bundle, capsys
) -> None:
    arguments = ["demo", "-o", str(tmp_path / "demo"), "--engine", engine, "--bundle", str(detector.path)]
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code not in (0, 70)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
