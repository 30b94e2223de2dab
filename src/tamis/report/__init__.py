"""Reports: draw records as one HTML page and figures, and write model cards. Computes nothing."""

from tamis.report.array_card import write_array_card
from tamis.report.array_figures import draw_arrays
from tamis.report.card import write_card
from tamis.report.class_card import draw_selectors, write_class_card
from tamis.report.traffic import draw_traffic
from tamis.report.write import write_report

__all__ = [
    "draw_arrays",
    "draw_selectors",
    "draw_traffic",
    "write_array_card",
    "write_card",
    "write_class_card",
    "write_report",
]
