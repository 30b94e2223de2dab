"""A front of students: every size trained to the end, and those that no smaller one beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tamis._base import UsageError, atomic_path
from tamis.bundle import Bundle
from tamis.compress.distillation.options import DistilOptions
from tamis.compress.distillation.run import DistilTask, pack_student
from tamis.compress.front import FrontModel, check_front, choose_points, shown_quantity, write_front
from tamis.records import FrontRecord
from tamis.zoo.training.loop import AfterEpoch


def run_student_front(
    parent: str | Path | Bundle,
    folder: Path,
    data: Sequence[str],
    options: DistilOptions,
    classes: Mapping[str, Sequence[str]],
    points: int,
    after_epoch: AfterEpoch | None,
) -> FrontRecord:
    """Train, choose the models of the front, pack and measure them; see `tamis.compress.compress_front`."""
    check_front(folder, points)
    checkpoints = folder.with_name(folder.name + ".training")
    task = DistilTask.prepare(parent, checkpoints, data, options, classes, most=1.0)
    if len(task.sizes) < 2:
        raise UsageError(
            "a front of students needs several sizes: leave out --size, or take a parent that has more operations"
        )
    found = task.search.run_all(task.sizes, after_epoch)
    chosen = choose_points([(one, loss, one.size.operations) for one, loss in found], points)
    with atomic_path(folder) as part:
        part.mkdir()
        models = []
        for student in map(task.judge, chosen):
            text = student.found.size.text
            name = f"{task.teacher.bundle.name}-{options.student}-{text.replace(',', '-')}.tamis"
            packed = pack_student(task, student, part / name)
            models.append(FrontModel(packed.bundle, f"{options.student} {text}", student.figures))
        task.conditions.check(list(models[0].figures))
        quantity = shown_quantity(models[0].figures, task.conditions)
        recorded = options.recorded | {"points": points}
        rows = len(task.lessons[2][0])
        return write_front(part, task.teacher.bundle, models, quantity, task.conditions, rows, recorded)
