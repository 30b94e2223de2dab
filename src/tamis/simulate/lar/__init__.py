"""The stream of a liquid-argon calorimeter's data quality, with faults and their truth."""

from tamis.simulate.lar.sample import LarStream, StreamPlan, plan_stream, simulate_lar

__all__ = ["LarStream", "StreamPlan", "plan_stream", "simulate_lar"]
