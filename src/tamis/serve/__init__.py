"""Inference as a service: a server of the KServe v2 / Triton protocol (`tamis.serve.server`), and its client."""

from tamis._base import require as _require

# the extra installs all its libraries: if this one is missing, fail at once with the install command
_require("hpack", extra="serve", purpose="serving models and using servers (the engine remote)")

__all__: list[str] = []
