"""Reports: records drawn as one HTML page and as figures, and the model card. Computes nothing."""

from quickbeam.report.card import write_card
from quickbeam.report.write import write_report

__all__ = ["write_card", "write_report"]
