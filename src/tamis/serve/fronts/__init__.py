"""The doors of the service: what may be asked through gRPC, and through HTTP."""
