// What every harness of a verilated model needs. `Vmodel.h` is Verilator's.

#pragma once

#include <cstdint>

#include "Vmodel.h"
#include "verilated.h"

typedef Vmodel Model;

double sc_time_stamp() { return 0; }

namespace {

// Ports are CData to QData up to 64 bits and VlWide above: these make 32-bit words of either.
template <class T> inline uint32_t word(const T& port, int index) { return uint32_t(uint64_t(port) >> (32 * index)); }
template <std::size_t N> inline uint32_t word(const VlWide<N>& port, int index) { return port[index]; }
template <class T> inline void store(T& port, const uint32_t* words) {
    uint64_t value = words[0];
    if (sizeof(T) > 4) value |= uint64_t(words[1]) << 32;
    port = T(value);
}
template <std::size_t N> inline void store(VlWide<N>& port, const uint32_t* words) {
    for (std::size_t i = 0; i < N; i++) port[i] = words[i];
}

}  // namespace
