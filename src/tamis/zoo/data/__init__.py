"""Training data: event and array files as rows."""
