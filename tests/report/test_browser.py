from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian package chromium)")
    with playwright.sync_playwright() as runner:
        opened = runner.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def seen(browser, report: Path) -> Iterator[SimpleNamespace]:
    """Open the report, and note what it says and asks for; afterwards nothing may have gone wrong."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    page.on(
        "request", lambda request: troubles.append(request.url) if request.url != report.as_uri() else None
    )
    page.goto(report.as_uri())
    yield SimpleNamespace(page=page)
    assert [trouble for trouble in troubles if not trouble.startswith("data:")] == []
    page.close()


def test_every_tab_shows_its_section_and_no_other(seen) -> None:
    tabs = seen.page.locator("[role=tab]")
    assert tabs.all_inner_texts() == [
        "Trigger",
        "Rates",
        "Latency",
        "Memory",
        "Loading",
        "Agreement",
        "Physics",
        "Training",
        "Records",
    ]
    for tab in tabs.all():
        tab.click()
        assert tab.get_attribute("aria-selected") == "true"
        shown = [s.get_attribute("id") for s in seen.page.locator("section").all() if s.is_visible()]
        assert shown == [tab.get_attribute("aria-controls")]


def test_the_keyboard_moves_between_tabs(seen) -> None:
    seen.page.locator("[role=tab]").first.focus()
    seen.page.keyboard.press("ArrowRight")
    assert seen.page.locator("#rates").is_visible()
    seen.page.keyboard.press("End")
    assert seen.page.locator("#records").is_visible()


def test_the_trigger_tells_paths_streams_and_times(seen) -> None:
    texts = " ".join(seen.page.locator("#trigger table").all_text_contents())
    for word in ("met", "busy", "physics", "HT", "writing", "framework"):
        assert word in texts
    seen.page.locator("[role=tab]", has_text="Rates").click()
    titles = seen.page.locator("#rates figure").all_inner_texts()
    for word in ("rates", "overlap", "ROC", "turn-on", "rate against threshold", "gained and lost"):
        assert any(word in title for title in titles), (word, titles)


def test_a_table_sorts_by_number_both_ways(seen) -> None:
    seen.page.locator("[role=tab]", has_text="Latency").click()
    table = seen.page.locator("#latency table").first
    column = table.locator("th").all_inner_texts()
    place = next(i for i, text in enumerate(column) if text.startswith("p50")) + 1

    head = table.locator("th button").nth(place - 1)

    def values() -> list[float]:
        return [float(text) for text in table.locator(f"tbody td:nth-child({place})").all_inner_texts()]

    before = values()
    head.click()
    assert values() == sorted(before) != before
    head.click()
    assert values() == sorted(before, reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1


def test_the_filter_leaves_one_model(seen) -> None:
    seen.page.locator("[role=tab]", has_text="Latency").click()
    seen.page.get_by_label("Model").select_option("graph-vae")
    shown = {
        f.get_attribute("data-model") for f in seen.page.locator("#latency figure").all() if f.is_visible()
    }
    assert shown == {"graph-vae"}
    models = {
        row.locator("td").first.inner_text()
        for row in seen.page.locator("#latency tbody tr").all()
        if row.is_visible()
    }
    assert models == {"graph-vae"}


def test_every_figure_is_drawn_and_told_in_words(seen) -> None:
    figures = 0
    for tab in seen.page.locator("[role=tab]").all():
        tab.click()
        for figure in seen.page.locator("figure:visible").all():
            figures += 1
            box = figure.locator("svg").bounding_box()
            assert box["width"] > 300
            assert box["height"] > 100
            assert len(figure.get_by_role("img").first.get_attribute("aria-label")) > 40
    assert figures


def test_a_narrow_window_does_not_scroll_sideways(seen) -> None:
    seen.page.set_viewport_size({"width": 390, "height": 800})
    tabs = seen.page.locator("[role=tab]").all()
    assert tabs
    for tab in tabs:
        tab.click()
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
