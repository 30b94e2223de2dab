"""The client: models on servers, with as many requests in flight as one likes."""

from tamis.serve.client.channel import CallError, Channel

__all__ = ["CallError", "Channel"]
