"""Random menus with random faults: each is rejected before the first event, or decides every event as numpy does."""

from __future__ import annotations

import ast
import random

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tamis._base import TamisError
from tamis.events import Events, write_events
from tamis.events.kinematics import delta_phi
from tamis.trigger import check_files, compile_menu, load_menu, run_menu

EVENTS = 40
LISTS = {"Jet": ("Jet_pt", "Jet_eta", "Jet_id"), "Muon": ("Muon_pt", "Muon_phi", "Muon_tight")}
VALUES = ("MET_pt", "MET_phi", "nVertices", "weight")
FLAGS = ("isGood",)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    rng = np.random.default_rng(17)
    counts = {"Jet": rng.integers(0, 5, EVENTS), "Muon": rng.integers(0, 4, EVENTS)}
    n = {name: int(count.sum()) for name, count in counts.items()}
    columns = {
        **{name: np.arange(EVENTS, dtype=np.uint64) for name in ("run", "luminosityBlock", "event")},
        "Jet_pt": ak.unflatten(rng.exponential(60, n["Jet"]).astype("f4"), counts["Jet"]),
        "Jet_eta": ak.unflatten(rng.normal(0, 2, n["Jet"]).astype("f4"), counts["Jet"]),
        "Jet_id": ak.unflatten(rng.integers(0, 7, n["Jet"]).astype("i4"), counts["Jet"]),
        "Muon_pt": ak.unflatten(rng.exponential(30, n["Muon"]).astype("f4"), counts["Muon"]),
        "Muon_phi": ak.unflatten(rng.uniform(-3, 3, n["Muon"]).astype("f4"), counts["Muon"]),
        "Muon_tight": ak.unflatten(rng.uniform(size=n["Muon"]) < 0.5, counts["Muon"]),
        "MET_pt": rng.exponential(40, EVENTS).astype("f4"),
        "MET_phi": rng.uniform(-3, 3, EVENTS).astype("f4"),
        "nVertices": rng.integers(1, 60, EVENTS).astype("i4"),
        "weight": rng.normal(1, 0.1, EVENTS),
        "isGood": rng.uniform(size=EVENTS) < 0.8,
    }
    path = tmp_path_factory.mktemp("random") / "in.root"
    write_events(path, Events.of(columns))
    return path, columns


