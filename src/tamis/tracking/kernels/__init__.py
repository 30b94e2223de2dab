"""The work of the reconstruction, in bodies that compile for CPU and GPU."""
