"""The KServe v2 / Triton protocol: its messages, and what each means."""
