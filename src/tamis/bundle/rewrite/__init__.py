"""Graph rewrites that help every engine: small passes, each verified on the model that is packed."""

from tamis.bundle.rewrite.apply import REWRITE_PASSES, rewrite
from tamis.bundle.rewrite.expand_trees import expand_trees

__all__ = ["REWRITE_PASSES", "expand_trees", "rewrite"]
