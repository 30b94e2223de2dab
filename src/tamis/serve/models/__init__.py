"""The served models: opening, scheduling, loading and unloading."""
