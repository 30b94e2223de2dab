"""Graph rewrites that pay for every engine: small passes, each proven on the model at hand."""

from tamis.bundle.rewrite.apply import PASSES, rewrite

__all__ = ["PASSES", "rewrite"]
