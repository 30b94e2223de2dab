"""Compare the emulated firmware of trees with conifer: the same sums, bit by bit, from conifer's C++ back end, or its HLS one.

Needs an environment with tamis and requirements.txt, g++, nlohmann's JSON headers (Debian: nlohmann-json3-dev, and JSON_ROOT=/usr/include), and XILINX_AP_INCLUDE, the folder of
ap_fixed.h, such as alkaid/codegen/hls/source/ap_types/include.

    python benchmarks/conifer_trees/run.py bdt.tamis --vectors 100000 -o benchmarks/records/conifer-trees.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import conifer
import numpy as np

from tamis._base import host_facts, utc_timestamp
from tamis.bundle import Bundle, rows_of
from tamis.firmware.emulator import Emulator
from tamis.firmware.verify import emulated, random_rows
from tamis.fixedpoint import FixedGrid, FixedProgram, grids
from tamis.fixedpoint.program import Forest, Trees

BACKENDS = ("cpp", "xilinxhls")


def tree_of(forest: Forest, root: int, output: int, features: int) -> dict[str, list[Any]]:
    """Return one tree for one output as conifer describes it."""
    tree: dict[str, list[Any]] = {
        name: [] for name in ("feature", "weight", "threshold", "value", "children_left", "children_right")
    }

    def grow(node: int) -> int:
        number = len(tree["feature"])
        leaf = node < 0
        feature = -2 if leaf else int(forest.features[node])
        tree["feature"].append(feature)
        tree["weight"].append([int(place == feature) for place in range(features)])
        tree["threshold"].append(-2.0 if leaf else float(np.floor(forest.thresholds[node])))
        tree["value"].append(float(forest.leaves[-1 - node, output]) if leaf else 0.0)
        tree["children_left"].append(-1)
        tree["children_right"].append(-1)
        if not leaf:
            tree["children_left"][number] = grow(int(forest.yes[node]))
            tree["children_right"][number] = grow(int(forest.no[node]))
        return number

    grow(root)
    return tree


def depth_of(tree: dict[str, list[Any]], node: int = 0) -> int:
    """Return the number of questions along the longest path."""
    if tree["children_left"][node] < 0:
        return 0
    return 1 + max(depth_of(tree, tree[side][node]) for side in ("children_left", "children_right"))


def ensemble(program: FixedProgram) -> tuple[dict[str, Any], Trees]:
    """Return the trees of a program as conifer describes an ensemble: a list of outputs for each tree."""
    (step,) = (step for step in program.steps if isinstance(step, Trees))
    features = int(np.prod(program.inputs[0].shape))
    outputs = step.forest.leaves.shape[1]
    trees = [
        [tree_of(step.forest, int(root), output, features) for output in range(outputs)]
        for root in step.forest.roots
    ]
    return {
        "trees": trees,
        "n_trees": len(trees),
        "n_classes": outputs,
        "n_features": features,
        "max_depth": max(depth_of(tree) for row in trees for tree in row),
        "init_predict": [0.0] * outputs,
        "norm": 1.0,
        "library": "tamis",
        "splitting_convention": "<=",
    }, step


def precisions(program: FixedProgram) -> dict[str, str]:
    """Return conifer's types: inputs are integers, and the scores hold every partial sum."""
    one, (*_, last) = program.inputs[0], grids(program)
    bits = int(FixedGrid(one.low, one.high, one.fraction).widths.max()) + 2
    reach = float(np.max(last.reach if last.reach is not None else np.abs(last.high)))
    fraction = int(last.fractions.max())
    whole = int(np.ceil(np.log2(reach + 1))) + 2
    return {
        "InputPrecision": f"ap_fixed<{bits},{bits}>",
        "ThresholdPrecision": f"ap_fixed<{bits},{bits}>",
        "WeightPrecision": "ap_fixed<3,3>",
        "ScorePrecision": f"ap_fixed<{whole + fraction},{whole}>",
    }


def main() -> None:
    """Compare, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--backends", nargs="+", default=["cpp"], choices=BACKENDS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    program = Emulator(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1))).graph.program
    described, _ = ensemble(program)
    one = program.inputs[0]
    vectors = random_rows(FixedGrid(one.low, one.high, one.fraction), options.vectors, 0)
    expected = emulated(program, vectors)
    rows = {}
    for backend in options.backends:
        with tempfile.TemporaryDirectory() as folder:
            config = {
                "Backend": backend,
                "ProjectName": "trees",
                "OutputDir": folder,
                **(
                    {"XilinxPart": "xcvu13p-flga2577-2-e", "ClockPeriod": 5} if backend == "xilinxhls" else {}
                ),
                **precisions(program),
            }
            model = conifer.model.make_model(described, config)
            model.compile()
            found = np.asarray(model.decision_function(vectors)).reshape(len(vectors), -1)
        rows[backend] = {"differing": int((found != expected).any(axis=1).sum()), **precisions(program)}
        print(
            f"conifer {version('conifer')}, {backend}: {rows[backend]['differing']} of {len(vectors)} vectors differ"
        )
    record = {
        "kind": "conifer-trees",
        "bundle": bundle.name,
        "trees": described["n_trees"],
        "outputs": described["n_classes"],
        "created": utc_timestamp(),
        "host": host_facts().model_dump(),
        "conifer": version("conifer"),
        "vectors": len(vectors),
        "backends": rows,
    }
    if options.output is not None:
        options.output.write_text(json.dumps(record, indent=1) + "\n")
    if any(row["differing"] for row in rows.values()):
        raise SystemExit("conifer and the emulation differ")


if __name__ == "__main__":
    main()
