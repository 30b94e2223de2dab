"""The live page in a browser: alarms, acknowledgements, evidence, keys, lost connections, ten thousand blocks."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest
from tests.monitor.live.conftest import TOKEN, bad_blocks, copy_rows

from tamis.monitor.features import without_steps
from tamis.monitor.journal import Journal
from tamis.monitor.live import LiveServer, LiveSettings
from tamis.monitor.watch import lar_watch

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.browser
MANY = 10_000  # blocks
PATIENCE_MS = 15_000


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
def visit(browser):
    """Return a function that opens the page of a server; at the end, nothing may have gone wrong or to the outside."""
    pages, problems = [], []

    def opened(server, *, expected=(), **options):
        page = browser.new_page(**{"viewport": {"width": 1400, "height": 900}, **options})
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("console", lambda message: problems.append(message.text) if not any(one in message.text for one in expected) else None)  # fmt: skip
        page.on("request", lambda request: problems.append(request.url) if not request.url.startswith((server.address, "data:")) else None)  # fmt: skip
        page.goto(server.address)
        page.locator(".tile .state").first.wait_for()
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert problems == []


def feed(monitor, blocks):
    """Judge blocks; return those that are bad."""
    judged = [one for block in blocks for one in monitor.take(block)]
    return [one for one in judged if one.verdict.state == "bad"]


@pytest.fixture
def before_alarm(monitor, stream_features, judged_once):
    """A monitor that has judged all blocks before the first bad one, and the remaining blocks."""
    first = next(k for k, one in enumerate(stream_features) if one.key == bad_blocks(judged_once)[0])
    assert feed(monitor, stream_features[:first]) == []
    return monitor, stream_features[first:]


def test_an_alarm_appears_and_is_acknowledged(visit, before_alarm, tmp_path):
    monitor, blocks = before_alarm
    with LiveServer(tmp_path / "out", LiveSettings(0, token=TOKEN, stale_s=1e6)) as server:
        page = visit(server, expected=("401",))
        assert {one.get_attribute("data-state") for one in page.locator(".tile").all()} == {"good"}
        assert page.locator("#no-alarms").is_visible()
        start = time.monotonic()
        (bad,) = feed(monitor, blocks[:1])
        page.locator(".alarm").wait_for()
        assert time.monotonic() - start < 5  # a second, on a machine that does nothing else
        region = bad.explanation.region
        assert (
            page.locator(".tile", has=page.get_by_text(region, exact=True)).get_attribute("data-state")
            == "bad"
        )
        assert page.locator(".tile[data-state=bad] .state").inner_text().strip() == "bad"
        others = page.locator(".tile:not([data-state=bad])").all()
        assert len(others) == 3
        assert all("not the cause" in one.inner_text() for one in others)
        assert region in page.locator("#spoken").inner_text()
        assert page.title().startswith("(1) ")

        page.locator(".alarm").get_by_role("button", name=re.compile("^Acknowledge")).click()
        page.get_by_label("Your name").fill("A. Shifter")
        page.get_by_label("Comment").fill("seen <b>here</b>")
        page.get_by_label("Token").fill("not the token of this page")
        page.locator("#note-send").click()
        page.get_by_text("the token is missing or wrong").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.locator("#note-send").click()
        page.locator(".alarm.acknowledged").wait_for()
        assert "acknowledged by A. Shifter" in page.locator(".alarm").inner_text()
        assert "seen <b>here</b>" in page.locator(".alarm").inner_text()
        assert page.locator("#open-count").inner_text() == "0"
        assert TOKEN not in page.url
        page.get_by_label("not acknowledged").check()
        assert page.locator(".alarm").count() == 0
    notes = monitor.journal.notes(bad.verdict.key)
    assert [(one.person, one.action, one.text) for one in notes] == [
        ("A. Shifter", "acknowledge", "seen <b>here</b>")
    ]


@pytest.fixture
def tripped(monitor, stream_features, judged_once):
    """A monitor that has judged all blocks before a trip of the high voltage; a part of the block of the trip, and the remaining blocks."""
    journal = Journal(judged_once)
    trip = next(one for one in journal.alarms() if one.kinds[0] == "HVTRIP")
    journal.close()
    first = next(k for k, one in enumerate(stream_features) if one.key == (trip.run, trip.block))
    feed(monitor, stream_features[:first])
    whole = stream_features[first]
    begun = without_steps(whole, lar_watch(), whole.step > trip.second + 6)
    assert len(begun.step) < len(whole.step)
    return monitor, trip, begun, stream_features[first:]


def raise_alarms(monitor, server, block):
    """Look at a block that is not complete, as a monitor that follows a stream does."""
    alarms = monitor.look(block)
    for one in alarms:
        server.take_alarm(one)
    return alarms


def test_an_alarm_of_a_second_appears_before_its_block_is_complete(visit, tripped, tmp_path):
    monitor, trip, begun, blocks = tripped
    name = f"{trip.run}:{trip.block}"
    with LiveServer(tmp_path / "out", LiveSettings(0, token=TOKEN, stale_s=1e6)) as server:
        page = visit(server)
        entries = page.locator(".alarm").count()
        entry = page.locator(f'.alarm[data-alarm="{name}"]')
        start = time.monotonic()
        (alarm,) = raise_alarms(monitor, server, begun)
        entry.wait_for()
        assert time.monotonic() - start < 5  # a second, on a machine that does nothing else
        shown = entry.inner_text()
        for words in (
            f"block {trip.block}, second {trip.second}",
            "tau in EMBC up",
            "HVTRIP",
            "no verdict yet",
        ):
            assert words in shown
        tile = page.locator(".tile", has=page.get_by_text("EMBC", exact=True))
        assert tile.locator(".state").inner_text().strip() == "alarm"
        assert page.locator(".tile[data-state=alarm]").count() == 1
        assert f"second {trip.second}, tau in EMBC up" in page.locator("#spoken").inner_text()
        assert entry.get_by_role("button", name=re.compile("Acknowledge")).count() == 0
        entry.locator(".open").click()
        evidence = page.locator("#evidence")
        evidence.get_by_text("its evidence comes with the verdict").wait_for()
        page.keyboard.press("a")
        assert not page.locator("#note").is_visible()
        again = visit(server)  # a page that is opened later knows it too
        again.locator(f'.alarm.raised[data-alarm="{name}"]').wait_for()

        (bad,) = feed(monitor, blocks[:1])
        assert alarm.second == bad.alarms[0].second
        for one in (page, again):
            one.locator(f'.alarm:not(.raised)[data-alarm="{name}"]').wait_for()
            assert one.locator(".alarm").count() == entries + 1
            assert one.locator(".alarm.raised").count() == 0
            assert one.locator(".tile[data-state=alarm]").count() == 0
        assert f"seconds {trip.second}–{trip.last}" in entry.inner_text()
        assert page.locator("#spoken").inner_text().count("Alarm") == 1
        evidence.get_by_text("What moved most").wait_for()
        assert (
            evidence.locator("table.seconds tbody tr")
            .all_inner_texts()[0]
            .startswith(f"{trip.second}–{trip.last}")
        )
        feed(monitor, blocks[1:2])
        page.locator("#block", has_text=str(blocks[1].key[1])).wait_for()
        assert f"blocks {trip.block}–{trip.block + 1}, from second {trip.second}" in entry.inner_text()
        assert page.locator(".alarm").count() == entries + 1


def test_an_alarm_whose_block_is_good_goes(visit, tripped, stream_features, tmp_path):
    monitor, trip, begun, blocks = tripped
    good = replace(stream_features[blocks[0].key[1] - 3], key=blocks[0].key)
    with LiveServer(tmp_path / "out", LiveSettings(0, stale_s=1e6)) as server:
        page = visit(server)
        raise_alarms(monitor, server, begun)
        page.locator(".alarm.raised").wait_for()
        assert feed(monitor, [good]) == []
        page.locator(".alarm.raised").wait_for(state="detached")
        page.get_by_text(
            f"The alarm of run {trip.run}, block {trip.block} has gone: the block is good"
        ).wait_for(state="attached")
        assert page.locator(".tile[data-state=good]").count() == 4


def test_a_page_without_a_token_is_read_only(visit, judged):
    with LiveServer(judged, LiveSettings(0, stale_s=1e6)) as server:
        page = visit(server)
        page.locator(".alarm .open").first.click()
        page.get_by_text("This page is read-only").wait_for()
        assert page.get_by_role("button", name=re.compile("Acknowledge|Comment|Declare|Sign in")).count() == 0
        page.keyboard.press("Escape")
        page.keyboard.press("a")
        assert not page.locator("#note").is_visible()


def test_the_page_reconnects_and_catches_up(visit, before_alarm, tmp_path):
    monitor, blocks = before_alarm
    server = LiveServer(tmp_path / "out", LiveSettings(0, stale_s=1e6))
    page = visit(server, expected=("ERR_",))
    page.locator("#link[data-link=live]").wait_for()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    bad = feed(monitor, blocks[:2])
    page.locator("#block", has_text=str(blocks[1].key[1])).wait_for()
    server.close()
    page.locator("#link[data-link=lost]").wait_for()
    assert "this is not the state now" in page.locator("#banner").inner_text()
    assert page.evaluate("document.body.classList.contains('old')")
    count = len(monitor.journal.keys())
    feed(monitor, blocks[2:20])
    with LiveServer(tmp_path / "out", LiveSettings(urlsplit(server.address).port, stale_s=1e6)):
        page.locator("#link[data-link=live]").wait_for()
        page.locator("#block", has_text=str(blocks[19].key[1])).wait_for()
        assert f".{count}." in asked[-1]  # it has asked for those that it missed, not for all
        assert page.locator(".alarm").count() >= 1
        shown = page.evaluate("[...document.querySelectorAll('.alarm')].map((one) => one.dataset.alarm)")
        assert f"{bad[0].verdict.key[0]}:{bad[0].verdict.key[1]}" in shown
        assert not page.locator("#banner").is_visible()
        assert page.locator("#charts canvas").count() == 8


def test_a_page_without_new_blocks_is_stale(visit, judged):
    with LiveServer(judged, LiveSettings(0, stale_s=0.2)) as server:
        page = visit(server)
        page.locator("#link[data-link=stale]").wait_for()
        assert "no block for" in page.locator("#banner").inner_text()
        good = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--good')")
        rgb = page.evaluate("(colour) => { document.body.style.color = colour; return getComputedStyle(document.body).color; }", good)  # fmt: skip
        for state in page.locator(".tile .state").all():
            assert state.evaluate("(one) => getComputedStyle(one).color") != rgb


def test_what_was_not_judged_is_never_green(visit, monitor, stream_features, tmp_path):
    with LiveServer(tmp_path / "out", LiveSettings(0, stale_s=1e6)) as server:
        page = visit(server)
        feed(monitor, stream_features[:2])
        for changes, words in (
            ({"mode": 0}, "no beam"),
            ({"mode": 7}, "unknown mode"),
            ({"broken": 3}, "unscored"),
            ({"features": stream_features[2].features * np.nan}, "unscored"),
        ):
            run, number = max(monitor.journal.keys())
            key = (run, number + 1)
            feed(monitor, [replace(stream_features[2], key=key, **changes)])
            page.locator("#block", has_text=str(key[1])).wait_for()
            assert [one.inner_text().strip() for one in page.locator(".tile .state").all()] == [words] * 4
            assert page.locator(".tile[data-state=good]").count() == 0
            assert page.locator(".tile use").first.get_attribute("href") == f"#symbol-{words.replace(' ', '-')}"  # fmt: skip


def test_an_alarm_opens_its_evidence(visit, live, judged):
    page = visit(live)
    journal = Journal(judged)
    worst = max((one for one in journal.blocks() if one.state == "bad"), key=lambda one: one.score)
    journal.close()
    page.select_option("#range", "0")
    while page.locator("#more").is_visible():
        page.locator("#more").click()
    entry = page.locator(".alarm", has_text=worst.kinds[0]).first
    entry.locator(".open").click()
    evidence = page.get_by_role("dialog", name=re.compile(f"Run {worst.run}, block"))
    evidence.get_by_text("What moved most").wait_for()
    first = evidence.locator("table:not(.seconds) tbody tr").first.inner_text()
    assert first.startswith(f"{worst.region} {worst.quantity}")
    assert float(evidence.locator(".pull-bar i").first.evaluate("(one) => one.offsetWidth")) > 20
    assert worst.kinds[0] in evidence.inner_text()
    assert page.locator("#regions [aria-checked=true]").inner_text() == worst.region
    page.keyboard.press("Escape")
    assert evidence.is_hidden()
    assert entry.locator(".open").evaluate("(one) => one === document.activeElement")
    burst = page.locator(".alarm", has_text="burst in").first
    burst.locator(".open").click()
    assert "hot" in page.locator("#evidence canvas").get_attribute("aria-label")


def test_everything_can_be_done_with_keys(visit, live):
    page = visit(live)
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("Escape")
    page.locator("#help").wait_for(state="hidden")
    page.keyboard.press("ArrowDown")
    first = page.evaluate("document.activeElement.closest('li').dataset.alarm")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('li').dataset.alarm") != first
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.locator("#evidence h2:focus").wait_for()
    page.keyboard.press("Escape")
    page.locator("#evidence").wait_for(state="hidden")
    page.keyboard.press("a")
    page.locator("#note-person:focus").wait_for()
    page.keyboard.type("A. Shifter")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    page.locator(f'.alarm.acknowledged[data-alarm="{first}"]').wait_for()
    trend = page.get_by_role("slider", name="Block in the trend of the score")
    trend.focus()
    page.keyboard.press("End")
    last = trend.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowLeft")
    assert trend.get_attribute("aria-valuetext") != last
    page.keyboard.press("Shift+ArrowLeft")
    assert ", bad, " in trend.get_attribute("aria-valuetext")
    page.keyboard.press("2")
    assert page.locator("#regions [aria-checked=true]").inner_text() == "EMBA"
    theme = page.locator("html").get_attribute("data-theme")
    page.keyboard.press("t")
    assert page.locator("html").get_attribute("data-theme") != theme


def test_controls_have_names_and_colours_have_contrast(visit, live):
    for theme in ("light", "dark"):
        page = visit(live, color_scheme=theme)
        assert page.locator("html").get_attribute("data-theme") == theme
        page.locator("#charts .plot[aria-label]").first.wait_for()  # they are drawn
        unnamed = page.evaluate("""[...document.querySelectorAll('button, select, input, [role=img], [role=slider], dialog, aside')]
            .filter((one) => !(one.getAttribute('aria-label') || one.getAttribute('aria-labelledby') || one.textContent.trim() || one.closest('label'))).map((one) => one.outerHTML)""")
        assert unnamed == []
        contrasts = page.evaluate("""(() => {
            const style = getComputedStyle(document.documentElement);
            const part = (x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
            const light = (hex) => {
                const full = hex.trim().length === 4 ? hex.trim().replace(/[0-9a-f]/gi, '$&$&') : hex.trim();
                const [r, g, b] = [1, 3, 5].map((k) => part(parseInt(full.slice(k, k + 2), 16) / 255));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            const value = (name) => light(style.getPropertyValue('--' + name));
            return [['ink', 'page'], ['soft', 'card'], ['soft', 'page'], ['good', 'card'], ['bad', 'card'], ['bad', 'bad-tint'], ['soft', 'bad-tint'], ['none', 'card'], ['none', 'none-tint'],
                ['warn', 'warn-tint'], ['good', 'good-tint'], ['accent', 'tint'], ['card', 'accent']].map(([a, b]) => [a, b, ratio(value(a), value(b))]);
        })()""")
        assert [one for one in contrasts if one[2] < 4.5] == []


def test_a_narrow_window_does_not_scroll_sideways(visit, live):
    page = visit(live, viewport={"width": 390, "height": 800})
    page.locator("#charts canvas").nth(3).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(".alarm .open").first.click()
    page.locator("#evidence table").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture(scope="module")
def many(judged_once, tmp_path_factory):
    """A journal of ten thousand blocks, in many runs."""
    folder = shutil.copytree(judged_once, tmp_path_factory.mktemp("many") / "out")
    journal = Journal(folder)
    keys = journal.keys()
    journal.close()
    run = max(keys)[0]
    for copy in range(1, MANY // len(keys) + 1):
        copy_rows(folder, "run", copy, "run = ?", (run,))
    return folder


def test_ten_thousand_blocks_stay_smooth(visit, many):
    with LiveServer(many, LiveSettings(0, stale_s=1e6)) as server:
        page = visit(server)
        assert page.evaluate("performance.now()") < 10_000  # under 2 s on a machine that does nothing else
        page.select_option("#range", "0")
        page.locator("#charts canvas").nth(7).wait_for()
        shown = page.locator("#score-trend").evaluate("(one) => one.querySelector('canvas').getContext('2d').getImageData(0, 0, one.clientWidth, one.clientHeight).data.filter((x, k) => k % 4 === 3 && x > 0).length")  # fmt: skip
        assert shown > 3000  # pixels that are drawn
        box = page.locator("#score-trend canvas").bounding_box()
        times = page.evaluate("""async ([x, y, width]) => {
            const canvas = document.querySelector('#score-trend canvas');
            const times = [];
            for (let k = 0; k < 30; k++) {
                const start = performance.now();
                canvas.dispatchEvent(new PointerEvent('pointermove', { clientX: x + 80 + (k / 30) * (width - 120), clientY: y + 50 }));
                await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
                times.push(performance.now() - start);
            }
            return times;
        }""", [box["x"], box["y"], box["width"]])  # fmt: skip
        assert float(np.median(times)) < 500
        journal = Journal(many)
        run, block = max(journal.keys())
        journal.close()
        copy_rows(many, "block", 1, "run = ? AND block = ?", (run, block))
        page.locator("#block", has_text=str(block + 1)).wait_for()
