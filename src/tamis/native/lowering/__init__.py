"""From the graph of one event to a program: statements over buffers."""

from tamis.native.lowering.context import Context, EventDependentError, unsupported
from tamis.native.lowering.lower import lower
from tamis.native.lowering.rule import RULES, Rule, register, rule

__all__ = ["RULES", "Context", "EventDependentError", "Rule", "lower", "register", "rule", "unsupported"]
