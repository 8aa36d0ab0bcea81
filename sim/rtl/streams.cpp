// Feeds a verilated component's streams and keeps what it gives. Compiled with the model and a generated `ports.h`,
// used through ctypes.

#include <cstdint>
#include <vector>

#include "ports.h"
#include "model.h"

namespace {

// Whether a stream waits in a cycle: in runs of 1 to 64 cycles, where `percent` is not 0.
struct Stall {
    uint64_t state;
    int left = 0;
    bool waits = false;

    bool next(int percent) {
        if (!percent) return false;
        if (left-- > 0) return waits;
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        waits = int(state % 100) < percent;
        left = int(state >> 32 & (state >> 40 & 7 ? 3 : 63));
        return waits;
    }
};

struct Bench {
    VerilatedContext context;
    Model* top = nullptr;
    std::vector<uint32_t> given[OUTPUTS];   // words of each output's payloads
    std::vector<uint64_t> when[OUTPUTS];    // the cycle of each
    uint64_t cycle = 0;

    void step() {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
        cycle++;
    }
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void* bench_new() {
    Bench* bench = new Bench;
    bench->top = new Model(&bench->context, "top");
    Model* top = bench->top;
#define INPUT(index, payload, valid, ready, width) valid = 0;
#define OUTPUT(index, payload, valid, ready, width) ready = 0;
    STREAMS
#undef INPUT
#undef OUTPUT
    top->rst = 1;
    for (int i = 0; i < 4; i++) bench->step();
    top->rst = 0;
    bench->cycle = 0;
    return bench;
}

void bench_delete(void* handle) {
    Bench* bench = static_cast<Bench*>(handle);
    bench->top->final();
    delete bench->top;
    delete bench;
}

// Runs until nothing was handed over for `patience` cycles, at most `limit`; the cycle in which it began. `words`,
// `counts`: of each input, its payloads.
uint64_t bench_run(void* handle, const uint32_t** words, const uint64_t* counts, uint64_t seed, int percent,
                   uint64_t patience, uint64_t limit) {
    Bench* bench = static_cast<Bench*>(handle);
    Model* top = bench->top;
    const uint64_t started = bench->cycle;
    uint64_t sent[INPUTS] = {0}, idle = 0;
    bool offered[INPUTS] = {false};
    Stall stalls[INPUTS + OUTPUTS];
    for (int i = 0; i < INPUTS + OUTPUTS; i++) stalls[i].state = (seed + i + 1) * 0x9e3779b97f4a7c15;
    while (idle < patience && bench->cycle - started < limit) {
        idle++;
#define INPUT(index, payload, valid, ready, width) \
        if (!offered[index]) { /* what is offered stays */ \
            offered[index] = sent[index] < counts[index] && !stalls[index].next(percent); \
            if (offered[index]) store(payload, words[index] + sent[index] * ((width + 31) / 32)); \
        } \
        valid = offered[index];
#define OUTPUT(index, payload, valid, ready, width) ready = !stalls[INPUTS + index].next(percent);
        STREAMS
#undef INPUT
#undef OUTPUT
        top->eval();
#define INPUT(index, payload, valid, ready, width) \
        if (valid && ready) { \
            sent[index]++; \
            offered[index] = false; \
            idle = 0; \
        }
#define OUTPUT(index, payload, valid, ready, width) \
        if (valid && ready) { \
            for (int i = 0; i < (width + 31) / 32; i++) bench->given[index].push_back(word(payload, i)); \
            bench->when[index].push_back(bench->cycle); \
            idle = 0; \
        }
        STREAMS
#undef INPUT
#undef OUTPUT
        bench->step();
    }
    return started;
}

uint64_t bench_count(void* handle, int output) { return static_cast<Bench*>(handle)->when[output].size(); }

// What came since the last call.
void bench_take(void* handle, int output, uint32_t* words, uint64_t* when) {
    Bench* bench = static_cast<Bench*>(handle);
    for (uint32_t value : bench->given[output]) *words++ = value;
    for (uint64_t value : bench->when[output]) *when++ = value;
    bench->given[output].clear();
    bench->when[output].clear();
}

}
