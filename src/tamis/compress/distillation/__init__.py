"""Distillation: a small student network that predicts the score of its parent, or another metric of it, from the same inputs."""
