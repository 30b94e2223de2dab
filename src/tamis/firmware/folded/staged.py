"""Logic of alkaid, cut into stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.firmware.chain import read_elements
from tamis.firmware.lower import Logic
from tamis.firmware.luts import LutCount, count_luts


@dataclass(frozen=True)
class StagedLogic:
    """Logic of alkaid, cut into stages, and its Verilog by file name."""

    logic: Logic
    fsm: Any
    sources: dict[str, str]

    @property
    def stages(self) -> int:
        """The number of stages."""
        return len(self.fsm.logic)

    @property
    def luts(self) -> LutCount:
        """The LUTs that it takes by the estimate."""
        return count_luts(list(self.fsm.logic.values()))

    @property
    def register_bits(self) -> int:
        """The bits of its registers."""
        return sum(signal.width for signal in self.fsm.signals.values() if signal.reg)

    @property
    def used(self) -> np.ndarray:
        """Which elements it reads."""
        return read_elements(self.fsm.inp_signals, self.logic)
