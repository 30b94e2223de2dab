"""Inference as a service: the server (`tamis.serve.server`) of the KServe v2 / Triton protocol, and its client."""

from tamis._base import require as _require

# its libraries come together: who has this one has them all, and who has not is told at once how to get them
_require("hpack", extra="serve", purpose="serving models and asking servers (the engine remote)")

__all__: list[str] = []
