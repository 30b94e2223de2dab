// in0 +/- in1 * 2^SHIFT1, without the lowest DROP_LSBS bits; yosys maps it to one carry chain, with a LUT where both have bits.
module shift_adder #(
    parameter BW_INPUT0 = 32,
    parameter BW_INPUT1 = 32,
    parameter SIGNED0 = 0,
    parameter SIGNED1 = 0,
    parameter BW_OUT = 32,
    parameter DROP_LSBS = 0,
    parameter SHIFT1 = 0,
    parameter IS_SUB = 0
) (
    input [BW_INPUT0-1:0] in0,
    input [BW_INPUT1-1:0] in1,
    output [BW_OUT-1:0] out
);
  localparam LOW0 = (SHIFT1 < 0) ? -SHIFT1 : 0;  // the place of the lowest bit of each
  localparam LOW1 = (SHIFT1 > 0) ? SHIFT1 : 0;
  localparam WIDTH = BW_OUT + DROP_LSBS;
  localparam ALL = WIDTH + BW_INPUT0 + LOW0 + BW_INPUT1 + LOW1;

  wire [ALL-1:0] term0 = {{(ALL - BW_INPUT0){SIGNED0 ? in0[BW_INPUT0-1] : 1'b0}}, in0} << LOW0;
  wire [ALL-1:0] term1 = {{(ALL - BW_INPUT1){SIGNED1 ? in1[BW_INPUT1-1] : 1'b0}}, in1} << LOW1;
  wire [WIDTH-1:0] sum;

  generate
    if (IS_SUB) begin : subtract
      if (LOW1 > 0 && LOW1 < WIDTH) begin : copy
        assign sum = {term0[WIDTH-1:LOW1] - term1[WIDTH-1:LOW1], term0[LOW1-1:0]};
      end else begin : all
        assign sum = term0[WIDTH-1:0] - term1[WIDTH-1:0];
      end
    end else begin : add
      if (LOW1 > 0 && LOW1 < WIDTH) begin : copy0
        assign sum = {term0[WIDTH-1:LOW1] + term1[WIDTH-1:LOW1], term0[LOW1-1:0]};
      end else if (LOW0 > 0 && LOW0 < WIDTH) begin : copy1
        assign sum = {term0[WIDTH-1:LOW0] + term1[WIDTH-1:LOW0], term1[LOW0-1:0]};
      end else begin : all
        assign sum = term0[WIDTH-1:0] + term1[WIDTH-1:0];
      end
    end
  endgenerate
  assign out = sum[WIDTH-1:DROP_LSBS];
endmodule
