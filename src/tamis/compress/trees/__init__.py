"""Boosted trees of small integers instead of a bundle: grown, their leaves trained, judged, and packed."""
