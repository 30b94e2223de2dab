"""Tables fit the terminal."""

from __future__ import annotations

import re

import pytest

from tamis.cli.output import column_lengths, fitting_columns, print_table

COLUMNS = ("part", "step", *(f"value{number}" for number in range(9)))
CELLS = [
    ["model", "anomaly", *["1234.5"] * 9],
    ["filter", "max(anomaly_score) > threshold('anomaly')", *["0.1"] * 9],
]


@pytest.mark.parametrize("width", [40, 80, 120, 400])
def test_parts_of_a_table_hold_every_column_once_and_repeat_the_keys(width):
    parts = fitting_columns(column_lengths(COLUMNS, CELLS, 2), 2, width)
    assert all(part[:2] == [0, 1] for part in parts)
    assert [index for part in parts for index in part[2:]] == list(range(2, 11))
    assert (len(parts) == 1) == (width == 400)


def test_table_without_rows_is_one_part():
    assert fitting_columns(column_lengths(("path", "events"), [], 1), 1, 80) == [[0, 1]]


def test_no_line_is_wider_than_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table("time", COLUMNS, CELLS, keys=2)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("1234.5") for line in lines) == 9


@pytest.mark.parametrize("width", [80, 90, 100, 120])
def test_the_last_column_is_whole_beside_key_columns_with_long_words(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    cells = [
        ["concurrent with computing", "any(missing(anomaly_score))", "74", "4172.6", "0.48", "7.2"],
        ["filter", "max(anomaly_score) > threshold('anomaly', 'background-0.01')", "74", "4.2", "0.0", "0.0"],
    ]
    print_table("time", ("part", "step", "events", "mean us", "total s", "% of the run"), cells, keys=2)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= width
    assert {line[-1] for line in lines[1:]} <= set("┓┃┩│┘")
    assert "% of the run" in "".join(lines)


@pytest.mark.parametrize("width", [20, 80, 100, 140])
def test_no_word_is_broken(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    identity = "355100:1234:18446744073709551615"
    print_table(
        "events",
        ("a long heading", "examples"),
        [(identity, "+1:2:3 -4:5:6"), ("two words", "12.5 ± 2.3 kHz")],
    )
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for whole in (identity, "+1:2:3 -4:5:6", "12.5 ± 2.3 kHz", "heading", "examples"):
        assert whole in out


@pytest.mark.parametrize(
    ("width", "wide", "shown"), [(80, False, False), (80, True, True), (300, False, True)]
)
def test_extra_columns_need_room_or_wide(width, wide, shown, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_table("time", COLUMNS, CELLS, keys=2, extra=COLUMNS[3:], wide=wide)
    out = capsys.readouterr().out
    assert ("value8" in out) == shown
    assert ("--wide" in out) == (not shown)
    assert "value0" in out
