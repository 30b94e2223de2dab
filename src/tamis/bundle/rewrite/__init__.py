"""Graph rewrites that help every engine: small passes, each verified on the model that is packed."""

from tamis.bundle.rewrite.apply import PASSES, rewrite

__all__ = ["PASSES", "rewrite"]
