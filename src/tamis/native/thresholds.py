"""The numbers that lowering and passes decide by, each with its unit and source.

*Derived* numbers follow from the processor or from the code that they refer to. *Chosen* numbers were set by hand together with the
compiler; no scan of them is recorded, so treat them as a starting point. Any change has to be measured with
`benchmarks/native_speed.py`. Costs are in instructions per vector (`functions.py`).
"""

from __future__ import annotations

# Lowering: which values are written to a buffer.
DEEPEST_EXPRESSION = 200  # instructions; chosen: longer expressions are evaluated in pieces
RECOMPUTED_ELEMENTS = (
    2048  # elements; derived: 8 KiB, a quarter of an L1 cache. Larger values are recomputed ...
)
RECOMPUTED_COST = 12  # instructions; derived: ... at each use, if that takes no more than one costly function

# Lowering: contractions.
VECTOR_OUTPUTS = (
    16  # floats; derived: a vector of AVX-512, on every target, so that all add in the same order
)
INDEPENDENT_CHAINS = 8  # derived: two multiply-add units times four cycles of latency
MOST_CHAINS = 4  # chosen
CHAINED_TERMS = 8  # terms per chain; chosen
FEW_OUTPUTS = 2  # outputs; chosen: a contraction of at most these ...
MANY_TERMS = 32  # terms; chosen: ... and at least these has the lanes of a vector as its chains
COPIED_ROWS = 4  # rows; chosen: a matrix that at least this many rows are multiplied with is copied, if its own rows are not contiguous
PHASED_POSITIONS = 8  # positions; chosen: shorter rows are not copied by phase for a strided convolution
PHASED_TAPS = 16  # taps; chosen: nor are inputs of longer kernels

# Lowering: what is unrolled.
MULTIPLIED_POWER = 16  # exponent; derived: no power up to it takes more than six multiplications
UNROLLED_REDUCTION = 8  # elements; chosen: up to these are reduced within an expression, without a buffer
UNROLLED_WINDOW = 16  # elements; chosen: the same for pooling
COPIED_RUNS = 8  # runs of evenly spaced indices; chosen: more of them are gathered index by index

# Passes.
FORWARDED_COST = 60  # instructions; chosen: longer expressions are not joined
FINISH_COST = 12  # instructions; derived: one costly function, too long to repeat for every sum in registers
PARTICLE_CHANNELS = 8  # channels; derived: a vector of AVX2, so that those of a particle fill it
SPLIT_GAIN = 2  # chosen: a contraction is split if that saves this factor of its multiply-adds
PAIRED_ROWS = 16  # rows and columns; chosen: smaller tables are reduced twice
PAIRED_COLUMNS = 512  # columns; derived: 512 floats of 16 events are 32 KiB, the L1 cache
SPLIT_LENGTHS = (2, 4)  # elements of a row; derived: what the C header can interleave
SPLIT_ROWS = 8  # rows; chosen: half a vector of AVX-512
TILE_INPUT_CYCLES = 18  # cycles per vector for the sums of six inputs of a tile; chosen
TILE_OUTPUT_CYCLES = 35  # cycles per vector for the outputs of a tile of six products; chosen
TILE_SIZE = 6  # inputs and products of the tile that both are for
TILED_TIME = 0.85  # of the time of the plain convolution; chosen: slower tiles are not used
SHORT_SUM = 40  # terms; chosen: longer sums of tiles go in two chains, for an error below 1e-6 of an output
