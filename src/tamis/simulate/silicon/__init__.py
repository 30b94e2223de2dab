"""A fast simulation of a silicon tracker: charged particles leave cells with charge in modules."""

from tamis.simulate.silicon.charges import share_charge
from tamis.simulate.silicon.primaries import GUNS, TrackSample
from tamis.simulate.silicon.sample import simulate_tracks
from tamis.simulate.silicon.transport import Hits, Primaries, transport

__all__ = ["GUNS", "Hits", "Primaries", "TrackSample", "share_charge", "simulate_tracks", "transport"]
