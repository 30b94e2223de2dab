"""A quantised bundle as hardware: Verilog, its simulation and synthesis, and the proof that the bits agree."""

from tamis.firmware.budget import Budget
from tamis.firmware.project import LANGUAGES, Request, build_firmware
from tamis.firmware.report import place_text

__all__ = ["LANGUAGES", "Budget", "Request", "build_firmware", "place_text"]
