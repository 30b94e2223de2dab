"""The first page of the demo: what was simulated, what was accepted, how long it took, and what the models add."""

from __future__ import annotations

import numpy as np

from tamis._base import quantity
from tamis.records import DemoRecord, DemoSample
from tamis.report.canvas import INK, MUTED, colour, label, new_figure, plain_log
from tamis.report.content import (
    Card,
    Cell,
    PageTable,
    Picture,
    Row,
    Section,
    number,
    plus_minus,
    significant,
    words,
)

INTRO = (
    "A collider such as the LHC makes protons collide 40 million times a second, and only about a thousand of these "
    "collisions a second can be stored. A trigger decides which, while they happen: electronics choose about 100,000 a second, "
    "and computers look at each of these and keep one in a hundred. What they reject is lost for ever. This page shows such a "
    "decision by computers, made by tamis on simulated collisions, with neural networks in it."
)
TERMS = (
    ("event", "what the detector records of one collision of bunches of protons."),
    ("QCD", "collisions in which only quarks and gluons scatter: ordinary, and nearly all there are."),
    ("signal, background", "the events that one looks for, and those that get in the way."),
    ("pT", "momentum across the beam, in GeV; large where something violent happened."),
    ("jet", "a spray of particles from one quark or gluon. A wide jet may hold all that a heavy particle decays to."),
    ("HT, MET", "the sum of the pT of all jets; the missing pT, which is what is needed to balance all that was seen."),
    ("menu, path, stage", "the list of reasons to keep an event; one such reason; a computation that paths use, such as a network."),
    ("prescale", "a path with prescale 20 looks at one event in 20, to save rate."),
    ("stream", "a file of accepted events. The stream debug takes events that could not be decided, so that none is lost."),
    ("rate", "accepted events per second. A menu has to keep the sum within what can be stored."),
    ("efficiency", "fraction of the events of a sample that are accepted."),
    ("score, threshold", "the number that a network gives to a jet or an event, and the value above which it is accepted."),
    ("ROC curve, AUC", "efficiency for signal against that for background as the threshold moves; the area under the curve is the probability that a random signal jet has a higher score than a random background jet: 0.5 is guessing, 1 is perfect."),
    ("baseline", "one simple variable in place of a network: jet mass, number of particles, tau21 (small if a jet has two cores), width. With a minus sign, small values count as signal."),
    ("bundle, engine", "a packed model; a library that runs it. Before an engine is used, it must reproduce the numbers that were stored with the model."),
    ("p50, p99", "half of the values are below p50, the median, and 99 in 100 below p99."),
)  # fmt: skip


def demo_section(record: DemoRecord) -> Section:
    """Return the first tab of the demo's page."""
    return Section(
        "overview",
        "Overview",
        INTRO,
        (_kept(record), _time(record), *([_models(record)] if record.models else [])),
        (_menu_table(record), *([_model_table(record)] if record.models else [])),
        (_simulated_card(record), _kept_card(record), _time_card(record), *_model_cards(record)),
        TERMS,
    )


def _share(sample: DemoSample, events: int) -> float:
    return 100 * events / max(1, sample.events)


def _simulated_card(record: DemoRecord) -> Card:
    parts = " ".join(f"{sample.title} ({sample.kind}): {sample.description}." for sample in record.samples)
    return Card(
        "What was simulated",
        " and ".join(f"{sample.events} {sample.title}" for sample in record.samples),
        f"Events, which are {record.simulation}. {parts}",
    )


def _kept_card(record: DemoRecord) -> Card:
    shares = [
        f"{significant(_share(sample, sample.accepted))} % of the {sample.kind}" for sample in record.samples
    ]
    rate = (
        record.rate.text
        if record.rate.upper_hz is None
        else f"fewer than {quantity(record.rate.upper_hz, 'Hz', digits=2)}"
    )
    return Card(
        "What was accepted",
        ", ".join(reversed(shares)),
        f"The menu {record.menu} has {len(record.paths)} reasons to keep an event, called paths, and one is enough. A good menu keeps many "
        f"of the signal and few of the background. Of {quantity(record.input_hz, 'Hz')} of such background "
        f"({record.input_hz / 1e3:g} thousand events a second), it would keep {rate}.",
    )


