"""What is watched of the liquid-argon calorimeter: four regions, and the quantities of their clusters."""

from __future__ import annotations

REGIONS = (
    "EMBC",
    "EMBA",
    "EMECC",
    "EMECA",
)  # barrel and end-cap, sides C and A, as their partitions are called
IS_ENDCAP = (False, False, True, True)
Q_FULL = 65535  # the quality factor is an integer of 16 bits
TAU_UNIT_NS = 0.01  # times are integers in this unit
SUMS = (
    "n",
    "Q",
    "Q2",
    "tau",
    "tau2",
    "hot",
)  # clusters, sums of Q, its square, tau and its square, clusters that look like noise

MOST = "most"  # of steps: the largest number of such clusters in one event
