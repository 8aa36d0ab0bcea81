"""Random clients of the unified memory and what they must get, a cycle at a time, for any simulator."""

import random
from collections import deque
from typing import Any

Request = tuple[int, int, int]  # address, mask, data


class Traffic:
    """Every port asks at random, for a while all at once, for a while hardly; `step` checks one cycle.

    `memory` is what the memory must hold. Reads are compared with it as it was when they were granted.
    """

    def __init__(self, size_bytes: int, word_bytes: int, ports: dict[str, bool], latencies: dict[str, int], first: str,
                 seed: int = 1, beyond: bool = False) -> None:
        self.size, self.word, self.ports, self.latencies, self.first = size_bytes, word_bytes, ports, latencies, first
        self.rng = random.Random(seed)
        self.memory = bytearray(size_bytes)
        self.beyond = beyond
        self.asking: dict[str, Request | None] = dict.fromkeys(ports)
        self.due: dict[str, deque[tuple[int, int, int]]] = {p: deque() for p in ports}
        self.granted = dict.fromkeys(ports, 0)
        self.refused = dict.fromkeys(ports, 0)
        self.longest = dict.fromkeys(ports, 0)
        self.errors: list[tuple[int, int, str]] = []
        self.cycle = 0

    def _new(self, port: str) -> Request:
        top = self.size + (64 if self.beyond else 0)
        # Half of the accesses are close together, so that ports meet and reads find what was written.
        address = self.rng.randrange(top if self.rng.random() < 0.5 else min(top, 8 * self.word))
        if self.beyond and self.rng.random() < 0.2:
            address = self.rng.choice(
                [self.size - 1, self.size, self.size + 7, self.size - self.word + 1, (1 << 24) - 1])
        if not self.beyond:
            address = min(address, self.size - self.word)
        if self.ports[port]:
            address -= address % self.word
        mask = self.rng.choice([(1 << self.word) - 1, self.rng.getrandbits(self.word), 1, 0, 1 << self.word - 1])
        return address, mask, self.rng.getrandbits(8 * self.word)

    def requests(self) -> dict[str, Request | None]:
        """What the ports ask in this cycle; an open request stays as it is."""
        busy = (0.02, 0.3, 0.9, 1.0)[self.cycle // 100 % 4]
        for port in self.ports:
            if self.asking[port] is None and self.rng.random() < busy:
                self.asking[port] = self._new(port)
        return self.asking

    def step(self, ready: dict[str, int], responses: dict[str, int | None]) -> None:
        """Check the cycle: `ready` of every port, and the responses (None: not valid) of the reading ones."""
        for port in self.ports:
            if port[0] == "r":
                due = self.due[port]
                if due and due[0][0] == self.cycle:
                    _, expected, known = due.popleft()
                    got = responses[port]
                    assert got is not None, f"{port} got no answer in cycle {self.cycle}"
                    assert got & known == expected & known, f"{port} got {got:x}, expected {expected:x}"
                else:
                    assert responses[port] is None, f"{port} got an answer too many in cycle {self.cycle}"
        # A bank serves one access a cycle, so no read meets a write of the same bytes.
        order = sorted(self.ports, key=lambda port: port[0])
        for port in order:
            request = self.asking[port]
            if request is None:
                continue
            if not ready[port]:
                assert port != self.first, f"{port} was refused"
                self.refused[port] += 1
                self.longest[port] = max(self.longest[port], self.refused[port])
                continue
            self.refused[port] = 0
            self.granted[port] += 1
            self.asking[port] = None
            self._take(port, *request)
        self.cycle += 1

    def _take(self, port: str, address: int, mask: int, value: int) -> None:
        inside = range(max(0, min(self.word, self.size - address)))
        if port[0] == "r":
            word = sum(self.memory[address + i] << 8 * i for i in inside)
            known = (1 << 8 * len(inside)) - 1 if len(inside) else (1 << 8 * self.word) - 1
            self.due[port].append((self.cycle + self.latencies[port], word, known))
            missing = not len(inside)
        else:
            for i in inside:
                if mask >> i & 1:
                    self.memory[address + i] = value >> 8 * i & 255
            missing = not len(inside) or bool(mask >> len(inside))
        if missing:
            self.errors.append((self.cycle + 2, max(address, self.size), port))

    def expected_error(self, ports: list[str]) -> tuple[int, int] | None:
        """Address and port index of the error that shows in the cycle just stepped, if any."""
        now = [(ports.index(port), address) for cycle, address, port in self.errors if cycle == self.cycle - 1]
        return min(now)[::-1] if now else None


def drive(port: Any, request: Request | None, noise: Any) -> tuple[int, Any]:
    """Valid and payload of a port for a request; noise while there is none."""
    address, mask, value = request or (noise.getrandbits(24), 0xFFFF, 0)
    return int(request is not None), address if port[0] == "r" else {"address": address, "mask": mask, "data": value}
