-- in0 +/- in1 * 2**SHIFT1, without the lowest DROP_LSBS bits; yosys maps it to one carry chain, with a LUT where both have bits.
library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

entity shift_adder is
    generic (
        BW_INPUT0: positive := 32;
        BW_INPUT1: positive := 32;
        SIGNED0: natural := 0;
        SIGNED1: natural := 0;
        BW_OUT: positive := 32;
        DROP_LSBS: natural := 0;
        SHIFT1: integer := 0;
        IS_SUB: natural := 0
    );
    port (
        in0: in std_logic_vector(BW_INPUT0 - 1 downto 0);
        in1: in std_logic_vector(BW_INPUT1 - 1 downto 0);
        result: out std_logic_vector(BW_OUT - 1 downto 0)
    );
end entity shift_adder;

architecture rtl of shift_adder is
    constant WIDTH: positive := BW_OUT + DROP_LSBS;

    -- The bits from place `low` on, with zeros below and copies of the sign above.
    function placed(bits: std_logic_vector; is_signed, low: natural) return unsigned is
        variable term: unsigned(WIDTH - 1 downto 0) := (others => '0');
    begin
        for place in low to WIDTH - 1 loop
            if place - low < bits'length then
                term(place) := bits(place - low);
            elsif is_signed = 1 then
                term(place) := bits(bits'length - 1);
            end if;
        end loop;
        return term;
    end function;

    -- The lowest bits of one that the other does not reach are copied, unless they are subtracted.
    function sum_of(term0, term1: unsigned) return unsigned is
        variable sum: unsigned(WIDTH - 1 downto 0);
    begin
        if SHIFT1 > 0 and SHIFT1 < WIDTH then
            sum(SHIFT1 - 1 downto 0) := term0(SHIFT1 - 1 downto 0);
            if IS_SUB = 1 then
                sum(WIDTH - 1 downto SHIFT1) := term0(WIDTH - 1 downto SHIFT1) - term1(WIDTH - 1 downto SHIFT1);
            else
                sum(WIDTH - 1 downto SHIFT1) := term0(WIDTH - 1 downto SHIFT1) + term1(WIDTH - 1 downto SHIFT1);
            end if;
        elsif SHIFT1 < 0 and -SHIFT1 < WIDTH and IS_SUB = 0 then
            sum(-SHIFT1 - 1 downto 0) := term1(-SHIFT1 - 1 downto 0);
            sum(WIDTH - 1 downto -SHIFT1) := term0(WIDTH - 1 downto -SHIFT1) + term1(WIDTH - 1 downto -SHIFT1);
        elsif IS_SUB = 1 then
            sum := term0 - term1;
        else
            sum := term0 + term1;
        end if;
        return sum;
    end function;

    -- The number if it is positive, or else 0.
    function positive_part(number: integer) return natural is
    begin
        if number > 0 then
            return number;
        end if;
        return 0;
    end function;

    signal sum: unsigned(WIDTH - 1 downto 0);
begin
    sum <= sum_of(placed(in0, SIGNED0, positive_part(-SHIFT1)), placed(in1, SIGNED1, positive_part(SHIFT1)));
    result <= std_logic_vector(sum(WIDTH - 1 downto DROP_LSBS));
end architecture rtl;
