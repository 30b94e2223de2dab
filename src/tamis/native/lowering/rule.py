"""The registry of rules: how each ONNX operator becomes statements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tamis.native.graph import Attribute, Node
from tamis.native.lowering.context import Context, unsupported

Lowering = Callable[[Context, Node], None]


@dataclass(frozen=True)
class Rule:
    """How nodes of some operators are lowered, and which of them."""

    operators: tuple[str, ...]  # of another domain: "domain.Operator"
    lower: Lowering  # reads the node's inputs from the context and defines its outputs there
    accepts: Mapping[str, tuple[Attribute, ...]] = field(
        default_factory=dict
    )  # values of attributes; others are rejected
    since: int = 1  # earliest opset
    reads_buffers: bool = False  # its inputs have to be in buffers, not expressions
    takes_empty: bool = False  # inputs may have no elements

    def check(self, node: Node) -> None:
        """Raise ModelError for a node that the rule does not cover."""
        if node.opset < self.since:
            raise unsupported(
                node, f"it is of opset {node.opset}, and only opset {self.since} and later are supported"
            )
        for name, values in self.accepts.items():
            if node.has(name) and node.attributes[name] not in values:
                supported = ", ".join(map(str, values))
                raise unsupported(
                    node, f"{name}={node.attributes[name]!r} is not supported, only {supported}"
                )


RULES: dict[str, Rule] = {}  # by operator


def register(rule: Rule) -> None:
    """Add a rule; ValueError if one of its operators has a rule already."""
    for operator in rule.operators:
        if operator in RULES:
            raise ValueError(f"the operator {operator!r} has a rule already")
        RULES[operator] = rule


def rule(
    *operators: str,
    accepts: Mapping[str, tuple[Attribute, ...]] | None = None,
    since: int = 1,
    reads_buffers: bool = False,
    takes_empty: bool = False,
) -> Callable[[Lowering], Lowering]:
    """Return a decorator that registers a function as the rule of some operators; the options are the fields of `Rule`."""

    def registered(lower: Lowering) -> Lowering:
        register(Rule(operators, lower, accepts or {}, since, reads_buffers, takes_empty))
        return lower

    return registered
