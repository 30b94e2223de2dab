"""The generated reference: every field of a menu and of a manifest is explained, and tables hold what the code has."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from tamis.bundle import Manifest
from tamis.cli.app import COMMANDS
from tamis.trigger import Menu

HOOK = Path(__file__).parents[2] / "tools" / "docs_hook.py"


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("docs_hook", HOOK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documents(kind: object) -> Iterator[type[BaseModel]]:
    """Yield a document and the documents in its fields."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
        for info in kind.model_fields.values():
            yield from documents(info.annotation)
    for argument in get_args(kind):
        yield from documents(argument)


@pytest.mark.parametrize("root", [Menu, Manifest], ids=lambda kind: kind.__name__)
def test_every_field_has_a_description(root):
    fields = [(kind, name, info) for kind in documents(root) for name, info in kind.model_fields.items()]
    assert len(fields) > 20
    assert not [f"{kind.__name__}.{name}" for kind, name, info in fields if not info.description]


def test_page_of_the_menu_lists_fields_of_nested_documents(hook):
    page = hook.on_page_markdown("{{ fields tamis.trigger.Menu }}")
    for text in ("`micro_batch`", "### StreamSpec", "`prescale`", "one event in this many"):
        assert text in page


def test_page_of_the_commands_lists_every_command_and_option(hook):
    page = hook.on_page_markdown("{{ commands }}")
    for name in COMMANDS:
        assert f"## {name}\n" in page
    assert "`--resume`" in page
    assert "### models show\n" in page


def test_page_of_the_exit_codes_follows_the_exception_tree(hook):
    page = hook.on_page_markdown("{{ exit_codes }}")
    assert "`VerificationError` | 7" in page


def test_page_of_the_triton_configuration_says_what_is_rejected(hook):
    page = hook.on_page_markdown("{{ triton_config }}")
    assert "`ensemble_scheduling`" in page
    assert "rejected:" in page


def test_page_of_the_formats_tells_what_runs_where(hook):
    header, _, *rows = hook.on_page_markdown("{{ formats }}").splitlines()
    formats = [cell.strip() for cell in header.strip("|").split("|")]
    cells = {row.split("|")[1].strip(): [c.strip() for c in row.strip("|").split("|")] for row in rows}
    assert cells["`conv-vae`"][formats.index("PFNano")] == "yes"
    assert cells["`conv-vae`"][formats.index("NanoAOD v15")] == "yes"
    assert cells["`conv-vae`"][formats.index("Delphes")] == "yes, by distance"
    assert cells["`conv-vae`"][formats.index("NanoAOD v9")].startswith("no ")
    assert cells["`topology-hlf`"][formats.index("NanoAOD v12")] == "yes"
    assert "charge(PFCand_pdgId)" in hook.on_page_markdown("{{ format_aliases }}")
    assert "`divide(A, B)`" in hook.on_page_markdown("{{ alias_functions }}")


def test_text_without_directives_stays(hook):
    assert hook.on_page_markdown("a {{ field }} in a sentence") == "a {{ field }} in a sentence"
