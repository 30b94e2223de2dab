"""Connected components of cells on a module, and the charge-weighted centre of each (8-connectivity)."""

from __future__ import annotations

from typing import Any

from tamis.tracking.kernels.body import body, loop


@body
def root_of(parent: Any, cell: Any) -> Any:
    """Return the root of a cell, and halve the path to it."""
    while parent[cell] != cell:
        parent[cell] = parent[parent[cell]]
        cell = parent[cell]
    return cell


@body
def join_cells(start: Any, stop: Any, u: Any, v: Any, parent: Any) -> Any:
    """Join neighbouring cells of one module, which are in ascending order of v, then u; return the number of clusters.

    The root of a cluster is its first cell.
    """
    count = 0
    above = start  # the first cell of the row before that may touch
    for i in range(start, stop):
        parent[i] = i
        count += 1
        if i > start and v[i - 1] == v[i] and u[i - 1] + 1 == u[i]:
            parent[i] = root_of(parent, i - 1)
            count -= 1
        while above < i and (v[above] + 1 < v[i] or (v[above] + 1 == v[i] and u[above] + 1 < u[i])):
            above += 1
        j = above
        while j < i and v[j] + 1 == v[i] and u[j] <= u[i] + 1:
            a, b = root_of(parent, i), root_of(parent, j)
            if a < b:
                parent[b] = a
                count -= 1
            elif b < a:
                parent[a] = b
                count -= 1
            j += 1
    return count


@body
def sum_cells(start: Any, stop: Any, u: Any, v: Any, charge: Any, parent: Any, at: Any, label: Any, sums: Any) -> Any:
    """Number the clusters of one module from `at` on and add up charge, charge x u, charge x v (from the first cell) and charge squared.

    Returns the number after the last one.
    """
    for i in range(start, stop):
        root = parent[i]
        if root == i:
            label[i] = at
            at += 1
        else:
            root = root_of(parent, i)
            label[i] = label[root]
        k, q = label[i], charge[i]
        sums[k, 0] += q
        sums[k, 1] += q * (u[i] - u[root])
        sums[k, 2] += q * (v[i] - v[root])
        sums[k, 3] += q * q
    return at


@body
def place_cluster(u: Any, v: Any, sums: Any, module: Any, grids: Any, frames: Any, local: Any, variance: Any, position: Any) -> Any:
    """Write the local position, its variance and the position in space of one cluster, whose first cell is (u, v).

    Each cell is uniform over its pitch, so that the variance of the charge-weighted mean is pitch^2 / 12 times the sum of the squared
    weights, as in ACTS. `grids` are first corner and pitch, `frames` centre and unit vectors of u and v.
    """
    inverse = 1 / sums[0]
    shrink = sums[3] * inverse * inverse / 12
    for axis in range(2):
        first = u if axis == 0 else v
        pitch = grids[module, 2 + axis]
        local[axis] = grids[module, axis] + (first + 0.5 + sums[1 + axis] * inverse) * pitch
        variance[axis] = pitch * pitch * shrink
    for axis in range(3):
        position[axis] = frames[module, axis] + local[0] * frames[module, 3 + axis] + local[1] * frames[module, 6 + axis]


@loop
def find_module_begins(module: Any, begins: Any) -> Any:
    """Write where the cells of each hit module begin; return how many modules are hit."""
    count = 0
    for i in range(len(module)):
        if i == 0 or module[i] != module[i - 1]:
            begins[count] = i
            count += 1
    begins[count] = len(module)
    return count


@loop
def cluster_cells(begins: Any, modules: Any, module: Any, u: Any, v: Any, charge: Any, grids: Any, frames: Any, scratch: Any, out: Any) -> Any:
    """Find the clusters of all modules one after the other; return how many there are."""
    parent, label, sums = scratch
    out_module, local, variance, position, size = out
    at = 0
    for m in range(modules):
        start, stop = begins[m], begins[m + 1]
        first = at
        join_cells(start, stop, u, v, parent)
        at = sum_cells(start, stop, u, v, charge, parent, at, label, sums)
        for i in range(start, stop):
            size[label[i]] += 1
        for i in range(start, stop):
            if parent[i] == i:
                k = label[i]
                out_module[k] = module[i]
                place_cluster(u[i], v[i], sums[k], module[i], grids, frames, local[k], variance[k], position[k])
    return at
