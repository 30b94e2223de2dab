"""Inference as a service: models answered for over the KServe v2 / Triton protocol, and the client of it."""