def _time_card(record: DemoRecord) -> Card:
    return Card(
        "How long it took",
        f"{significant(record.p50_ms)} ms of {record.budget_ms:g} ms",
        f"Half of the events were decided within {significant(record.p50_ms)} ms, 99 in 100 within {significant(record.p99_ms)} ms, and the slowest "
        f"took {significant(record.most_ms)} ms, each alone on one core ({record.host.cpu}). The budget is {record.budget_ms:g} ms: more would need a larger farm.",
    )


def _model_cards(record: DemoRecord) -> tuple[Card, ...]:
    if not record.models:
        return ()
    better = [model.name for model in record.models if model.verdict == "better"]
    named = f" Here, {' and '.join(better)} {'does' if len(better) == 1 else 'do'}." if better else ""
    return (
        Card(
            "What the models add",
            f"{len(better)} of {len(record.models)} models beat the best single variable",
            "A network is worth its time if it separates signal from background better than the best single variable, such as the mass of a "
            f"jet.{named} The others are shown all the same: a trigger should know which of its models earn their place.",
        ),
    )


def _kept(record: DemoRecord) -> Picture:
    names = ["any path", *(path.name for path in record.paths)]
    figure, axes = new_figure(size=(6.4, 1.6 + 0.5 * len(names)))
    height = 0.8 / len(record.samples)
    most = 1.0
    for index, sample in enumerate(record.samples):
        events = [sample.accepted, *(sample.paths[path.name] for path in record.paths)]
        shares = [_share(sample, count) for count in events]
        most = max(most, *shares)
        places = np.arange(len(names)) + (index - (len(record.samples) - 1) / 2) * height
        look = MUTED if sample.kind == "background" else colour(index)
        axes.barh(places, shares, height=0.9 * height, color=look, label=f"{sample.title} ({sample.kind})")
        for place, share, count in zip(places, shares, events, strict=True):
            axes.text(share, place, f" {significant(share)} % ({count})", va="center", fontsize=9.5)
    axes.set_yticks(range(len(names)), names, fontsize=11)
    axes.set_ylim(len(names) - 0.4, -1.1)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set_xlim(0, 1.3 * most)
    axes.set_xlabel("accepted events [%]")
    axes.legend(loc="lower right")
    label(axes, record.menu, "simulated events")
    alt = "; ".join(
        f"{sample.title}: {sample.accepted} of {sample.events} events accepted" for sample in record.samples
    )
    caption = "Percent of each sample, with the number of events. An event may have several reasons. Random and control paths look at few events only."
    return Picture("kept", "What was accepted, and why", alt, figure, caption)


def _time(record: DemoRecord) -> Picture:
    figure, axes = new_figure(size=(6.4, 4.6))
    axes.stairs(record.time_counts, record.time_edges_ms, color=colour(0), fill=True, alpha=0.55)
    axes.axvline(record.budget_ms, color=INK, linestyle="--", label=f"budget, {record.budget_ms:g} ms")
    axes.axvline(record.p50_ms, color=colour(1), label=f"half are faster: {significant(record.p50_ms)} ms")
    axes.axvline(
        record.most_ms, color=colour(4), linestyle=":", label=f"slowest: {significant(record.most_ms)} ms"
    )
    axes.set_xscale("log")
    axes.set_xlim(min(record.time_edges_ms[0], 0.5), max(3 * record.budget_ms, 2 * record.most_ms))
    axes.set_ylim(0, 1.1 * max(record.time_counts))
    plain_log(axes.xaxis)
    axes.set_xlabel("time per event [ms]")
    axes.set_ylabel("events")
    figure.legend(loc="outside lower center", ncols=3)
    label(axes, record.menu, "one event at a time, one core")
    alt = (
        f"time per event on a logarithmic axis: half below {significant(record.p50_ms)} ms, all below "
        f"{significant(record.most_ms)} ms, budget {record.budget_ms:g} ms"
    )
    caption = "All computing for one event: selections, inputs of the networks, the networks. Events that need no network are the fast ones."
    return Picture("time-and-budget", "Time per event against the budget", alt, figure, caption)