class Writer:
    """Writes random selections of the right types."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def condition(self, depth: int) -> str:
        rng = self.rng
        kind = rng.choice(["compare", "compare", "chain", "any", "all", "count", "and", "or", "not", "flag"])
        if depth <= 0 and kind in ("and", "or", "not"):
            kind = "compare"
        if kind == "compare":
            return f"{self.number(depth)} {rng.choice(['<', '<=', '>', '>=', '!='])} {self.number(0)}"
        if kind == "chain":
            return f"{rng.randint(0, 20)} < {self.number(depth)} <= {rng.randint(30, 90)}"
        if kind == "flag":
            return rng.choice(FLAGS)
        if kind in ("any", "all"):
            return f"{kind}({self.mask(rng.choice(list(LISTS)), depth)})"
        if kind == "count":
            return f"count({self.mask(rng.choice(list(LISTS)), depth)}) >= {rng.randint(0, 3)}"
        if kind == "not":
            return f"not ({self.condition(depth - 1)})"
        return f"({self.condition(depth - 1)}) {kind} ({self.condition(depth - 1)})"

    def number(self, depth: int) -> str:
        rng = self.rng
        kind = rng.choice(["value", "constant", "sum", "max", "min", "at", "arithmetic", "abs", "where"])
        if depth <= 0:
            kind = rng.choice(["value", "constant"])
        if kind == "value":
            return rng.choice(VALUES)
        if kind == "constant":
            return str(rng.choice([rng.randint(-5, 90), round(rng.uniform(-5, 90), 2)]))
        if kind in ("sum", "max", "min"):
            return f"{kind}({self.list_of(rng.choice(list(LISTS)), depth - 1)})"
        if kind == "at":
            return f"at({self.list_of(rng.choice(list(LISTS)), depth - 1)}, {rng.randint(0, 3)}, {rng.randint(-9, 9)})"
        if kind == "abs":
            return f"abs({self.number(depth - 1)})"
        if kind == "where":
            return f"where({self.condition(0)}, {self.number(depth - 1)}, {self.number(0)})"
        return f"({self.number(depth - 1)} {rng.choice('+-*')} {self.number(depth - 1)})"

    def list_of(self, collection: str, depth: int) -> str:
        rng = self.rng
        name = rng.choice([c for c in LISTS[collection] if c != "Muon_tight"])
        if depth <= 0:
            return name
        return rng.choice(
            [
                f"abs({name})",
                f"({name} * {rng.randint(1, 4)})",
                f"({name} + {self.list_of(collection, depth - 1)})",
                f"where({self.mask(collection, 0)}, {name}, 0)",
                f"({name} - {rng.choice(VALUES)})",
            ]
        )

    def mask(self, collection: str, depth: int) -> str:
        rng = self.rng
        if collection == "Muon" and rng.random() < 0.2:
            return "Muon_tight"
        one = f"{self.list_of(collection, depth)} {rng.choice(['<', '>', '>='])} {rng.randint(-2, 60)}"
        return (
            f"{one} and {self.list_of(collection, 0)} > {rng.randint(-2, 20)}" if rng.random() < 0.3 else one
        )


def faulty(text: str, rng: random.Random) -> str:
    """Return a selection with a random fault of names, types, arguments or syntax."""
    every = [c for columns in LISTS.values() for c in columns]
    faults = [
        lambda: text.replace(rng.choice(VALUES), rng.choice(["MET_p", "Met_pt", "nVertex", "x"])),
        lambda: text.replace(rng.choice(VALUES), rng.choice(every)),
        lambda: text.replace(rng.choice(every), rng.choice(VALUES)),
        lambda: text.replace("Jet_pt", "Muon_pt"),
        lambda: text.replace("any(", "anyone(").replace("max(", "maximum("),
        lambda: text.replace("(", "((", 1),
        lambda: text.replace("any(", "count(").replace(">=", ">"),
        lambda: f"{text} and {rng.choice(every)} > {rng.randint(0, 50)}",
        lambda: f"{rng.choice(every)} > {rng.randint(0, 50)}",
        lambda: f"sum({text})",
        lambda: f"at({rng.choice(every)}, {rng.choice(['-1', '1.5', 'MET_pt', '0'])}, 0) > 5",
        lambda: f"abs({text}, 3)",
        lambda: f"max({rng.choice(VALUES)}) > 3",
        lambda: f"({text}) > 30 GeV",
        lambda: rng.choice(VALUES),
        lambda: f"Jet_pt + Muon_pt > {rng.randint(0, 9)}",
        lambda: f"any(Jet_pt > 30 and Muon_pt > {rng.randint(0, 20)})",
        lambda: f"'{text}' > 3",
        lambda: f"-({rng.choice(FLAGS)}) > 0",
        lambda: f"{rng.choice(FLAGS)} - {rng.choice(FLAGS)} > 0",
        lambda: f"threshold('none') < {rng.choice(VALUES)}",
        lambda: text + " ~ 3",
        lambda: "",
    ]
    return rng.choice(faults)()


def menu_of(rng: random.Random) -> tuple[dict, bool]:
    """Return a random menu, and whether a fault was put into it."""
    writer = Writer(rng)
    paths = {f"p{i}": {"steps": [writer.condition(2) for _ in range(rng.randint(1, 2))]} for i in range(2)}
    menu = {"menu": "random", "paths": paths, "streams": {"s": {"paths": list(paths), "keep": ["MET_pt"]}}}
    if rng.random() < 0.3:
        menu["stages"] = {"defined": {"define": {"own": writer.number(2)}}}
        paths["p0"]["steps"].append(f"own > {rng.randint(0, 60)}")
    wrong = rng.random() < 0.6
    if wrong:
        structural = rng.choice(["", "", "", "budget", "stream", "keep", "prescale", "key", "type", "stage"])
        steps = paths[rng.choice(list(paths))]["steps"]
        if structural == "budget":
            menu["budget"] = rng.choice(["10", "10 parsecs", "-1ms", 5, "ms"])
        elif structural == "stream":
            menu["streams"]["s"]["paths"].append("nothing")
        elif structural == "keep":
            menu["streams"]["s"]["keep"] = ["MET_p", "Jet_*"]
        elif structural == "prescale":
            paths["p1"]["prescale"] = rng.choice([0, -3, 1.5, "often"])
        elif structural == "key":
            paths["p0"]["step"] = ["MET_pt > 3"]
        elif structural == "type":
            paths["p0"]["steps"] = rng.choice([5, "MET_pt > 3", [3], [["MET_pt"]], None])
        elif structural == "stage":
            steps.append("nothing_of_that_name")
        else:
            index = rng.randrange(len(steps))
            steps[index] = faulty(steps[index], rng)
    return menu, wrong


class ToNumpy(ast.NodeTransformer):
    """Turns a selection into numpy calls on one event; written apart from tamis, to check it."""

    def visit_BoolOp(self, node):
        name = "logical_and" if isinstance(node.op, ast.And) else "logical_or"
        result = self.visit(node.values[0])
        for value in node.values[1:]:
            result = _call(f"np_{name}", result, self.visit(value))
        return result

    def visit_UnaryOp(self, node):
        operand = self.visit(node.operand)
        return (
            _call("np_logical_not", operand)
            if isinstance(node.op, ast.Not)
            else ast.UnaryOp(node.op, operand)
        )

    def visit_Compare(self, node):
        values = [self.visit(value) for value in (node.left, *node.comparators)]
        parts = [ast.Compare(a, [op], [b]) for a, op, b in zip(values, node.ops, values[1:], strict=False)]
        result = parts[0]
        for part in parts[1:]:
            result = _call("np_logical_and", result, part)
        return result

    def visit_Call(self, node):
        return ast.Call(ast.Name(f"my_{node.func.id}", ast.Load()), [self.visit(a) for a in node.args], [])


def _call(name, *arguments):
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _wide(values):
    return np.asarray(values, np.float64) if np.asarray(values).dtype.kind == "f" else np.asarray(values)


NAMES = {
    "np_logical_and": np.logical_and,
    "np_logical_or": np.logical_or,
    "np_logical_not": np.logical_not,
    "my_any": lambda v: bool(np.any(v)),
    "my_all": lambda v: bool(np.all(v)),
    "my_count": np.count_nonzero,
    "my_sum": lambda v: np.sum(_wide(v)),
    "my_max": lambda v: np.max(v) if len(v) else -np.inf,
    "my_min": lambda v: np.min(v) if len(v) else np.inf,
    "my_at": lambda v, i, d: v[i] if len(v) > i else d,
    "my_abs": np.abs,
    "my_where": np.where,
    "my_sqrt": np.sqrt,
    "my_delta_phi": delta_phi,
}


def oracle(text, columns, event):
    tree = ast.fix_missing_locations(ast.Expression(ToNumpy().visit(ast.parse(text, mode="eval").body)))
    values = {}
    for name, column in columns.items():
        one = column[event]
        values[name] = ak.to_numpy(one) if isinstance(one, ak.Array) else one
    with np.errstate(all="ignore"):
        return eval(compile(tree, "selection", "eval"), {**NAMES, "__builtins__": {}}, values)  # noqa: S307


def expected(menu, columns):
    found = {}
    for path, spec in menu["paths"].items():
        passed = []
        for event in range(EVENTS):
            own = dict(columns)
            for stage in menu.get("stages", {}).values():
                for name, text in stage["define"].items():
                    own[name] = {event: oracle(text, columns, event)}
            passed.append(all(bool(oracle(step, own, event)) for step in spec["steps"]))
        found[path] = passed
    return found


def problem_of(menu, path):
    """Return why a menu is rejected for a file, or None."""
    try:
        with compile_menu(load_menu(menu)) as compiled:
            check_files(compiled, [path])
    except TamisError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "menus", [range(120), pytest.param(range(120, 300), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_every_menu_is_right_or_rejected_before_the_first_event(menus, sample, tmp_path):
    path, columns = sample
    rejected = wrong_kept = right = 0
    for number in menus:
        menu, wrong = menu_of(random.Random(number))
        file, out = tmp_path / "menu.yaml", tmp_path / f"out{number}"
        file.write_text(yaml.safe_dump(menu, sort_keys=False))
        problem = problem_of(file, path)
        if problem is not None:
            assert wrong, f"menu {number} is right, but was rejected: {problem}\n{menu}"
            assert len(problem.splitlines()) == 1
            rejected += 1
            with pytest.raises(TamisError):  # a run does not start either
                run_menu(load_menu(file), [path], out)
            assert not (out / "units").exists() or not any((out / "units").iterdir())
            continue
        summary = run_menu(load_menu(file), [path], out, mode="event" if number % 2 else "batch")
        assert summary.counts.debug == 0, f"menu {number}: {summary.messages}\n{menu}"
        decided = pq.read_table(out / "decisions.parquet")
        for name, passed in expected(menu, columns).items():
            assert decided[f"HLT_{name}"].to_pylist() == passed, (
                f"menu {number}, {name}: {menu['paths'][name]}"
            )
        wrong_kept += wrong
        right += not wrong
    assert rejected > 0.3 * len(menus)
    assert right > 0.3 * len(menus)
    assert wrong_kept > 0.02 * len(
        menus
    )  # faults that leave a valid menu, such as another column of the same type
