"""The record of what one event costs in a model: operations, bits, weights, energy; layer by layer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tamis._base import Document


class OperationCount(Document):
    """The operations of one event."""

    macs: int = Field(default=0, description="multiply-accumulates, with weights that are zero")
    macs_nonzero: int = Field(
        default=0, description="without them, without zero padding and without unused outputs"
    )
    additions: int = Field(default=0, description="outside of multiply-accumulates, subtractions too")
    comparisons: int = 0
    look_ups: int = Field(default=0, description="reads of tables, leaves of trees")
    functions: int = Field(default=0, description="exponentials, roots, divisions and the like")
    bops: float = Field(default=0.0, description="bit operations of the products (arXiv:2102.11289)")
    ebops: int | None = Field(
        default=None, description="effective bit operations (arXiv:2405.00645); only of fixed point"
    )
    weights: int = Field(default=0, description="of products, tables and trees; biases do not count")
    weights_nonzero: int = 0
    weight_bits: int = Field(
        default=0, description="in fixed point of the weights that are not zero, each as wide as it needs"
    )
    activation_bits: int = Field(default=0, description="of the values that the layer hands on")
    energy_pj: float = Field(default=0.0, description="of the arithmetic alone, by the table of Horowitz")
    lut: float | None = Field(default=None, description="estimate; only of fixed point")

    @property
    def operations(self) -> int:
        """The arithmetic that is left: a product and a sum for each weight that is not zero, and what else is computed."""
        return 2 * self.macs_nonzero + self.additions + self.comparisons + self.look_ups + self.functions

    def __add__(self, other: OperationCount) -> OperationCount:
        """Return the sum; what is unknown of one of them counts as nothing."""
        sums: dict[str, Any] = {}
        for name in OperationCount.model_fields:
            values = [value for value in (getattr(self, name), getattr(other, name)) if value is not None]
            sums[name] = sum(values) if values else None
        return OperationCount(**sums)


class LayerCount(OperationCount):
    """One layer."""

    name: str
    arithmetic: Literal["fixed", "float"]


class CountRecord(Document):
    """A bundle's cost per event."""

    kind: Literal["count"] = "count"
    bundle: str
    checksum: str = Field(description="SHA-256 of the bundle's model")
    created: str
    layers: tuple[LayerCount, ...]
    together: OperationCount
    energy_source: str
    lut_source: str | None = Field(
        default=None, description="what the estimate of LUTs is made from; absent for floats"
    )
    cycles: int | None = Field(
        default=None, description="latency of unrolled hardware at the clock of the estimate of LUTs"
    )
