"""HTTP/1.1, HTTP/2 and gRPC on top of asyncio's sockets.

The package stands alone: it imports the standard library, `hpack` and `httptools`, and nothing else of tamis.
"""

Buffer = bytes | bytearray | memoryview
DIRECT_BYTES = 1 << 14  # a payload with more than this still to come is received straight into its own memory
