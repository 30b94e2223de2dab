"""Trigger rates of menus, thresholds for a target rate, and runs compared."""

from tamis.measure.rates.comparison import compare_runs
from tamis.measure.rates.path_rates import rate_hz
from tamis.measure.rates.sample_list import SampleList, SampleSpec, load_samples
from tamis.measure.rates.study import compare_models, study_chain, study_rates, write_tuned

__all__ = [
    "SampleList",
    "SampleSpec",
    "compare_models",
    "compare_runs",
    "load_samples",
    "rate_hz",
    "study_chain",
    "study_rates",
    "write_tuned",
]
