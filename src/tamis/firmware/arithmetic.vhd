-- What the layers compute with. Numbers are bits, signed if `signed0` or `signed1` is 1; results have `width` bits. A shift moves the second
-- number up by that many places, or the first one if it is negative.
library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

package arithmetic is
    -- in0 + in1 * 2**shift, without the lowest `drop` bits.
    function sum(in0, in1: std_logic_vector; signed0, signed1: natural; width: positive; drop: natural; shift: integer)
        return std_logic_vector;

    -- in0 - in1 * 2**shift, without the lowest `drop` bits.
    function difference(in0, in1: std_logic_vector; signed0, signed1: natural; width: positive; drop: natural; shift: integer)
        return std_logic_vector;

    -- in0 * in1.
    function product(in0, in1: std_logic_vector; signed0, signed1: natural; width: positive) return std_logic_vector;

    -- -in0.
    function negated(in0: std_logic_vector; signed0: natural; width: positive) return std_logic_vector;

    -- in0 if the key is 1, or else in1 * 2**shift.
    function selected(key: std_logic; in0, in1: std_logic_vector; signed0, signed1: natural; width: positive; shift: integer)
        return std_logic_vector;
end package arithmetic;

package body arithmetic is
    function positive_part(number: integer) return natural is
    begin
        if number > 0 then
            return number;
        end if;
        return 0;
    end function;

    -- The bits from place `low` on, with zeros below and copies of the sign above. Vectors are made whole here and below: GHDL 2.0 may lose
    -- one of many assignments to their elements when it synthesises.
    function placed(bits: std_logic_vector; is_signed, low: natural; width: positive) return unsigned is
        constant ZEROS: unsigned(low - 1 downto 0) := (others => '0');
        constant TERM: unsigned(bits'length + low - 1 downto 0) := unsigned(bits) & ZEROS;
    begin
        if TERM'length >= width then
            return TERM(width - 1 downto 0);
        elsif is_signed = 1 then
            return unsigned(resize(signed(TERM), width));
        end if;
        return resize(TERM, width);
    end function;

    -- The lowest bits of one number, which the other does not reach, are copied: they need no carry chain.
    function sum(in0, in1: std_logic_vector; signed0, signed1: natural; width: positive; drop: natural; shift: integer)
        return std_logic_vector is
        constant TOP: natural := width + drop - 1;
        constant LOW: natural := abs shift;
        constant TERM0: unsigned(TOP downto 0) := placed(in0, signed0, positive_part(-shift), TOP + 1);
        constant TERM1: unsigned(TOP downto 0) := placed(in1, signed1, positive_part(shift), TOP + 1);
        variable total: unsigned(TOP downto 0);
    begin
        if shift = 0 or LOW > TOP then
            total := TERM0 + TERM1;
        elsif shift > 0 then
            total := (TERM0(TOP downto LOW) + TERM1(TOP downto LOW)) & TERM0(LOW - 1 downto 0);
        else
            total := (TERM0(TOP downto LOW) + TERM1(TOP downto LOW)) & TERM1(LOW - 1 downto 0);
        end if;
        return std_logic_vector(total(TOP downto drop));
    end function;

    function difference(in0, in1: std_logic_vector; signed0, signed1: natural; width: positive; drop: natural; shift: integer)
        return std_logic_vector is
        constant TOP: natural := width + drop - 1;
        constant TERM0: unsigned(TOP downto 0) := placed(in0, signed0, positive_part(-shift), TOP + 1);
        constant TERM1: unsigned(TOP downto 0) := placed(in1, signed1, positive_part(shift), TOP + 1);
        variable total: unsigned(TOP downto 0);
    begin
        if shift <= 0 or shift > TOP then
            total := TERM0 - TERM1;
        else
            total := (TERM0(TOP downto shift) - TERM1(TOP downto shift)) & TERM0(shift - 1 downto 0);
        end if;
        return std_logic_vector(total(TOP downto drop));
    end function;

    function product(in0, in1: std_logic_vector; signed0, signed1: natural; width: positive) return std_logic_vector is
        constant BITS0: natural := in0'length + 1 - signed0;  -- a number without a sign gets a zero for it
        constant BITS1: natural := in1'length + 1 - signed1;
        variable total: signed(BITS0 + BITS1 - 1 downto 0);
        variable plain: unsigned(in0'length + in1'length - 1 downto 0);
    begin
        if signed0 = 0 and signed1 = 0 then
            plain := unsigned(in0) * unsigned(in1);
            return std_logic_vector(plain(width - 1 downto 0));
        end if;
        total := signed(placed(in0, signed0, 0, BITS0)) * signed(placed(in1, signed1, 0, BITS1));
        return std_logic_vector(total(width - 1 downto 0));
    end function;

    function negated(in0: std_logic_vector; signed0: natural; width: positive) return std_logic_vector is
    begin
        return std_logic_vector(-signed(placed(in0, signed0, 0, width)));
    end function;

    function selected(key: std_logic; in0, in1: std_logic_vector; signed0, signed1: natural; width: positive; shift: integer)
        return std_logic_vector is
    begin
        if key = '1' then
            return std_logic_vector(placed(in0, signed0, positive_part(-shift), width));
        end if;
        return std_logic_vector(placed(in1, signed1, positive_part(shift), width));
    end function;
end package body arithmetic;
