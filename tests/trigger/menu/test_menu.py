"""Menus: reading, errors, the order of operations, and the schema for editors."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tamis._base import BundleError, DocumentError, UsageError
from tamis.trigger import Menu, compile_menu, load_menu, menu_of, menu_schema

GOOD = """\
menu: test
stages:
  objects:
    define:
      HT: sum(Jet_pt)
  busy:
    keep: HT > 100
  odd:
    bundle: conv-vae
paths:
  odd:
    steps:
      - busy
      - max(odd_score) > threshold('odd', 'background-0.01')
  loose:
    steps: [busy]
    prescale: 10
streams:
  all: {paths: [odd, loose]}
"""


def write(tmp_path, text):
    path = tmp_path / "menu.yaml"
    path.write_text(text)
    return path


def order(tmp_path, text):
    with compile_menu(load_menu(write(tmp_path, text))) as compiled:
        paths = compiled.program.paths
        return [(op.label, tuple(paths[i] for i in op.paths)) for op in compiled.program.operations]


def test_each_stage_runs_once_and_as_late_as_possible(tmp_path):
    found = order(tmp_path, GOOD)
    assert found == [
        ("objects", ("odd", "loose")),
        ("busy", ("odd", "loose")),
        ("busy", ("odd",)),
        ("busy", ("loose",)),
        ("leading_jets", ("odd",)),
        ("odd", ("odd",)),
        ("max(odd_score) > threshold('odd', 'background-0.01')", ("odd",)),
    ]


def test_two_models_share_a_feature(tmp_path):
    text = GOOD.replace(
        "paths:\n  odd:",
        "  graph: {bundle: graph-vae}\npaths:\n  graph:\n    steps: [max(graph_score) > 1]\n  odd:",
        1,
    )
    found = order(tmp_path, text.replace("[odd, loose]", "[odd, loose, graph]"))
    assert [label for label, _ in found].count("leading_jets") == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("menu: test", "menu: test\nstage: {}", r"field stage \(line 2, column 1\): unknown field; did you mean 'stages'"),
        ("prescale: 10", "prescale: 0", r"field paths.loose.prescale \(line 17, column 5\).*not 0"),
        ("prescale: 10", "budget: 5", r"paths.loose.budget \(line 17, column 5\).*a time needs its unit: 50us, 100ms, 2s"),
        ("keep: HT > 100", "kep: HT > 100", r"stages.busy.kep \(line 7, column 5\): unknown field; did you mean 'keep'"),
        ("      - busy\n", "      - bsy\n", r"paths.odd.steps.0 \(line 13, column 9\): there is no stage 'bsy'; did you mean 'busy'"),
        ("HT > 100", "HT > > 100", r"stages.busy \(line 6, column 3\): the expression 'HT > > 100' is not valid"),
        ("sum(Jet_pt)", "summ(Jet_pt)", r"stages.objects.define.HT \(line 5, column 7\).*there is no function 'summ'; did you mean 'sum'"),
        ("'background-0.01'", "'background-0.02'", r"paths.odd.steps.1.*no working point 'background-0.02'; did you mean"),
        ("[odd, loose]", "[odd, lose]", r"streams.all.paths.1 \(line 19, column 22\): there is no path 'lose'; did you mean 'loose'"),
        ("[odd, loose]", "[odd]", r"field paths.loose \(line 15, column 3\): no stream has this path"),
        ("steps: [busy]", "steps: [objects]", r"paths.loose.steps.*none of its steps is a condition"),
        ("    keep: HT > 100", "    keep: HT > 100\n    bundle: x", r"a stage must have exactly one of define, keep, bundle, python, tracking; this one has"),
        ("      HT: sum(Jet_pt)", "      HT: sum(Jet_pt)\n      busy: HT", r"the stage 'busy' already adds the column 'busy'|adds the column 'busy'"),
        ("sum(Jet_pt)", "busy + 1", r"the stages .*objects.* depend on each other"),
    ],
)  # fmt: skip
def test_errors_give_line_column_and_close_matches(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(DocumentError, match=message):
        order(tmp_path, GOOD.replace(old, new, 1))


def test_other_errors_keep_their_class_and_name_the_field(tmp_path):
    with pytest.raises(
        BundleError, match=r"field stages.odd \(line 8, column 3\): there is no bundle .*conv-vea"
    ):
        order(tmp_path, GOOD.replace("bundle: conv-vae", "bundle: conv-vea"))
    with pytest.raises(UsageError, match=r"there is no menu .*menus.yaml'; did you mean 'menu.yaml'"):
        load_menu(tmp_path / "menus.yaml")


def test_python_stages_are_found_beside_the_menu(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from tamis.trigger import stage\n\n@stage(reads=['MET_pt'], adds=['double'])\ndef twice(events):\n    return {'double': 2 * events['MET_pt']}\n\ndef plain(events):\n    return {}\n"
    )
    text = "menu: m\nstages:\n  mine: {python: 'mine.py:NAME'}\npaths:\n  p: {steps: [double > 3]}\nstreams:\n  s: {paths: [p]}\n"
    assert order(tmp_path, text.replace("NAME", "twice"))[0] == ("mine", ("p",))
    assert order(tmp_path, text.replace("mine.py:NAME", "mine:twice"))[0] == ("mine", ("p",))
    for name, message in (
        ("twise", "no stage 'twise'; did you mean 'twice'"),
        ("plain", "'plain', but without @stage"),
    ):
        with pytest.raises(DocumentError, match=message):
            order(tmp_path, text.replace("NAME", name))
    (tmp_path / "mine.py").write_text("1 / 0\n")
    with pytest.raises(DocumentError, match="cannot be imported: ZeroDivisionError"):
        order(tmp_path, text.replace("NAME", "twice"))


def test_the_schema_has_all_fields_of_the_menu():
    schema = menu_schema()
    assert set(schema["properties"]) == set(Menu.model_fields)
    assert schema["$defs"]["PathSpec"]["properties"]["prescale"]["minimum"] == 1
    printed = subprocess.run(
        [sys.executable, "-m", "tamis", "menu", "--schema"], capture_output=True, check=True
    ).stdout
    assert json.loads(printed) == json.loads(json.dumps(schema))


def test_a_menu_built_in_code_equals_the_file(tmp_path):
    read = load_menu(write(tmp_path, GOOD)).menu
    built = Menu.model_validate(read.model_dump())
    assert built == read
    with compile_menu(menu_of(built)) as compiled:
        assert compiled.program.prescales == (1, 10)


def test_the_command_prints_the_operations(tmp_path):
    path = write(tmp_path, GOOD)
    printed = subprocess.run(
        [sys.executable, "-m", "tamis", "menu", str(path), "--json"], capture_output=True, check=True
    ).stdout
    assert [entry["step"] for entry in json.loads(printed)["operations"]][:2] == ["objects", "busy"]
    failed = subprocess.run([sys.executable, "-m", "tamis", "menu"], capture_output=True, check=False)
    assert failed.returncode == 2
    assert b"name a menu, or use --schema" in failed.stderr
