"""Bytes in, bytes out: the protocols under the service."""
