"""Energy of arithmetic: M. Horowitz, Computing's energy problem, ISSCC 2014, figure 1.1.9; 45 nm at 0.9 V, in picojoules.

Integers of other widths are scaled from 8 bits: an adder by its bits, a multiplier by the product of the widths (the table's 32 bits
agree with this to 20 and 3 %). Memory, clock and instructions are not in it: on a processor they cost ten to a hundred times as much.
"""

SOURCE = (
    "arithmetic alone at 45 nm and 0.9 V, after Horowitz, ISSCC 2014; without memory, clock and instructions"
)
ADD_FLOAT32 = 0.9
MULTIPLY_FLOAT32 = 3.7
ADD_INTEGER_BIT = 0.03 / 8
MULTIPLY_INTEGER_BIT = 0.2 / 64  # for each bit of one factor and bit of the other
COMPARE_32 = 0.1  # an integer adder of 32 bits
