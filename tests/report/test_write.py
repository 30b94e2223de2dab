from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tamis._base import DataError, UsageError
from tamis.cli import main
from tamis.report import write_report


def test_every_figure_is_written_as_png_and_pdf(report: Path) -> None:
    figures = report.parent / "figures"
    names = {path.stem for path in figures.iterdir()}
    expected = {
        f"{kind}-{model}" for kind in ("latency", "time-per-jet", "cold", "ratio") for model in MODELS
    }
    expected |= {f"{kind}-{model}" for kind in ("memory-batch", "memory-events", "score") for model in MODELS}
    expected |= {f"roc-{model}-{signal}" for model in MODELS for signal in ("graviton-ww", "z-prime-tt")}
    expected |= {f"figures-of-merit-{model}" for model in MODELS}
    expected |= {
        f"{kind}-first" for kind in ("time", "event-time", "filled-HT", "rates", "overlap", "changed")
    }
    expected |= {f"{kind}-met-first" for kind in ("threshold", "efficiency", "roc")} | {"turn-on-met-first-0"}
    expected |= {"jet-mass", "tau21", "multiplicity", "jet-pT", "loading", "agreement", "loss-conv-vae"}
    assert names == expected
    for name in names:
        png, pdf = ((figures / f"{name}.{suffix}").read_bytes() for suffix in ("png", "pdf"))
        assert png.startswith(b"\x89PNG")
        assert len(png) > 8000
        assert pdf.startswith(b"%PDF")
        assert len(pdf) > 5000


MODELS = ("conv-vae", "graph-vae")


def test_page_is_self_contained(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    outside = set(re.findall(r'(?:src|href)="([^"#]+)"', page)) - {"data:,"}
    assert all(re.fullmatch(r"figures/[\w+-]+\.(png|pdf)", link) for link in outside)
    assert all((report.parent / link).is_file() for link in outside)
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_ids_are_unique_and_references_resolve(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'xlink:href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert used
    assert used <= set(ids)


def test_numbers_of_the_records_are_in_the_tables(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    for text in (
        "0.9000 ± 0.0100",  # an AUC
        "0.0027 to 0.083",  # the interval of the flips
        "99.99 %",  # 0.99999 is not rounded up to 100 %
        "2026-01-02 03:04:05",
        "numpy 2.0",
        "not timed: the engine torch cannot run this model",
    ):
        assert text in page


def test_text_of_records_is_escaped(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    assert "Test CPU <1>" not in page
    assert "Test CPU &lt;1&gt;" in page
    assert "it uses &lt;Loop&gt;" in page


@pytest.mark.parametrize(
    ("kind", "tabs"),
    [
        ("small", ["latency", "memory", "loading", "agreement", "records"]),
        ("small_evaluation", ["physics", "records"]),
        ("curves", ["training", "records"]),
    ],
)
def test_page_of_records_of_one_kind(
    kind: str, tabs: list[str], tmp_path: Path, put, request: pytest.FixtureRequest
) -> None:
    page = write_report([put(tmp_path / "in", request.getfixturevalue(kind))], tmp_path / "out")
    assert re.findall(r'aria-controls="(\w+)"', page.read_text(encoding="utf-8")) == tabs


@pytest.mark.parametrize("only", ["latency", "memory", "load", "agreement"])
def test_bench_record_with_one_part_only(only: str, tmp_path: Path, put, small) -> None:
    others = {part: () for part in ("latency", "memory", "load", "agreement") if part != only}
    record = small.model_copy(update={**others, "roofline": None, "harness_ns": None})
    page = write_report([put(tmp_path / "in", record)], tmp_path / "out")
    tabs = re.findall(r'aria-controls="(\w+)"', page.read_text(encoding="utf-8"))
    assert tabs == ["loading" if only == "load" else only, "records"]


def test_rows_without_optional_values_are_drawn(tmp_path: Path, put, bench) -> None:
    """One batch size, no cold times, no ratio, and no floor, as from a model without a counted cost."""
    row = bench.latency[0].model_copy(update={"cold": None, "ratio": None, "floor_ns": None})
    record = bench.model_copy(update={"latency": (row,), "memory": bench.memory[:1], "load": bench.load[:1]})
    write_report([put(tmp_path / "in", record)], tmp_path / "out")
    names = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert {"latency-conv-vae", "time-per-jet-conv-vae"} <= names
    assert "cold-conv-vae" not in names


def test_figures_of_two_records_have_different_names(tmp_path: Path, put, small) -> None:
    one = small.model_copy(update={"latency": (), "memory": (), "agreement": ()})
    write_report([put(tmp_path / "in", one, one.model_copy(update={"load": one.load[:1]}))], tmp_path / "out")
    figures = tmp_path / "out" / "figures"
    assert {path.name for path in figures.glob("*.png")} == {"loading.png", "loading-1.png"}
    assert (figures / "loading.png").read_bytes() != (figures / "loading-1.png").read_bytes()


def test_record_found_twice_is_drawn_once(tmp_path: Path, put, curves) -> None:
    folder = put(tmp_path / "in", curves)
    page = write_report([folder, folder / "record-0.json"], tmp_path / "out")
    assert "1 record<" in page.read_text(encoding="utf-8")


def test_loss_curves_of_a_bundle_are_drawn(tmp_path: Path, bundle) -> None:
    (tmp_path / "empty").mkdir()
    write_report([tmp_path / "empty"], tmp_path / "out", bundles=[bundle])
    assert (tmp_path / "out" / "figures" / "loss-conv-vae.pdf").is_file()


def test_report_without_records_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"nothing to report: .*empty holds no record"):
        write_report([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(UsageError, match="no records at"):
        write_report([tmp_path / "nowhere"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ('{"kind": "bench", "created": "now"}', "malformed: field bench.host"),
        (
            '{"kind": "training", "bundle": "x", "history": [{"epoch": "one"}]}',
            "field training.history.0.epoch",
        ),
    ],
)
def test_malformed_record_is_rejected_with_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        write_report([tmp_path], tmp_path / "out")
    assert "bad.json" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_same_records_give_identical_files(tmp_path: Path, put, curves, report) -> None:
    folder = put(tmp_path / "in", curves)
    first = write_report([folder], tmp_path / "a").read_bytes()
    assert first == write_report([folder], tmp_path / "b").read_bytes()
    for suffix in ("png", "pdf"):
        one, two = (tmp_path / x / "figures" / f"loss-conv-vae.{suffix}" for x in "ab")
        assert one.read_bytes() == two.read_bytes()


def test_command_prints_the_paths_of_page_and_figures(tmp_path: Path, put, curves, capsys) -> None:
    folder = put(tmp_path / "in", curves)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(folder), "-o", str(tmp_path / "out"), "--json"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert '"page": "' + str(tmp_path / "out" / "index.html") in output
    assert "loss-conv-vae.pdf" in output


def test_import_of_the_package_loads_no_drawing_library() -> None:
    code = "import sys, tamis.report; print(*(m for m in ('matplotlib', 'mplhep', 'hist', 'jinja2') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
