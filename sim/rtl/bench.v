// Steps a machine as harness.cpp does, told by a script on standard input. `design.vh` is generated: see icarus.py.
//
//   R cycles 0 0          reset
//   B write address n     host accesses at successive addresses, followed by n words of data: n lines "d data"
//   G limit start 0       run: "c cycles counters"
//   I 0 0 0               "i interrupt"
//   X 0 0 0               load external memory from external.hex
//   D 0 0 0               dump what was written since the last D to dump.hex: "r first last" when there is any
//   Q 0 0 0               end
//
// Numbers are hexadecimal. Each command ends with a line "ok status". An instruction that retires: "e cycle unit tag
// counters".

`timescale 1ns / 1ps
`include "design.vh"

module bench;
  localparam [31:0] STDIN = 32'h8000_0000;
  reg clk = 0, rst = 1;
  reg [64:0] request = 0;
  reg request_valid = 0, response_ready = 0;
  wire request_ready, response_valid, running, interrupt;
  wire [32:0] response;
  wire [31:0] cycle;
  wire [32 * `COUNTERS + 31:0] counters;
  wire [17 * `UNITS + 16:0] retired;
  wire [31:0] store_address;
  wire store_write;
  wire [8 * `BEAT_BYTES - 1:0] store_write_data, store_read_data;
  reg [8 * `BEAT_BYTES - 1:0] store [0:`BEATS - 1];
  wire [31:0] beat = store_address / `BEAT_BYTES;
  assign store_read_data = beat < `BEATS ? store[beat] : 0;

  `TOP dut(.clk(clk), .rst(rst), .host__request__payload(request), .host__request__valid(request_valid),
           .host__request__ready(request_ready), .host__response__payload(response),
           .host__response__valid(response_valid), .host__response__ready(response_ready), .running(running)
           `PORTS);

  reg seen_running = 0;
  reg [63:0] running_cycles = 0;
  reg [31:0] first = 32'hffff_ffff, last = 0, written;
  reg write_now;
  reg [8 * `BEAT_BYTES - 1:0] data_now;
  integer unit;

  // From just before a rising edge to just before the next one.
  task step;
    begin
      write_now = store_write === 1'b1 && beat < `BEATS;
      data_now = store_write_data;
      written = beat;
      clk = 1;
      #5;
      if (write_now) begin
        store[written] = data_now;
        if (written < first || first == 32'hffff_ffff) first = written;
        if (written > last) last = written;
      end
      clk = 0;
      #5;
      if (!rst) begin
        if (running) begin
          running_cycles = running_cycles + 1;
          seen_running = 1;
        end
        for (unit = 0; unit < `UNITS; unit = unit + 1)
          if (retired[17 * unit] !== 1'b0)
            $display("e %h %h %h %h", `HAS_CYCLE ? cycle : running_cycles, unit, retired[17 * unit + 1 +: 16],
                     counters[32 * `COUNTERS + 31:32]);
      end
    end
  endtask

  reg [7:0] command;
  reg [63:0] a, steps;
  reg [31:0] b, c, status;
  reg [31:0] words [0:`BLOCK - 1];
  integer sent, answered, idle, got, n;
  reg taken, came;

  // Sends the accesses as fast as they are taken.
  task host;
    begin
      for (n = 0; n < c; n = n + 1) got = $fscanf(STDIN, " %h", words[n]);
      sent = 0;
      answered = 0;
      idle = 0;
      response_ready = 1;
      while (answered < c && status != 2) begin
        request_valid = sent < c;
        request = {a[0] && sent < c ? words[sent] : 32'd0, a[0], b + 32'd4 * sent};
        #1;
        taken = request_valid && request_ready;
        came = response_valid;
        if (came) begin
          if (!a[0]) words[answered] = response[31:0];
          if (response[32]) status = 1;
        end
        sent = sent + taken;
        answered = answered + came;
        idle = taken || came ? 0 : idle + 1;
        if (idle > `PATIENCE) status = 2;
        step;
      end
      request_valid = 0;
      response_ready = 0;
      #1;
      for (n = 0; n < c; n = n + 1) $display("d %h", words[n]);
    end
  endtask

  task run;
    begin
      for (steps = 0; !seen_running && steps < b; steps = steps + 1) step;
      if (!seen_running) status = 1;
      else begin
        for (steps = 0; running && steps < a; steps = steps + 1) step;
        if (running) status = 2;
        $display("c %h %h", running_cycles, counters[32 * `COUNTERS + 31:32]);
        running_cycles = 0;
        seen_running = 0;
      end
    end
  endtask

  reg [8 * 4096 - 1:0] waves;
  assign counters[31:0] = 0;
  assign retired[17 * `UNITS +: 17] = 0;

  initial begin
    if ($value$plusargs("waves=%s", waves)) begin
      $dumpfile(waves);
      $dumpvars(0, dut);
    end
    command = "R";
    while (command != "Q") begin
      got = $fscanf(STDIN, " %s %h %h %h", command, a, b, c);
      if (got != 4) command = "Q";
      status = 0;
      case (command)
        "R": begin
          rst = 1;
          request_valid = 0;
          response_ready = 0;
          #1;
          for (n = 0; n < a; n = n + 1) step;
          rst = 0;
          #1;
          seen_running = 0;
          running_cycles = 0;
        end
        "B": host;
        "G": run;
        "I": $display("i %h", interrupt);
        "X": $readmemh("external.hex", store);
        "D": if (first != 32'hffff_ffff) begin
          $display("r %h %h", first, last);
          $writememh("dump.hex", store, first, last);
          first = 32'hffff_ffff;
          last = 0;
        end
        default: ;
      endcase
      $display("ok %h", status);
      $fflush;
    end
    $finish;
  end
endmodule
