"""Request plans: what requests with the same head share, worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tamis.serve.models.scheduler import Scheduler
from tamis.serve.models.sequences import is_step
from tamis.serve.models.tickets import Prepared, prepare
from tamis.serve.protocol.infer import RequestHeader, arrays_of, sizes_of
from tamis.serve.protocol.messages import BoundedCache
from tamis.serve.service import Service


class RequestPlan(NamedTuple):
    """The scheduler of a request's model, its checked properties, and the order of its inputs and outputs."""

    head: RequestHeader
    generation: int
    scheduler: Scheduler
    prepared: Prepared
    places: tuple[int | None, ...]  # position in the request of each of the model's inputs
    sizes: tuple[tuple[np.dtype, tuple[int, ...], int], ...]  # of the request's inputs
    outputs: tuple[str, ...]


class RequestPlans:
    """A cache of request plans by head."""

    def __init__(self, service: Service) -> None:
        """Start empty."""
        self._service = service
        self._plans: BoundedCache[int, RequestPlan] = BoundedCache()

    def find(self, head: RequestHeader, raws: Sequence[memoryview]) -> RequestPlan | None:
        """Return the plan; None for steps of sequences, shared regions, classification, strings, and data in typed fields."""
        plan = self._plans.get(id(head))
        if plan is None or plan.head is not head or plan.generation != self._service.generation:
            plan = self._make(head, raws)
            if plan is not None:
                self._plans[id(head)] = plan
        return plan

    def _make(self, head: RequestHeader, raws: Sequence[memoryview]) -> RequestPlan | None:
        sizes = sizes_of(head)
        if (
            sizes is None
            or any(tensor.parameters for tensor in head.inputs)
            or any(output.parameters for output in head.outputs)
        ):
            return None
        loaded = self._service.find(head.model, head.version)
        spec, scheduler = loaded.model.spec, loaded.scheduler
        if spec.sequences is not None and is_step(head.parameters):
            return None
        inputs = arrays_of(head, raws)
        output_indices = spec.output_indices(head.outputs)
        kind = tuple([(name, array.shape[1:]) for name, array in inputs.items()])
        prepared = prepare(scheduler.batching, spec.rows_of(inputs), kind, head.parameters, output_indices)
        names = list(inputs)
        places = tuple(names.index(tensor.name) if tensor.name in inputs else None for tensor in spec.inputs)
        outputs = tuple(spec.outputs[i].name for i in output_indices)
        return RequestPlan(head, self._service.generation, scheduler, prepared, places, sizes, outputs)
