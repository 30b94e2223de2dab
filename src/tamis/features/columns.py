"""Inputs that are columns of the events themselves, such as the variables of a decision tree."""

from __future__ import annotations

import numpy as np

from tamis._base import DataError
from tamis.bundle import Input
from tamis.events import Frame
from tamis.features.lists import flat_columns
from tamis.features.rows import Feature, Rows, find_feature


def feature_of(spec: Input) -> Feature | None:
    """Return the feature of an input: the one that it names, else that of its columns, or of the column of its name.

    None if a row of it is more than one number and no columns are named.
    """
    if spec.feature is not None:
        return find_feature(spec.feature)
    if spec.columns or spec.shape[1:] in ((), (1,)):
        return columns_feature(spec)
    return None


def columns_feature(spec: Input) -> Feature:
    """Return the feature whose rows are columns: one per event, or one per object if all are lists of equal length."""
    names = spec.columns or (spec.name,)
    flat = not spec.columns and not spec.shape[1:]

    def build(frame: Frame) -> Rows:
        columns = {name: frame[name] for name in names}
        single = {
            name: column
            for name, column in columns.items()
            if isinstance(column, np.ndarray) and column.ndim == 1
        }
        if len(single) == len(columns):
            offsets, values = np.arange(len(frame) + 1), [single[name] for name in names]
        elif single:
            lists = next(name for name in names if name not in single)
            raise DataError(
                f"the input {spec.name} has a column with one number per event ({next(iter(single))}) and a list ({lists}): "
                "name columns of one kind, or write a feature"
            )
        else:
            offsets, values = flat_columns(frame, names)
        stacked = values[0] if flat else np.stack(values, axis=1)
        return Rows(np.ascontiguousarray(stacked, spec.dtype), offsets)

    plain = "" if spec.dtype == "float32" and not flat else f" ({spec.dtype}{' scalar' if flat else ''})"
    return Feature(f"columns {', '.join(names)}{plain}", names, (), build)
