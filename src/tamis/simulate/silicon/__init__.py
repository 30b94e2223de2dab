"""A fast simulation of a silicon tracker: charged particles leave cells with charge in modules."""

from tamis.simulate.silicon.charges import share_charge
from tamis.simulate.silicon.transport import Hits, Primaries, transport

__all__ = ["Hits", "Primaries", "share_charge", "transport"]
