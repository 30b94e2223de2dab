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
def opened_report(browser, report: Path) -> Iterator[SimpleNamespace]:
    """Open the report; fail at the end if there were console messages, errors or requests to the outside."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on(
        "request", lambda request: problems.append(request.url) if request.url != report.as_uri() else None
    )
    page.goto(report.as_uri())
    yield SimpleNamespace(page=page)
    assert [problem for problem in problems if not problem.startswith("data:")] == []
    page.close()


def test_each_tab_shows_only_its_section(opened_report) -> None:
    tabs = opened_report.page.locator("[role=tab]")
    assert tabs.all_inner_texts() == [
        "Rates",
        "Physics",
        "Trigger",
        "Latency",
        "Memory",
        "Loading",
        "Agreement",
        "Training",
        "Records",
    ]
    for tab in tabs.all():
        tab.click()
        assert tab.get_attribute("aria-selected") == "true"
        shown = [s.get_attribute("id") for s in opened_report.page.locator("section").all() if s.is_visible()]
        assert shown == [tab.get_attribute("aria-controls")]


def test_arrow_keys_move_between_tabs(opened_report) -> None:
    opened_report.page.locator("[role=tab]").first.focus()
    opened_report.page.keyboard.press("ArrowRight")
    assert opened_report.page.locator("#physics").is_visible()
    opened_report.page.keyboard.press("End")
    assert opened_report.page.locator("#records").is_visible()


def test_link_to_a_tab_opens_it_at_its_top(browser, report) -> None:
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.goto(f"{report.as_uri()}#latency")
    page.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 200))")
    assert page.locator("#latency").is_visible()
    assert not page.locator("#rates").is_visible()
    heading = page.locator("#latency h2").bounding_box()
    header = page.locator("header").bounding_box()
    assert heading["y"] >= header["y"] + header["height"]
    page.evaluate("location.hash = '#physics'")
    page.locator("#physics").wait_for(state="visible")
    page.locator("[role=tab]", has_text="Memory").click()
    assert page.url == f"{report.as_uri()}#memory"
    page.close()


def test_no_table_names_the_engine_that_does_no_work(opened_report) -> None:
    assert "null" not in opened_report.page.locator("#latency table").first.text_content()


def test_trigger_section_shows_paths_streams_and_times(opened_report) -> None:
    opened_report.page.locator("[role=tab]", has_text="Trigger").click()
    texts = " ".join(opened_report.page.locator("#trigger table").all_text_contents())
    for word in ("met", "busy", "physics", "writing", "framework", "seconds per run", "joining streams"):
        assert word in texts
    opened_report.page.locator("[role=tab]", has_text="Rates").click()
    titles = opened_report.page.locator("#rates figure").all_inner_texts()
    for word in ("rates", "overlap", "ROC", "turn-on", "rate against threshold", "gained and lost"):
        assert any(word in title for title in titles), (word, titles)


def test_table_sorts_by_number_in_both_directions(opened_report) -> None:
    opened_report.page.locator("[role=tab]", has_text="Latency").click()
    table = opened_report.page.locator("#latency table").first
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


def test_filter_shows_one_model(opened_report) -> None:
    opened_report.page.locator("[role=tab]", has_text="Latency").click()
    opened_report.page.get_by_label("Model").select_option("graph-vae")
    shown = {
        f.get_attribute("data-model")
        for f in opened_report.page.locator("#latency figure").all()
        if f.is_visible()
    }
    assert shown == {"graph-vae"}
    models = {
        row.locator("td").first.inner_text()
        for row in opened_report.page.locator("#latency tbody tr").all()
        if row.is_visible()
    }
    assert models == {"graph-vae"}


def test_every_figure_is_drawn_and_has_alternative_text(opened_report) -> None:
    figures = 0
    for tab in opened_report.page.locator("[role=tab]").all():
        tab.click()
        for figure in opened_report.page.locator("figure:visible").all():
            figures += 1
            box = figure.locator("svg").bounding_box()
            assert box["width"] > 300
            assert box["height"] > 100
            assert len(figure.get_by_role("img").first.get_attribute("aria-label")) > 40
    assert figures


def test_narrow_window_does_not_scroll_sideways(opened_report) -> None:
    opened_report.page.set_viewport_size({"width": 390, "height": 800})
    tabs = opened_report.page.locator("[role=tab]").all()
    assert tabs
    for tab in tabs:
        tab.click()
        assert opened_report.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
