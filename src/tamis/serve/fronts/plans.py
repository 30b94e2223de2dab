"""What requests with the same head have in common: worked out once, and looked up for all that follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tamis._base import Known
from tamis.serve.models.scheduler import Scheduler
from tamis.serve.models.tickets import Prepared, prepare
from tamis.serve.protocol.infer import RequestHeader, arrays_of, sizes_of
from tamis.serve.service import Service


class Plan(NamedTuple):
    """Whom to ask, what was checked, how it is answered."""

    head: RequestHeader
    generation: int
    scheduler: Scheduler
    prepared: Prepared
    places: tuple[int | None, ...]  # of the model's inputs among those of the request
    sizes: tuple[tuple[np.dtype, tuple[int, ...], int], ...]  # of the request's inputs
    outputs: tuple[str, ...]


class Plans:
    """The plans for heads that came before."""

    def __init__(self, service: Service) -> None:
        """Know none."""
        self._service = service
        self._known: Known[int, Plan] = Known()

    def find(self, head: RequestHeader, raws: Sequence[memoryview]) -> Plan | None:
        """Return the plan; None for what is out of the ordinary: shared regions, classes, strings, numbers in fields."""
        plan = self._known.get(id(head))
        if plan is None or plan.head is not head or plan.generation != self._service.generation:
            plan = self._made(head, raws)
            if plan is not None:
                self._known[id(head)] = plan
        return plan

    def _made(self, head: RequestHeader, raws: Sequence[memoryview]) -> Plan | None:
        sizes = sizes_of(head)
        if (
            sizes is None
            or any(one.parameters for one in head.inputs)
            or any(one.parameters for one in head.outputs)
        ):
            return None
        loaded = self._service.find(head.model, head.version)
        spec, scheduler = loaded.model.spec, loaded.scheduler
        inputs = arrays_of(head, raws)
        output_indices = spec.output_indices(head.outputs)
        kind = tuple([(name, array.shape[1:]) for name, array in inputs.items()])
        prepared = prepare(scheduler.batching, spec.rows_of(inputs), kind, head.parameters, output_indices)
        names = list(inputs)
        places = tuple(names.index(one.name) if one.name in inputs else None for one in spec.inputs)
        outputs = tuple(spec.outputs[i].name for i in output_indices)
        return Plan(head, self._service.generation, scheduler, prepared, places, sizes, outputs)
