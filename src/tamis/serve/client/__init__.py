"""The client of the inference service."""

from tamis.serve.client.channel import CallError, Channel

__all__ = ["CallError", "Channel"]
