"""Training, export and packing of the reference networks."""
