"""The interfaces to the service: gRPC, REST, metrics, and local sockets with shared memory."""
