"""From a bundle and rows of data to a student: what `tamis compress --distil` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tamis._base import DataError, TargetNotMetError, library_versions
from tamis.bundle import Bundle, Packed, Parent, WorkingPoint, check_target, pack
from tamis.bundle.cost import count_multiplications
from tamis.compress.card import reached
from tamis.compress.costs import with_costs
from tamis.compress.data import CompressionRows, read_rows
from tamis.compress.distillation.card import student_card
from tamis.compress.distillation.judge import Scored, find_thresholds, judge_student
from tamis.compress.distillation.options import OPERATIONS_MAX, DistilOptions
from tamis.compress.distillation.outliers import make_outliers
from tamis.compress.distillation.search import Found, StudentSearch, StudentSize, export_student
from tamis.compress.distillation.students import Student
from tamis.compress.distillation.teacher import Lesson, Teacher
from tamis.compress.distillation.training import Pupils
from tamis.compress.packing import EXAMPLES
from tamis.compress.quality import Figure
from tamis.compress.target import QualityTarget
from tamis.compress.task import ROWS_AT_ONCE, open_parent
from tamis.zoo.training.loop import AfterEpoch

USABLE_MIN = 50  # rows with a finite target, to train on


@dataclass(frozen=True)
class Distilled:
    """A student, how it compares with its parent on rows that it was not trained on, and what both cost."""

    packed: Packed
    figures: Mapping[str, Figure]
    found: Found
    operations_of_parent: int | None

    @property
    def bundle(self) -> Bundle:
        """Return the bundle."""
        return self.packed.bundle


@dataclass(frozen=True)
class DistilTask:
    """A teacher, its lessons on rows to train on, to choose by and to judge on, and the search over sizes of students."""

    teacher: Teacher
    lessons: tuple[tuple[CompressionRows, Lesson], ...]
    conditions: QualityTarget
    search: StudentSearch
    sizes: list[StudentSize]
    operations: int | None  # of the parent
    options: DistilOptions

    @classmethod
    def prepare(
        cls,
        parent: str | Path | Bundle,
        folder: Path,
        data: Sequence[str],
        options: DistilOptions,
        classes: Mapping[str, Sequence[str]],
        most: float | None = None,
    ) -> DistilTask:
        """Read everything, teach, and check before the training that it can lead to a result; checkpoints go into the folder.

        `most` limits the sizes that are searched, as a fraction of the parent's operations; by default it is that of a student.
        """
        conditions = QualityTarget() if options.target is None else QualityTarget.parse(options.target)
        bundle = open_parent(parent)
        teacher = Teacher.of(bundle, options.metric)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        rows = read_rows(bundle, data, classes, options)
        lessons = tuple(_usable(teacher, part) for part in _split(rows, options.seed))
        _check_target(conditions, bundle, lessons[2][0])
        parts = (_pupils(teacher, *lessons[0], options), Pupils(lessons[1][0].inputs, lessons[1][1].target))
        checksum = bundle.manifest.files["model.onnx"].sha256
        search = StudentSearch(bundle.name, parts, folder, options, checksum)
        cost = bundle.manifest.cost
        operations = None if cost is None else cost.flops
        sizes = search.sizes(
            None if operations is None else (OPERATIONS_MAX if most is None else most) * operations
        )
        return cls(teacher, lessons, conditions, search, sizes, operations, options)

    def judge(self, found: Found) -> Judged:
        """Compare a student with the parent, on rows that were used for nothing else."""
        held = [_scored(found.student, *lesson) for lesson in self.lessons[1:]]
        by_score = self.teacher.function is None
        thresholds, notes = find_thresholds(
            self.teacher.bundle.manifest, _background(held), by_score=by_score
        )
        return Judged(found, judge_student(held[1], thresholds), [one.point for one in thresholds], notes)


@dataclass(frozen=True)
class Judged:
    """A student, its figures and working points, and notes on those that are left out."""

    found: Found
    figures: Mapping[str, Figure]
    points: Sequence[WorkingPoint]
    notes: Sequence[str]


def run_distillation(
    parent: str | Path | Bundle,
    target: Path,
    data: Sequence[str],
    options: DistilOptions,
    classes: Mapping[str, Sequence[str]],
    after_epoch: AfterEpoch | None,
) -> Distilled:
    """Teach, search, judge and pack; see `tamis.compress.distil`."""
    check_target(target)
    task = DistilTask.prepare(parent, target.with_name(target.name + ".training"), data, options, classes)
    student = task.judge(task.search.run(task.sizes, after_epoch))
    conditions, figures = task.conditions, student.figures
    conditions.check(list(figures))
    if not conditions.met(figures):
        raise TargetNotMetError(
            f"the student does not meet the target {conditions}, so no bundle was written; it has {reached(conditions, figures)}: give more rows, "
            "a larger --size, or train longer"
        )
    packed = pack_student(task, student, target)
    packed, _ = with_costs(task.teacher.bundle, packed)
    return Distilled(packed, figures, student.found, task.operations)


def _split(rows: CompressionRows, seed: int) -> tuple[CompressionRows, CompressionRows, CompressionRows]:
    """Split the background; all rows of signals are judged and nothing else."""
    if rows.labels is None:
        return rows.split(seed)
    background = np.isin(rows.labels.label, rows.labels.background)
    train, validation, test = rows.take(np.flatnonzero(background)).split(seed)
    signals = rows.take(np.flatnonzero(~background))
    assert test.labels is not None  # noqa: S101 - as the rows have
    assert signals.labels is not None  # noqa: S101
    labels = replace(test.labels, label=np.concatenate([test.labels.label, signals.labels.label]))
    joined = {name: np.concatenate([values, signals.inputs[name]]) for name, values in test.inputs.items()}
    return (
        train,
        validation,
        replace(test, inputs=joined, labels=labels, event=np.concatenate([test.event, signals.event])),
    )


def _usable(teacher: Teacher, rows: CompressionRows) -> tuple[CompressionRows, Lesson]:
    """Return the rows whose inputs and targets are finite, with the targets."""
    lesson = teacher.teach(rows.inputs)
    finite = np.isfinite(lesson.target)
    for values in rows.inputs.values():
        finite &= np.isfinite(values).reshape(len(values), -1).all(1)
    if int(finite.sum()) < USABLE_MIN // 5:
        raise DataError(
            f"only {int(finite.sum())} of {len(rows)} rows have finite inputs and a finite {teacher.metric}: give other rows"
        )
    kept = np.flatnonzero(finite)
    return rows.take(kept), Lesson(lesson.target[kept], lesson.decides[kept])


def _pupils(teacher: Teacher, rows: CompressionRows, lesson: Lesson, options: DistilOptions) -> Pupils:
    """Return the training rows, with outliers if they are asked for."""
    if not options.outliers:
        return Pupils(rows.inputs, lesson.target)
    rng = np.random.default_rng((options.seed, 2))
    made = make_outliers(rows.inputs, round(options.outliers * len(rows)), rng)
    extreme = teacher.teach(made).target
    kept = np.flatnonzero(np.isfinite(extreme))
    inputs = {name: np.concatenate([values, made[name][kept]]) for name, values in rows.inputs.items()}
    return Pupils(inputs, np.concatenate([lesson.target, extreme[kept]]))


def _check_target(conditions: QualityTarget, bundle: Bundle, test: CompressionRows) -> None:
    """Check before the training that the target names what will be measured."""
    names = [f"flips({point.name})" for point in bundle.manifest.working_points]
    names += ["correlation", "correlation(ranks)"]
    if test.labels is not None:
        names += [
            f"auc({name})"
            for number, name in enumerate(test.labels.classes)
            if number not in test.labels.background
        ]
    conditions.check(names)


@torch.no_grad()
def _scored(student: Student, rows: CompressionRows, lesson: Lesson) -> Scored:
    inputs = [torch.from_numpy(values) for values in rows.inputs.values()]
    pieces = [
        student(*(values[i : i + ROWS_AT_ONCE] for values in inputs)).numpy()
        for i in range(0, len(rows), ROWS_AT_ONCE)
    ]
    return Scored(np.concatenate(pieces).astype(np.float64), lesson.target, lesson.decides, rows.labels)


def _background(parts: Sequence[Scored]) -> Scored:
    """Return the background of all parts as one."""
    value, target, decides = (
        np.concatenate([getattr(part, name)[part.background] for part in parts])
        for name in ("value", "target", "decides")
    )
    return Scored(value, target, decides)


def pack_student(task: DistilTask, student: Judged, target: Path) -> Packed:
    """Pack a student with the parent's inputs, and a card."""
    teacher, rows, options, operations = task.teacher, task.lessons[2][0], task.options, task.operations
    found, figures, notes = student.found, student.figures, student.notes
    parent = teacher.bundle.manifest
    origin = Parent(name=parent.name, version=parent.version, model_sha256=parent.files["model.onnx"].sha256)
    example = {name: values[:1] for name, values in rows.inputs.items()}
    facts: dict[str, object] = {
        "options": {**options.recorded, "size": found.size.text},
        "unit": teacher.unit,
        "epoch": found.epoch,
        "test_rows": len(rows),
        "files": [Path(file).name for file in rows.files],
        **({"skipped_files": list(rows.skipped)} if rows.skipped else {}),
        "operations": found.size.operations,
        "operations_of_parent": operations,
        "multiplications": found.size.multiplications,
        "multiplications_of_parent": count_multiplications(teacher.bundle.model, example)
        if operations
        else None,
        "figures": {name: asdict(figure) for name, figure in figures.items()},
        "tried": [{"size": one.size.text, "epochs": one.epochs, "loss": one.loss} for one in found.tried],
        "versions": library_versions(("torch", "numpy", "tamis")),
    }
    document = json.dumps(facts, indent=1)
    name = target.name.removesuffix(".tamis")
    inputs = parent.signature.inputs
    packed = pack(
        export_student(found.student, rows.inputs),
        target,
        inputs={key: values[:EXAMPLES] for key, values in rows.inputs.items()},
        score="score",
        description=f"{options.student} student of {parent.name}, {found.size.text}: predicts {teacher.unit}",
        features={spec.name: spec.feature for spec in inputs if spec.feature},
        columns={spec.name: spec.columns for spec in inputs if spec.columns},
        units={spec.name: spec.units for spec in inputs if spec.units},
        working_points=student.points,
        training={"distillation": json.loads(document)},
        parent=origin,
        extra={
            "CARD.md": student_card(name, origin, figures, found.size, found.tried, facts, notes),
            "distillation.json": document + "\n",
        },
    )
    return replace(packed, notes=(*packed.notes, *notes))
