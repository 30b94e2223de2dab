"""Models that are served: where they come from, when they run, and with whom."""
