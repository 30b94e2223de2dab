"""Graph rewrites that help every engine: small passes, each verified on the model that is packed."""

from tamis.bundle.rewrite.apply import REWRITE_PASSES, rewrite

__all__ = ["REWRITE_PASSES", "rewrite"]
