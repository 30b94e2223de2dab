"""The KServe v2 / Triton protocol: its messages, and conversion between their bytes and arrays."""