def _models(record: DemoRecord) -> Picture:
    figure, axes = new_figure(size=(9.6, 1.9 + 0.55 * len(record.models)))
    for place, model in enumerate(record.models):
        axes.plot(
            [model.baseline_auc.value, model.auc.value], [place, place], color=MUTED, linewidth=1, zorder=1
        )
        for estimate, marker, look in ((model.baseline_auc, "s", MUTED), (model.auc, "o", colour(0))):
            axes.errorbar(
                estimate.value, place, xerr=estimate.error, marker=marker, color=look, capsize=2.5, linestyle="none", ms=8
            )  # fmt: skip
        axes.text(1.005, place, model.baseline, va="center", fontsize=10, color=INK)
    axes.plot([], [], "o", color=colour(0), label="model")
    axes.plot([], [], "s", color=MUTED, label="best single variable, named at the right")
    axes.axvline(0.5, color=MUTED, linestyle=":", linewidth=1.2)
    axes.set_yticks(range(len(record.models)), [f"{m.name}: {m.signal}" for m in record.models], fontsize=11)
    axes.set_ylim(len(record.models) - 0.5, -1.2)
    axes.tick_params(axis="y", which="both", length=0)
    low = min(0.5, *(min(m.auc.value, m.baseline_auc.value) for m in record.models))
    axes.set_xlim(low - 0.03, 1.16)
    axes.set_xticks([tick for tick in np.arange(0, 1.01, 0.1) if tick >= low - 0.03])
    axes.set_xlabel("area under the ROC curve: 0.5 is guessing, 1 is perfect")
    axes.legend(ncols=2, loc="upper left", bbox_to_anchor=(0, 0.99))
    label(axes, "", "signal against QCD")
    alt = "; ".join(
        f"{m.name} {m.auc.value:.3f}, {m.baseline} {m.baseline_auc.value:.3f}" for m in record.models
    )
    caption = "The probability that a random signal jet scores above a random background jet. To the right of the square, the model is worth more than the variable."
    return Picture(
        "models-and-baselines", "What each model adds to one variable", alt, figure, caption, wide=True
    )


def _menu_table(record: DemoRecord) -> PageTable:
    columns = (
        "path",
        "keeps",
        "stream",
        *(f"{sample.title}, events" for sample in record.samples),
        *(f"{sample.title}, %" for sample in record.samples),
    )
    rows = [
        Row(
            (
                words(path.name),
                words(path.description),
                words(", ".join(path.streams)),
                *(number(sample.paths[path.name], "d") for sample in record.samples),
                *(number(_share(sample, sample.paths[path.name]), ".2f") for sample in record.samples),
            )
        )
        for path in record.paths
    ]
    whole = Row(
        (
            words("any path"),
            words("accepted by at least one path"),
            words(""),
            *(number(sample.accepted, "d") for sample in record.samples),
            *(number(_share(sample, sample.accepted), ".2f") for sample in record.samples),
        ),
        mark="score",
    )
    note = f"The menu {record.menu}, path by path. The samples were decided together, as in a real trigger, and are shown apart here, which only simulation allows. A stream is the file that the events are written to."
    return PageTable("The menu: reasons to keep an event", columns, (*rows, whole), note)


def _model_table(record: DemoRecord) -> PageTable:
    columns = (
        "model",
        "what it is",
        "signal",
        "AUC",
        "best single variable",
        "its AUC",
        "the model is",
        "measured on",
    )
    rows = tuple(
        Row(
            (
                words(m.name), words(m.purpose), words(m.signal), Cell(plus_minus(m.auc), m.auc.value),
                words(m.baseline), Cell(plus_minus(m.baseline_auc), m.baseline_auc.value), words(m.verdict), words(m.measured_on),
            ),
        )
        for m in record.models
    )  # fmt: skip
    note = "AUC: area under the ROC curve. Equal means within two standard deviations."
    if record.unmeasured:
        note += f" Without such a measurement here: {', '.join(record.unmeasured)}; see the model card."
    return PageTable("Models next to the best single variable", columns, rows, note)
