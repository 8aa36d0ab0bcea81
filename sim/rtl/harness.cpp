// Steps a verilated machine. Compiled with the model and a generated `ports.h`, used through ctypes.

#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "ports.h"
#include "model.h"

#if TRACE_VCD
#include "verilated_vcd_c.h"
typedef VerilatedVcdC Trace;
#elif TRACE_FST
#include "verilated_fst_c.h"
typedef VerilatedFstC Trace;
#endif

namespace {

constexpr int kBeatWords = BEAT_BYTES < 4 ? 1 : BEAT_BYTES / 4;

struct Simulation {
    VerilatedContext context;
    Model* top = nullptr;
    uint8_t* external = nullptr;
    uint64_t external_size = 0;
    uint64_t running_cycles = 0;
    bool seen_running = false;
    std::vector<uint64_t> events;   // cycle, unit, tag
    std::vector<uint32_t> counters; // COUNTERS words an event
#if TRACE_VCD || TRACE_FST
    Trace trace;
#endif

    void dump(uint64_t time) {
#if TRACE_VCD || TRACE_FST
        if (trace.isOpen()) trace.dump(time);
#endif
    }

    // From just before a rising edge to just before the next one.
    void step() {
#if BEAT_BYTES
        const bool write = top->store_write & 1;
        const uint64_t at = top->store_address / BEAT_BYTES * BEAT_BYTES;
        uint32_t beat[kBeatWords + 1] = {0};
        for (int i = 0; i < kBeatWords; i++) beat[i] = word(top->store_write_data, i);
#endif
        top->clk = 1;
        top->eval();
        dump(context.time());
        context.timeInc(1);
#if BEAT_BYTES
        if (write && at + BEAT_BYTES <= external_size) std::memcpy(external + at, beat, BEAT_BYTES);
#endif
        top->clk = 0;
        settle();
        dump(context.time());
        context.timeInc(1);
        watch();
    }

    // Let the inputs that have changed, and the external memory, take effect.
    void settle() {
#if BEAT_BYTES
        uint32_t beat[kBeatWords + 1] = {0};
        const uint64_t at = top->store_address / BEAT_BYTES * BEAT_BYTES;
        if (at + BEAT_BYTES <= external_size) std::memcpy(beat, external + at, BEAT_BYTES);
        store(top->store_read_data, beat);
#endif
        top->eval();
    }

    // Called once a cycle, before its edge.
    void watch() {
        if (top->rst) return;
        if (top->running) {
            running_cycles++;
            seen_running = true;
        }
        WATCH_UNITS
    }

    template <class T> void retired(const T& port, int unit) {
        const uint32_t bits = word(port, 0);
        if (!(bits & 1)) return;
#if HAS_CYCLE
        events.push_back(top->cycle);
#else
        events.push_back(running_cycles);
#endif
        events.push_back(unit);
        events.push_back(bits >> 1 & 0xffff);
        for (int i = 0; i < COUNTERS; i++) counters.push_back(COUNTER_WORD(i));
    }

    // Sends the accesses as fast as they are taken. 0: fine, 1: some answer was an error, 2: no answer in time.
    int host(bool write, uint32_t address, uint32_t* words, uint64_t count, uint64_t patience) {
        uint64_t sent = 0, answered = 0, idle = 0;
        int status = 0;
        HOST_RESPONSE_READY = 1;
        while (answered < count) {
            const bool offer = sent < count;
            const uint32_t data = write && offer ? words[sent] : 0;
            const uint32_t at = address + uint32_t(4 * sent);
            const uint32_t request[3] = {at, uint32_t(write) | data << 1, data >> 31};
            store(HOST_REQUEST, request);
            HOST_REQUEST_VALID = offer;
            settle();
            const bool taken = offer && HOST_REQUEST_READY, came = HOST_RESPONSE_VALID;
            if (came) {
                if (!write) words[answered] = word(HOST_RESPONSE, 0);
                if (word(HOST_RESPONSE, 1) & 1) status = 1;
            }
            sent += taken;
            answered += came;
            idle = taken || came ? 0 : idle + 1;
            if (idle > patience) status = 2;
            step();
            if (status == 2) break;
        }
        HOST_REQUEST_VALID = 0;
        HOST_RESPONSE_READY = 0;
        settle();
        return status;
    }
};

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void* sim_new(uint8_t* external, uint64_t size, const char* trace) {
    Simulation* sim = new Simulation;
    sim->external = external;
    sim->external_size = size;
    const char* arguments[] = {"sim"};
    sim->context.commandArgs(1, arguments);
#if TRACE_VCD || TRACE_FST
    sim->context.traceEverOn(true);
#endif
    sim->top = new Model(&sim->context, "top");
#if TRACE_VCD || TRACE_FST
    sim->top->trace(&sim->trace, 99);
    sim->trace.open(trace);
#endif
    return sim;
}

void sim_reset(void* handle, int cycles) {
    Simulation* sim = static_cast<Simulation*>(handle);
    sim->top->clk = 0;
    sim->top->rst = 1;
    sim->HOST_REQUEST_VALID = 0;
    sim->HOST_RESPONSE_READY = 0;
    sim->settle();
    for (int i = 0; i < cycles; i++) sim->step();
    sim->top->rst = 0;
    sim->settle();
    sim->seen_running = false;
    sim->running_cycles = 0;
}

int sim_host(void* handle, int write, uint32_t address, uint32_t* words, uint64_t count, uint64_t patience) {
    return static_cast<Simulation*>(handle)->host(write, address, words, count, patience);
}

// 0: `running` has fallen, 1: it did not rise within `start` steps, 2: it did not fall within `limit` more.
int sim_run(void* handle, uint64_t limit, uint64_t start) {
    Simulation* sim = static_cast<Simulation*>(handle);
    for (uint64_t i = 0; !sim->seen_running; i++) {
        if (i >= start) return 1;
        sim->step();
    }
    for (uint64_t i = 0; sim->top->running; i++) {
        if (i >= limit) return 2;
        sim->step();
    }
    return 0;
}

uint64_t sim_take_cycles(void* handle) {
    Simulation* sim = static_cast<Simulation*>(handle);
    const uint64_t cycles = sim->running_cycles;
    sim->running_cycles = 0;
    sim->seen_running = false;
    return cycles;
}

uint64_t sim_events(void* handle) { return static_cast<Simulation*>(handle)->events.size() / 3; }

void sim_take_events(void* handle, uint64_t* events, uint32_t* counters) {
    Simulation* sim = static_cast<Simulation*>(handle);
    if (!sim->events.empty()) std::memcpy(events, sim->events.data(), 8 * sim->events.size());
    if (!sim->counters.empty()) std::memcpy(counters, sim->counters.data(), 4 * sim->counters.size());
    sim->events.clear();
    sim->counters.clear();
}

void sim_counters(void* handle, uint32_t* counters) {
    Simulation* sim = static_cast<Simulation*>(handle);
    Model* top = sim->top;
    (void)top;
    for (int i = 0; i < COUNTERS; i++) counters[i] = COUNTER_WORD(i);
}

int sim_interrupt(void* handle) {
    Model* top = static_cast<Simulation*>(handle)->top;
    (void)top;
    return INTERRUPT;
}

void sim_delete(void* handle) {
    Simulation* sim = static_cast<Simulation*>(handle);
#if TRACE_VCD || TRACE_FST
    sim->trace.close();
#endif
    sim->top->final();
    delete sim->top;
    delete sim;
}

}
#pragma GCC visibility pop
