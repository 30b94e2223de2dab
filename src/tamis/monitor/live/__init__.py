"""The live page of a monitor: a small server in the standard library, and a page without libraries."""

from tamis.monitor.live.access import token_of
from tamis.monitor.live.server import LiveServer, LiveSettings

__all__ = ["LiveServer", "LiveSettings", "token_of"]
