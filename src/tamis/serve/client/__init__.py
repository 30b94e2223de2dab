"""The client of the inference service."""

from tamis.serve.client.channel import CallError, Channel
from tamis.serve.client.stateful import RemoteStatefulSession

__all__ = ["CallError", "Channel", "RemoteStatefulSession"]
