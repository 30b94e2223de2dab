"""Sizing a farm: the closed formula, and a simulation by discrete events that records calibrate."""
