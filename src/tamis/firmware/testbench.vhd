-- Feeds rows of 32-bit little-endian words from a file into the design, one in every cycle, and writes or compares the words that leave
-- it. Every result has to leave LATENCY cycles after its event entered.
library ieee;
use ieee.std_logic_1164.all;
use ieee.numeric_std.all;

entity testbench is
    generic (
        INPUTS: string := "inputs.bin";
        OUTPUTS: string := "outputs.bin";
        EXPECTED: string := ""  -- nothing is compared without it
    );
end entity testbench;

architecture simulation of testbench is
    constant INPUT_BITS: positive := @INPUT_BITS@;
    constant OUTPUT_BITS: positive := @OUTPUT_BITS@;
    constant LATENCY: positive := @LATENCY@;
    constant INPUT_BYTES: positive := (INPUT_BITS + 31) / 32 * 4;
    constant OUTPUT_BYTES: positive := (OUTPUT_BITS + 31) / 32 * 4;
    type binary is file of character;

    signal clk, in_valid: std_logic := '0';
    signal out_valid: std_logic;
    signal event: std_logic_vector(INPUT_BITS - 1 downto 0) := (others => '0');
    signal result: std_logic_vector(OUTPUT_BITS - 1 downto 0);
begin
    design: entity work.@TOP@ port map(
        clk => clk, in_valid => in_valid, inputs => event, out_valid => out_valid, outputs => result);

    process
        file input_file: binary open read_mode is INPUTS;
        file output_file: binary open write_mode is OUTPUTS;
        file expected_file: binary;
        variable row: std_logic_vector(INPUT_BYTES * 8 - 1 downto 0);
        variable words: std_logic_vector(OUTPUT_BYTES * 8 - 1 downto 0);
        variable byte, seen: character;
        variable sent, received, cycles, wrong: natural := 0;
        variable is_wrong: boolean;
    begin
        if EXPECTED'length > 0 then
            file_open(expected_file, EXPECTED, read_mode);
        end if;
        while received < sent or not endfile(input_file) loop
            if endfile(input_file) then
                in_valid <= '0';
                event <= (others => '1');
            else
                for place in 0 to INPUT_BYTES - 1 loop
                    read(input_file, byte);
                    row(8 * place + 7 downto 8 * place) := std_logic_vector(to_unsigned(character'pos(byte), 8));
                end loop;
                in_valid <= '1';
                event <= row(INPUT_BITS - 1 downto 0);
                sent := sent + 1;
            end if;
            clk <= '0';
            wait for 1 ns;
            clk <= '1';
            wait for 1 ns;
            cycles := cycles + 1;

            assert out_valid = '1' or cycles < received + LATENCY
                report integer'image(received) & " results left the design in " & integer'image(cycles) & " cycles: one is late"
                severity failure;
            if out_valid = '1' then
                assert cycles = received + LATENCY
                    report "a result left the design in cycle " & integer'image(cycles) & ": it is early" severity failure;
                words := (others => '0');
                words(OUTPUT_BITS - 1 downto 0) := result;
                is_wrong := is_x(result);
                for place in 0 to OUTPUT_BYTES - 1 loop
                    seen := character'val(to_integer(unsigned(words(8 * place + 7 downto 8 * place))));
                    write(output_file, seen);
                    if EXPECTED'length > 0 then
                        read(expected_file, byte);
                        is_wrong := is_wrong or byte /= seen;
                    end if;
                end loop;
                received := received + 1;
                if is_wrong then
                    wrong := wrong + 1;
                end if;
            end if;
        end loop;

        std.textio.write(std.textio.output, integer'image(received) & " events, every result after " & integer'image(LATENCY) & " cycles" & LF);
        assert wrong = 0 report "FAILED: " & integer'image(wrong) & " events differ or are undefined" severity failure;
        if EXPECTED'length > 0 then
            std.textio.write(std.textio.output, "PASSED: every bit of " & integer'image(received) & " events agrees" & LF);
        end if;
        wait;
    end process;
end architecture simulation;
