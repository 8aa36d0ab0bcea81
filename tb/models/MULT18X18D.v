// Behaviour of Lattice ECP5's MULT18X18D as far as Systolith uses it: signed or unsigned 18 x 18 bits, parallel inputs,
// optional registers at the inputs, in the middle and at the output, all on CLK0, CE0 and RST0.
// Written from the family's sysDSP usage guide (FPGA-TN-02205); cascades and the other clocks are not modelled.
module MULT18X18D(
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
        output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16,
        P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    parameter REG_INPUTA_CLK = "NONE";
    parameter REG_INPUTA_CE = "CE0";
    parameter REG_INPUTA_RST = "RST0";
    parameter REG_INPUTB_CLK = "NONE";
    parameter REG_INPUTB_CE = "CE0";
    parameter REG_INPUTB_RST = "RST0";
    parameter REG_INPUTC_CLK = "NONE";
    parameter REG_PIPELINE_CLK = "NONE";
    parameter REG_PIPELINE_CE = "CE0";
    parameter REG_PIPELINE_RST = "RST0";
    parameter REG_OUTPUT_CLK = "NONE";
    parameter REG_OUTPUT_CE = "CE0";
    parameter REG_OUTPUT_RST = "RST0";
    parameter CLK0_DIV = "ENABLED";
    parameter HIGHSPEED_CLK = "NONE";
    parameter GSR = "ENABLED";
    parameter CAS_MATCH_REG = "FALSE";
    parameter SOURCEB_MODE = "B_SHIFT";
    parameter MULT_BYPASS = "DISABLED";
    parameter RESETMODE = "SYNC";

    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    reg [17:0] a_register = 0, b_register = 0;
    reg [35:0] middle = 0, out = 0;

    wire [17:0] a_used = REG_INPUTA_CLK == "NONE" ? a : a_register;
    wire [17:0] b_used = REG_INPUTB_CLK == "NONE" ? b : b_register;
    wire signed [18:0] a_wide = {SIGNEDA & a_used[17], a_used};
    wire signed [18:0] b_wide = {SIGNEDB & b_used[17], b_used};
    wire signed [37:0] product = a_wide * b_wide;
    wire [35:0] piped = REG_PIPELINE_CLK == "NONE" ? product[35:0] : middle;

    always @(posedge CLK0)
        if (RST0) begin
            a_register <= 0;
            b_register <= 0;
            middle <= 0;
            out <= 0;
        end else if (CE0) begin
            a_register <= a;
            b_register <= b;
            middle <= product[35:0];
            out <= piped;
        end

        assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16,
        P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = REG_OUTPUT_CLK == "NONE" ? piped :
        out;

    initial
        if (SOURCEB_MODE != "B_SHIFT" || MULT_BYPASS != "DISABLED" || RESETMODE != "SYNC") begin
            $display("ERROR: MULT18X18D in a mode that is not modelled");
            $finish;
        end
endmodule
