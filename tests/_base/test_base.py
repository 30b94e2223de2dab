from __future__ import annotations

import os

import pytest
from pydantic import Field

from tamis._base import (
    Document,
    DocumentError,
    MissingExtraError,
    UsageError,
    atomic_path,
    did_you_mean,
    host_facts,
    human_bytes,
    parse_document,
    progress,
    registry,
    require,
    sha256,
    write_text,
)


def test_did_you_mean_suggests_close_matches():
    assert did_you_mean("opnvino", ["openvino", "torch"]) == "did you mean 'openvino'?"
    assert did_you_mean("PT", ["FatJet_pt", "x"]) == "did you mean 'FatJet_pt'?"
    assert did_you_mean("zzz", ["a", "b"]) == "known: a, b"
    assert did_you_mean("zzz", [str(i) for i in range(50)]) == ""


def test_atomic_path_writes_a_whole_file_or_none(tmp_path):
    target = tmp_path / "deep" / "er" / "a.txt"
    write_text(target, "one")

    def write_half():
        with atomic_path(target) as part:
            part.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert target.read_text() == "one"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]
    with pytest.raises(UsageError, match="is not a folder"), atomic_path(target / "below"):
        pass
    assert sha256(target) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"


@pytest.mark.parametrize("exchange", [True, False])
def test_atomic_path_replaces_a_folder(tmp_path, monkeypatch, exchange):
    target = tmp_path / "b"
    if not exchange:  # as on a file system without RENAME_EXCHANGE
        monkeypatch.setattr("tamis._base.files._exchange", lambda *_: False)
    for text in ("one", "two"):
        with atomic_path(target) as part:
            part.mkdir()
            (part / "x").write_text(text)
    assert (target / "x").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]

    def write_half():
        with atomic_path(target) as part:
            part.mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_folder_exists_at_all_times_while_it_is_replaced(tmp_path, monkeypatch):
    target, seen = tmp_path / "b", []
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (rename(a, b), seen.append(target.exists())))
    for text in ("one", "two"):
        with atomic_path(target) as part:
            part.mkdir()
            (part / "x").write_text(text)
    assert (target / "x").read_text() == "two"
    assert seen == [True]  # only the first write renames; the second exchanges the two names


def test_a_link_to_a_folder_is_replaced_by_a_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "b"
    target.symlink_to(tmp_path / "elsewhere")
    with atomic_path(target) as part:
        part.mkdir()
    assert target.is_dir()
    assert not target.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "elsewhere"]


def test_human_bytes_uses_decimal_units():
    assert [human_bytes(n) for n in (0, 999, 1500, 2e6, 3e9, 4e12)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.0 MB",
        "3.0 GB",
        "4.0 TB",
    ]


def test_host_facts_describe_this_host():
    facts = host_facts()
    assert facts.cores >= 1
    assert facts.memory_bytes > 1e8
    assert {"numpy", "onnxruntime"} <= set(facts.versions)
    assert facts is host_facts()


def test_missing_plug_ins_and_extras_raise_an_error_that_says_what_to_install(monkeypatch):
    with pytest.raises(
        MissingExtraError,
        match=r"nothere, which is needed for tea, is not installed: pip install 'tamis\[plot\]'",
    ):
        require("nothere", extra="plot", purpose="tea")
    with pytest.raises(UsageError, match="no engine is called 'x'"):
        registry.load("tamis.engines", "x", "engine")
    from importlib.metadata import EntryPoint

    point = EntryPoint("broken", "nothere:Engine", "tamis.engines")
    monkeypatch.setattr(registry, "_points", lambda group: {point.name: point})
    with pytest.raises(
        MissingExtraError, match=r"the engine broken .*cannot be imported: No module named 'nothere'"
    ):
        registry.load("tamis.engines", "broken", "engine")


def test_progress_is_silent_in_a_pipe(capsys):
    with progress("work", 3, "steps") as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")


class Inner(Document):
    width: int = Field(ge=1)


class Outer(Document):
    name: str
    parts: tuple[Inner, ...] = ()
    limit: float = 0.0


def test_documents_are_json_or_yaml():
    expected = Outer(name="a", parts=(Inner(width=2),))
    assert parse_document('{"name": "a", "parts": [{"width": 2}]}', Outer, "x") == expected
    assert parse_document("name: a\nparts:\n- width: 2\n", Outer, "x") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nparts:\n- width: 0\n", r"x: field parts.0.width \(line 3, column \d+\): .*not 0"),
        (
            "name: a\nparts:\n- widht: 1\n",
            r"field parts.0.widht \(line 3, column \d+\): unknown field; did you mean 'width'",
        ),
        ("name: [a\n", "x, line 2, column 1: not a well-formed document"),
        ("a: &a [1]\nname: *a\n", "aliases are not allowed"),
        ("- " * 200 + "x", "nested too deeply"),
        ("3", "x: the document .*expected a mapping, not 3"),
        (f"name: {{a: {'x' * 500}}}", "field name"),
        (f'{{"name": "a", "limit": "{"x" * 500}"}}', r"x\.\.\."),
    ],
)
def test_document_errors_give_field_and_line(text, message):
    with pytest.raises(DocumentError, match=message):
        parse_document(text, Outer, "x")


def test_infinities_survive_json():
    document = Outer(name="a", limit=float("-inf"))
    assert Outer.model_validate_json(document.model_dump_json()) == document
