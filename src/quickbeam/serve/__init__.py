"""Inference as a service: the server (`quickbeam.serve.server`) of the KServe v2 / Triton protocol, and its client."""

__all__: list[str] = []
