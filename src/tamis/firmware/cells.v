// Xilinx cells that yosys uses, as plain Verilog: what a netlist means, for its simulation.
module LUT1 #(parameter [1:0] INIT = 0) (output O, input I0); assign O = INIT[I0]; endmodule
module LUT2 #(parameter [3:0] INIT = 0) (output O, input I0, I1); assign O = INIT[{I1, I0}]; endmodule
module LUT3 #(parameter [7:0] INIT = 0) (output O, input I0, I1, I2); assign O = INIT[{I2, I1, I0}]; endmodule
module LUT4 #(parameter [15:0] INIT = 0) (output O, input I0, I1, I2, I3); assign O = INIT[{I3, I2, I1, I0}]; endmodule
module LUT5 #(parameter [31:0] INIT = 0) (output O, input I0, I1, I2, I3, I4);
    assign O = INIT[{I4, I3, I2, I1, I0}];
endmodule
module LUT6 #(parameter [63:0] INIT = 0) (output O, input I0, I1, I2, I3, I4, I5);
    assign O = INIT[{I5, I4, I3, I2, I1, I0}];
endmodule
module INV (output O, input I); assign O = ~I; endmodule
module MUXF7 (output O, input I0, I1, S); assign O = S ? I1 : I0; endmodule
module MUXF8 (output O, input I0, I1, S); assign O = S ? I1 : I0; endmodule
module MUXF9 (output O, input I0, I1, S); assign O = S ? I1 : I0; endmodule
module CARRY4 (output [3:0] CO, output [3:0] O, input CI, CYINIT, input [3:0] DI, S);
    wire c0 = S[0] ? CI | CYINIT : DI[0];
    wire c1 = S[1] ? c0 : DI[1];
    wire c2 = S[2] ? c1 : DI[2];
    wire c3 = S[3] ? c2 : DI[3];
    assign CO = {c3, c2, c1, c0};
    assign O = S ^ {c2, c1, c0, CI | CYINIT};
endmodule
module FDRE #(parameter INIT = 0, IS_C_INVERTED = 0, IS_D_INVERTED = 0, IS_R_INVERTED = 0)
    (output reg Q, input C, CE, D, R);
    initial Q = INIT[0];
    always @(posedge C) if (R) Q <= 0; else if (CE) Q <= D;
endmodule
module FDSE #(parameter INIT = 1, IS_C_INVERTED = 0, IS_D_INVERTED = 0, IS_S_INVERTED = 0)
    (output reg Q, input C, CE, D, S);
    initial Q = INIT[0];
    always @(posedge C) if (S) Q <= 1; else if (CE) Q <= D;
endmodule
module SRL16E #(parameter [15:0] INIT = 0, parameter IS_CLK_INVERTED = 0)
    (output Q, input A0, A1, A2, A3, CE, CLK, D);
    reg [15:0] bits = INIT;
    assign Q = bits[{A3, A2, A1, A0}];
    always @(posedge CLK) if (CE) bits <= {bits[14:0], D};
endmodule
module SRLC32E #(parameter [31:0] INIT = 0, parameter IS_CLK_INVERTED = 0)
    (output Q, Q31, input [4:0] A, input CE, CLK, D);
    reg [31:0] bits = INIT;
    assign Q = bits[A];
    assign Q31 = bits[31];
    always @(posedge CLK) if (CE) bits <= {bits[30:0], D};
endmodule
// A multiplier, as yosys uses it for UltraScale+: without registers, and without the adder behind it.
module DSP48E2 #(
    parameter ACASCREG = 1, ADREG = 1, ALUMODEREG = 1, AREG = 1, BCASCREG = 1, BREG = 1, CARRYINREG = 1, CARRYINSELREG = 1,
        CREG = 1, DREG = 1, INMODEREG = 1, MREG = 1, OPMODEREG = 1, PREG = 1,
        AMULTSEL = "A", BMULTSEL = "B", A_INPUT = "DIRECT", B_INPUT = "DIRECT", USE_MULT = "MULTIPLY", USE_SIMD = "ONE48")
    (output [47:0] P, input [29:0] A, ACIN, input [17:0] B, BCIN, input [47:0] C, PCIN, input [26:0] D, input [3:0] ALUMODE,
     input CARRYIN, input [2:0] CARRYINSEL, input [4:0] INMODE, input [8:0] OPMODE);
    assign P = $signed(A[26:0]) * $signed(B);
    generate
        if (ADREG + AREG + BREG + CREG + DREG + MREG + PREG != 0) registers_of_a_dsp_have_no_model missing();
    endgenerate
endmodule
