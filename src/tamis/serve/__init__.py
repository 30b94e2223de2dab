"""Inference as a service: a server of the KServe v2 / Triton protocol (`tamis.serve.server`), and its client."""

from tamis._base import require as _require

# One library of the extra speaks for all of them: they are installed together.
_require("hpack", extra="serve", purpose="serving models and using servers (the engine remote)")

__all__: list[str] = []
