"""A rate study: from a menu and samples to a record, and to a menu and bundles with tuned thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from tamis._base import UsageError, host_facts, quantity, utc_timestamp, write_text
from tamis.bundle import Bundle, WorkingPoint, with_working_points
from tamis.measure.rates.path_rates import (
    any_path,
    efficiencies,
    overlaps,
    path_rates,
    rate_of,
    roc,
    stream_rate,
    targets_of,
    threshold_for,
    tune,
    turn_on,
)
from tamis.measure.rates.sample_list import SampleList
from tamis.measure.rates.samples import SampleDecisions, decide_samples
from tamis.records import Rate, RateChange, RateRecord, Roc, TriggerLevel, TunedThreshold
from tamis.trigger import Cut, Menu, MenuSource, StageSpec, compile_menu, find_cut, parse_expression

_OPEN_CUT = "-1e30"  # every finite number is above it


@dataclass(frozen=True)
class _OpenedMenu:
    """A menu whose threshold cuts accept everything, and the original cut of each path."""

    source: MenuSource
    cuts: Mapping[str, Cut]


def study_rates(
    source: MenuSource,
    samples: SampleList,
    *,
    input_hz: float,
    targets: Sequence[str] = (),
    turn_ons: Sequence[str] = (),
    tree: str | None = None,
) -> RateRecord:
    """Measure the rates of a menu, and find the thresholds for targets `PATH=RATE`."""
    (record,) = study_chain(
        [source], samples, input_hz=input_hz, targets=targets, turn_ons=turn_ons, tree=tree
    )
    return record


def study_chain(
    sources: Sequence[MenuSource],
    samples: SampleList,
    *,
    input_hz: float,
    targets: Sequence[str] = (),
    turn_ons: Sequence[str] = (),
    tree: str | None = None,
) -> tuple[RateRecord, ...]:
    """Measure menus that decide one after another; the rates of each are of events that all before it accept."""
    paths = [path for source in sources for path in source.menu.paths]
    target_hz = targets_of(targets, paths)
    pairs = _turn_ons(turn_ons, paths)
    records: list[RateRecord] = []
    levels: list[TriggerLevel] = []
    chance: np.ndarray | None = None
    done: set[str] = set()
    for source in sources:
        own = [path for path in source.menu.paths if path not in done]  # the first menu with a path has it
        done.update(own)
        chosen = [(path, text) for path, text in pairs if path in own]
        study, values = _decide(source, samples, {f"turn-on {p} {text}": text for p, text in chosen}, tree)
        whole = study.decisions
        if chance is None:
            chance = whole.before
            everything = Rate(hz=input_hz, error_hz=0.0, events=len(chance), effective_events=len(chance))
            levels.append(TriggerLevel(name="input", rate=everything, efficiency=efficiencies(whole, chance)))
        seen = replace(study, decisions=replace(whole, accepted=chance))
        wanted = {path: hz for path, hz in target_hz.items() if path in own}
        record = _record(source, seen, values, input_hz, wanted, chosen)
        chance = chance * any_path(whole.paths, [spec.prescale for spec in source.menu.paths.values()])
        levels.append(
            TriggerLevel(
                name=source.menu.menu,
                rate=rate_of(whole, input_hz, chance),
                efficiency=efficiencies(whole, chance),
            )
        )
        records.append(record)
    if len(records) > 1:
        records[-1] = records[-1].model_copy(update={"levels": tuple(levels)})
    return tuple(records)


def _record(
    source: MenuSource,
    study: _Study,
    values: Mapping[str, np.ndarray],
    input_hz: float,
    target_hz: Mapping[str, float],
    pairs: Sequence[tuple[str, str]],
) -> RateRecord:
    for path in target_hz:
        if path not in values:
            raise UsageError(
                f"the path {path} cannot be tuned: it needs one step that is only a cut on threshold(...), "
                "such as max(anomaly_score) > threshold('anomaly', 'tight')"
            )
    menu = source.menu
    paths, prescales = list(menu.paths), [spec.prescale for spec in menu.paths.values()]
    rates, total = path_rates(study.decisions, input_hz, paths, prescales)
    both, correlation = overlaps(study.decisions, input_hz, prescales)
    names = {name: index for index, name in enumerate(study.decisions.names)}
    return RateRecord(
        created=utc_timestamp(),
        host=host_facts(),
        menu=menu.menu,
        input_hz=input_hz,
        samples={name: int((study.decisions.sample == index).sum()) for name, index in names.items()},
        kinds=dict(zip(study.decisions.names, study.decisions.kinds, strict=True)),
        paths=rates,
        total=total,
        streams={
            name: stream_rate(
                study.decisions, input_hz, prescales, [paths.index(path) for path in spec.paths]
            )
            for name, spec in menu.streams.items()
        },
        debug=rate_of(study.decisions, input_hz, study.decisions.debug),
        overlap_hz=tuple(map(tuple, both.tolist())),
        correlation=tuple(map(tuple, correlation.tolist())),
        rocs=_rocs(study, values, menu, input_hz),
        tuned=tuple(
            _tuned(study, values, menu, path, target, input_hz) for path, target in target_hz.items()
        ),
        turn_ons=tuple(
            turn_on(
                study.decisions,
                path,
                study.decisions.paths[:, paths.index(path)],
                text,
                study.decisions.quantities[f"turn-on {path} {text}"],
                names,
            )
            for path, text in pairs
        ),
    )


@dataclass(frozen=True)
class _Study:
    """The decisions on all samples, with and without the threshold cuts."""

    decisions: SampleDecisions
    loose: np.ndarray  # path decisions without the cuts: boolean, (events, paths)
    cuts: Mapping[str, Cut]


def _decide(
    source: MenuSource, samples: SampleList, quantities: Mapping[str, str], tree: str | None
) -> tuple[_Study, dict[str, np.ndarray]]:
    opened = _opened(source)
    expressions = {name: parse_expression(text) for name, text in quantities.items()}
    expressions |= {f"cut {path}": parse_expression(f"tamis_cut_{path}") for path in opened.cuts}
    with compile_menu(opened.source) as compiled:
        decisions = decide_samples(compiled, samples, expressions, tree)
    with compile_menu(source) as original:
        thresholds = {path: original.threshold(*cut.names) for path, cut in opened.cuts.items()}
    values = {path: decisions.quantities[f"cut {path}"] for path in opened.cuts}
    bits = decisions.paths.copy()
    for path, value in values.items():
        index = list(source.menu.paths).index(path)
        passed = value >= thresholds[path] if opened.cuts[path].inclusive else value > thresholds[path]
        decisions.paths[:, index] = bits[:, index] & passed
    return _Study(decisions, bits, opened.cuts), values


def _opened(source: MenuSource) -> _OpenedMenu:
    """Return the menu without prescales and budgets, and with its threshold cuts accepting everything."""
    menu = source.menu
    stages, paths, cuts = dict(menu.stages), {}, {}
    for name, spec in menu.paths.items():
        steps = list(spec.steps)
        found = [(i, cut) for i, text in enumerate(steps) if (cut := find_cut(text)) is not None]
        if len(found) == 1:
            place, cut = found[0]
            column = f"tamis_cut_{name}"
            stages[column] = StageSpec.model_validate({"define": {column: cut.value}})
            steps[place] = f"{column} > {_OPEN_CUT}"
            cuts[name] = cut
        paths[name] = spec.model_copy(update={"steps": tuple(steps), "prescale": 1, "budget": None})
    opened = menu.model_copy(update={"stages": stages, "paths": paths, "budget": None, "histograms": {}})
    return _OpenedMenu(MenuSource(opened, source.text, source.place, source.folder), cuts)


def _tuned(
    study: _Study, values: Mapping[str, np.ndarray], menu: Menu, path: str, target: float, input_hz: float
) -> TunedThreshold:
    names = study.cuts[path].names
    return tune(
        study.decisions,
        input_hz,
        path=path,
        place=(names[0] if len(names) > 1 else None, names[-1]),
        prescale=menu.paths[path].prescale,
        loose=study.loose[:, list(menu.paths).index(path)],
        values=values[path],
        target_hz=target,
    )


def _rocs(study: _Study, values: Mapping[str, np.ndarray], menu: Menu, input_hz: float) -> tuple[Roc, ...]:
    """Return the ROC curve of every path that cuts on a threshold, if there is a signal sample."""
    if study.decisions.background.all():
        return ()
    paths = list(menu.paths)
    curves = [
        roc(
            study.decisions,
            input_hz,
            path=path,
            prescale=menu.paths[path].prescale,
            loose=study.loose[:, paths.index(path)],
            values=value,
            passed=study.decisions.paths[:, paths.index(path)],
        )
        for path, value in values.items()
    ]
    return tuple(curve for curve in curves if curve is not None)


def _turn_ons(turn_ons: Sequence[str], paths: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for entry in turn_ons:
        path, mark, text = entry.partition("=")
        if not mark or path not in paths:
            raise UsageError(
                f"{entry!r} is not a turn-on: write PATH=EXPRESSION, where PATH is one of {', '.join(paths)}"
            )
        pairs.append((path, text))
    return pairs


def compare_models(
    before: MenuSource, after: MenuSource, samples: SampleList, *, input_hz: float, tree: str | None = None
) -> list[RateChange]:
    """Tune every path of a changed menu to its rate in the menu before; return the events gained and lost."""
    old, old_values = _decide(before, samples, {}, tree)
    new, new_values = _decide(after, samples, {}, tree)
    changes = []
    for path in new_values:
        if path not in old_values:
            continue
        index, other = list(after.menu.paths).index(path), list(before.menu.paths).index(path)
        passed_before = old.decisions.paths[:, other]
        rate = rate_of(old.decisions, input_hz, passed_before).hz
        loose, values = new.loose[:, index], new_values[path]
        threshold = threshold_for(new.decisions, input_hz, loose=loose, values=values, target_hz=rate)
        passed = loose & (values > threshold)
        gained, lost = passed & ~passed_before, passed_before & ~passed
        names = list(enumerate(new.decisions.names))
        with compile_menu(before) as compiled:
            threshold_before = compiled.threshold(*old.cuts[path].names)
        changes.append(
            RateChange(
                path=path,
                threshold_before=threshold_before,
                threshold=threshold,
                rate_hz=rate,
                gained_hz=rate_of(new.decisions, input_hz, gained).hz,
                lost_hz=rate_of(new.decisions, input_hz, lost).hz,
                gained={name: int((gained & (new.decisions.sample == i)).sum()) for i, name in names},
                lost={name: int((lost & (new.decisions.sample == i)).sum()) for i, name in names},
            )
        )
    return changes


def write_tuned(source: MenuSource, record: RateRecord, out: Path) -> list[Path]:
    """Write the tuned thresholds as working points into copies of the bundles, and a menu that uses them; return the paths."""
    written: list[Path] = []
    data = source.menu.model_dump(mode="json", exclude_defaults=True)
    for spec in data.get("stages", {}).values():
        for kind in ("bundle", "python"):  # paths relative to the menu stay valid from the new folder
            place = source.folder / spec.get(kind, "").partition(":")[0]
            if spec.get(kind) and place.exists() and place != source.folder:
                spec[kind] = str(source.folder / spec[kind])
    for tuned in record.tuned:
        point = f"{tuned.path}-{tuned.target_hz:g}Hz"
        if tuned.stage is None:
            data["thresholds"][tuned.point] = tuned.threshold
            continue
        spec = data["stages"][tuned.stage]
        bundle = Bundle.open(spec["bundle"])
        target = out / "bundles" / f"{bundle.name}.tamis"
        working = WorkingPoint(
            name=point,
            threshold=tuned.threshold,
            background_efficiency=tuned.rate.hz / record.input_hz,
            background=f"{quantity(tuned.rate.hz, 'Hz')} of {quantity(record.input_hz, 'Hz')} on the path {tuned.path} of {record.menu}",
        )
        with_working_points(Bundle.open(target) if target.exists() else bundle, [working], target)
        written.append(target)
        spec["bundle"] = str(target.relative_to(out))
        steps = data["paths"][tuned.path]["steps"]
        data["paths"][tuned.path]["steps"] = [
            cut.renamed(point) if (cut := find_cut(text)) is not None else text for text in steps
        ]
    write_text(out / "menu.yaml", yaml.safe_dump(data, sort_keys=False, width=110))
    return [*written, out / "menu.yaml"]
