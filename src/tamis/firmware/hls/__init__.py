"""A quantised bundle as an hls4ml project whose C simulation gives the same bits."""

from tamis.firmware.hls.project import HlsRequest, export_hls4ml

__all__ = ["HlsRequest", "export_hls4ml"]
