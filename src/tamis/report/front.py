"""Figures and table of a front: what each cheaper model loses against operations, LUTs and the measured time of an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tamis.records import FrontPoint, FrontRecord, LostFigure, ModelCost
from tamis.report.canvas import INK, MARKERS, MUTED, colour, label, new_figure, plain_log
from tamis.report.content import Cell, PageTable, Picture, Row, Section, number, words

WORSE_IF_LARGER = ("flips", "error", "background")
Axis = Callable[[ModelCost], float | None]


def front_section(record: FrontRecord, suffix: str = "") -> Section:
    """Return the section of a front."""
    axes: list[tuple[str, str, Axis]] = [
        ("operations", "operations per event", lambda cost: float(cost.operations)),
        ("lut", "LUTs (estimate)", lambda cost: cost.lut),
        *(
            (f"time-{engine}", f"{engine}: time of an event [us]", _time(engine))
            for engine in record.parent_cost.event_ns
        ),
    ]
    drawn = [_picture(record, name, title, axis, suffix) for name, title, axis in axes]
    intro = (
        f"Cheaper models of {record.parent} on {record.rows} events that were used neither in training nor for the choice. Bars are intervals at 95 %. "
        f"Times are medians of single calls with bound arrays, in turn, on {record.host.cpu}; LUTs are estimates, which `tamis firmware --synthesis` replaces by counts."
    )
    return Section("front", "Front", intro, tuple(picture for picture in drawn if picture), (_table(record),))


def _time(engine: str) -> Axis:
    def time(cost: ModelCost) -> float | None:
        found = cost.event_ns.get(engine)
        return None if found is None else found / 1e3

    return time


def _lost(quantity: str, figure: LostFigure) -> tuple[float, float, float]:
    """Return what is lost to the parent, with its interval; of a quantity that it has none of, what is missing to 1."""
    if quantity.partition("(")[0] in WORSE_IF_LARGER:
        best = figure.parent or 0.0
        return figure.value - best, figure.low - best, figure.high - best
    best = 1.0 if figure.parent is None else figure.parent
    return best - figure.value, best - figure.high, best - figure.low


def _picture(record: FrontRecord, name: str, title: str, axis: Axis, suffix: str) -> Picture | None:
    points = [(point, axis(point.cost)) for point in record.points]
    known = [(point, x) for point, x in points if x]
    if len(known) < 2:
        return None
    figure, axes = new_figure()
    scale = 1.0 if record.quantity.startswith("error") else 100.0
    lost = [
        [scale * value for value in _lost(record.quantity, point.figures[record.quantity])]
        for point, _ in known
    ]
    places = [x for _, x in known]
    axes.plot(places, [value for value, _, _ in lost], color=colour(0), linewidth=1.2, zorder=1)
    for met in (True, False):
        chosen = [i for i, (point, _) in enumerate(known) if point.met == met]
        if chosen:
            _markers(
                axes,
                [places[i] for i in chosen],
                [lost[i] for i in chosen],
                met=met,
                named=bool(record.target),
            )
    of_parent = axis(record.parent_cost)
    if of_parent:
        axes.plot(
            [of_parent],
            [0.0],
            marker=MARKERS[3],
            color=INK,
            linestyle="none",
            label=f"parent, {record.parent}",
        )
    axes.axhline(0.0, color=MUTED, linestyle=":", linewidth=1.0)
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlabel(title)
    axes.set_ylabel(_lost_title(record.quantity))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))
    axes.legend(loc="upper right")
    label(axes, record.parent, f"{record.rows} events")
    ends = f"{lost[0][0]:.3g} at {places[0]:.3g} to {lost[-1][0]:.3g} at {places[-1]:.3g}"
    return Picture(
        f"front-{name}{suffix}",
        f"lost against {title}",
        f"{_lost_title(record.quantity)}: {ends} {title}",
        figure,
    )


def _markers(
    axes: Any, places: Sequence[float], lost: Sequence[Sequence[float]], *, met: bool, named: bool
) -> None:
    """Draw models: filled markers, or open ones where the target is missed."""
    errors = [[value - low for value, low, _ in lost], [high - value for value, _, high in lost]]
    text = "cheaper models" if not named else "target met" if met else "target missed"
    axes.errorbar(
        places, [value for value, _, _ in lost], yerr=errors, marker=MARKERS[0], color=colour(0 if met else 1),
        mfc=None if met else "white", linestyle="none", capsize=2, label=text,
    )  # fmt: skip


def _lost_title(quantity: str) -> str:
    kind, _, rest = quantity.partition("(")
    of = f" at {rest.rstrip(')')}" if rest else ""
    if kind == "flips":
        return f"decisions that differ{of} [%]"
    if kind == "background":
        return f"more background at the parent's efficiency{of} [%]"
    if kind == "error":
        return "error of the score [its spread]"
    return f"{kind} lost{f' ({rest}' if rest else ''} [%]"


def _table(record: FrontRecord) -> PageTable:
    names = list(record.points[0].figures)
    engines = list(record.parent_cost.event_ns)
    columns = (
        "model",
        *names,
        "operations",
        "EBOPs",
        "weights [bytes]",
        "LUT",
        "cycles",
        *(f"{engine} [us]" for engine in engines),
    )
    before = record.points[0].figures
    rows = [
        Row(
            (
                words(record.parent),
                *(number(before[name].parent, ".4f") for name in names),
                *_costs(record.parent_cost, engines),
            )
        )
    ]
    rows += [
        Row(
            (words(point.bundle), *(_cell(point, name) for name in names), *_costs(point.cost, engines)),
            mark=("good" if point.met else "bad") if record.target else "",
        )
        for point in record.points
    ]
    notes = [f"{record.created[:19].replace('T', ' ')} UTC"]
    if record.target:
        notes.append(f"target: {record.target}")
    if record.points[0].cost.lut_source:
        notes.append(f"LUT: from {record.points[0].cost.lut_source}")
    return PageTable(f"Models of {record.parent}", columns, tuple(rows), "; ".join(notes))


def _cell(point: FrontPoint, name: str) -> Cell:
    figure = point.figures[name]
    return Cell(f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})", figure.value)


def _costs(cost: ModelCost, engines: Sequence[str]) -> tuple[Cell, ...]:
    times = [cost.event_ns.get(engine) for engine in engines]
    return (
        number(cost.operations, "d"),
        number(cost.ebops, "d"),
        number(cost.weight_bytes, "d"),
        number(cost.lut, ".0f"),
        number(cost.cycles, "d"),
        *(number(None if time is None else time / 1e3, ".3g") for time in times),
    )
