"""The numbers that generated code was tuned with; those of one processor are in its target.

"timed": chosen by timing the shipped models on processors with AVX-512 (AMD EPYC of the fourth generation, Intel Xeon of 2.5 GHz) when
the number was introduced; only the times of whole models are recorded (`benchmarks/native_speed.py`). "derived": follows from the
numbers or functions that the comment names. (bits): a change changes results, not only speed.
"""

from __future__ import annotations

# Memory

# Floats of a cache line of 64 bytes; arrays begin at multiples of it.
LINE_FLOATS = 16
# Floats after the end of scratch that may be loaded but are not used. Derived: a shuffle loads 4 vectors of 16.
SLACK_FLOATS = 64

# Elementwise statements and reductions

# Accumulators of a long sum or product, by the last index modulo this (bits). Derived: the lanes of the widest vector.
PARTIAL_SUMS = 16
# Accumulators of a long minimum or maximum. Derived: the latency of its instruction in cycles, at one per cycle.
PARTIAL_EXTREMA = 4
# Elements from which on a reduction has several accumulators (bits). Derived: twice PARTIAL_SUMS.
LONG_REDUCTION = 32
# Instructions from which on an expression is written for several elements, interleaved; and for how many. Timed.
LONG_EXPRESSION = 24
INTERLEAVED = 2
# Rows, or vectors of them, of a block of a table that is reduced by rows and by columns. Timed.
BLOCK_ROWS = 4
# Strides in floats at which whole vectors are loaded and shuffled. Derived: every3 and every4 of moves.h.
SHUFFLE_STRIDES = (3, 4)
# Vectors that numbers may be interleaved from. Derived: interleave2 and interleave4 of moves.h.
INTERLEAVED_VECTORS = (2, 4)
# Floats of the shortest row that is loaded as a part of a vector. Derived: ld_rows4 of moves.h.
SHORTEST_ROW = 4
# Instructions that load a vector, by its stride in floats. Derived: one per vector that is loaded and shuffled.
READ_COSTS = {0: 1.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}

# Contractions

# Terms that are written without a loop; a sum in more chains than this is computed one output at a time. Timed.
STRAIGHT_TERMS = 4
# Positions of a row of which several share a vector. Derived: ld_rows4 and ld_rows8 of moves.h.
SHORT_ROWS = (4, 8)
# Cost of a multiply-add whose vector is loaded from several rows, in plain ones. Timed.
ROW_LOAD_COST = 1.3
# Cost of a vector that is stored or loaded float by float, in multiply-adds. Timed.
SCATTER_COST = 20
# Most vectors of positions in a block, where registers allow it. Derived: with 4 outputs they fill 24 accumulators.
POSITION_VECTORS = 6
# From how many positions on a block has at most how many vectors of outputs. Timed.
MANY_POSITIONS = 6
OUTPUT_VECTORS = 3
# Vectors of outputs in a block of a recurrent layer whose loop alternates its direction, and the share (and multiple) of the first-level
# cache that its weights then take. Timed: an LSTM of 48 units at one event takes 28 us instead of 36.
ALTERNATING_VECTORS = 4
NEAR_SHARE = 0.9
NEAR_EXCESS = 4
# The share of the first-level cache beyond which the weights of a contraction take turns, and the bytes of positions that they do so for.
# Timed on AVX2 (AMD Zen 3).
NEAR_SHARE_OF_WEIGHTS = 0.5
POSITION_CHUNK_BYTES = 98304
# Weights from which on a contraction stores them as bfloat16 or int8 if these are exact. Timed: fewer gain nothing.
MIN_PACKED_WEIGHTS = 4096

# Products of two matrices of the event, and convolutions by tiles

# Most vectors of columns in a block of a product. Timed.
PRODUCT_VECTORS = 4
# Terms of a tile that are written without a loop, and most positions in a block. Timed.
TILE_TERMS = 4
TILE_POSITIONS = 2

# The estimate of a kernel's cycles, before it is timed

# Cycles of the call of a statement's function. Timed.
STATEMENT_CYCLES = 20
# Vector instructions per cycle, and cycles of a multiply-add: Intel since Skylake and AMD since Zen 2 (uops.info).
VECTORS_PER_CYCLE = 2
FMA_LATENCY = 4
# Bytes of the first-level cache, and per cycle from the second-level one: half a line.
NEAR_BYTES = 32768
WEIGHT_BYTES_PER_CYCLE = 32
# Cycles of an element that is selected by an index. Timed.
LOOKUP_CYCLES = 10
