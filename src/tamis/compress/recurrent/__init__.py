"""Recurrent layers as plain operators, step by step, so that they can be quantised."""
