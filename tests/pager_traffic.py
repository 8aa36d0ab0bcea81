"""Requests for the pager that make sense together, from any number of clients, and what must come of them."""

import random

from systolith.rtl.pager_ports import PageRequestKind as Kind
from systolith.sim.golden.pager import Answer, PagerModel

Request = dict[str, int]
FIGURES = ["used", "high_water", "used_outside", "high_water_outside", "refusals", "error", "code"]
"""The pager's outputs beside the answers."""


def request(kind: int, stream: int, reader: int = 0, count: int = 0) -> Request:
    """A `PageRequest`."""
    return {"kind": int(kind), "stream": stream, "reader": reader, "count": count}


class Traffic:
    """Writers and readers of streams that take turns at random; each request is legal whatever the others do meanwhile.

    A client calls `next`, sends what it gets, and calls `done` with the answer. After `requests` of them the streams
    come to their ends, and `next` returns None when all are unused.
    """

    def __init__(self, streams: int, readers: int, requests: int, seed: int, longest: int = 9) -> None:
        self._rng = random.Random(seed)
        self._streams, self._readers, self._requests, self._longest = streams, readers, requests, longest
        self._wanted: dict[int, int] = {}  # pages that the writer still wants; it has finished where there is no entry
        self._active: dict[int, dict[int, bool]] = {}  # readers of a stream that have not dropped: came to the end
        self._taken: set[tuple[int, int]] = set()  # (stream, reader; -1 the writer) with a request under way
        self.pages: dict[int, list[list[int]]] = {}  # of each used stream: what the writer and each reader have got

    @property
    def finished(self) -> bool:
        """There will be no more requests."""
        return self._requests <= 0 and not self._wanted and not self._active

    def next(self) -> Request | None:
        """A request, or None where there is nothing to ask just now."""
        roles = [(stream, -1) for stream in range(self._streams)]
        roles += [(stream, reader) for stream, active in self._active.items() for reader in active]
        self._rng.shuffle(roles)
        self._requests -= 1
        for stream, reader in roles:
            if (stream, reader) in self._taken:
                continue
            if reader >= 0:
                chosen = self._read(stream, reader)
            elif stream in self._wanted:
                chosen = request(Kind.EXTEND if self._wanted[stream] and self._requests > 0 else Kind.FINISH, stream)
            elif stream in self._active or self._requests <= 0:
                continue
            else:
                chosen = request(Kind.OPEN, stream, count=self._rng.randint(1, self._readers))
            self._taken.add((stream, reader))
            return chosen
        return None

    def _read(self, stream: int, reader: int) -> Request:
        drops = self._active[stream][reader] or self._rng.random() < (0.05 if self._requests > 0 else 0.3)
        return request(Kind.DROP if drops else Kind.FOLLOW, stream, reader)

    def done(self, asked: Request, page: int, ok: int, end: int) -> None:
        """The answer has come."""
        stream, reader = asked["stream"], asked["reader"]
        if asked["kind"] == Kind.OPEN:
            assert ok
            self._wanted[stream] = self._rng.randint(0, self._longest)
            self._active[stream] = dict.fromkeys(range(asked["count"]), False)
            self.pages[stream] = [[] for _ in range(1 + asked["count"])]
        elif asked["kind"] == Kind.EXTEND:
            self._wanted[stream] -= ok if self._rng.random() < 0.95 else self._wanted[stream]
            if ok:
                self.pages[stream][0].append(page)
        elif asked["kind"] == Kind.FINISH:
            del self._wanted[stream]
        elif asked["kind"] == Kind.FOLLOW:
            self._active[stream][reader] = bool(end)
            if ok:
                self.pages[stream][1 + reader].append(page)
        else:
            del self._active[stream][reader]
        self._taken.discard((stream, -1 if asked["kind"] <= Kind.FINISH else reader))
        if stream not in self._wanted and not self._active[stream]:
            del self._active[stream]
            written, *reads = self.pages.pop(stream)
            for got in reads:
                assert got == written[:len(got)], f"readers of stream {stream} got {got} of {written}"


def wild(rng: random.Random, streams: int) -> Request:
    """A request of any kind, sensible or not."""
    stream = rng.randrange(streams) if rng.random() < 0.95 else rng.randrange(64)
    kind = rng.choice([0, 1, 1, 1, 2, 3, 3, 3, 4]) if rng.random() < 0.95 else rng.randrange(8)
    return request(kind, stream, rng.randrange(4) if rng.random() < 0.2 else rng.randrange(2), rng.randrange(1, 4)
                   if rng.random() < 0.8 else rng.randrange(8))


class Follower:
    """Serves the model in the order in which the pager takes requests, and compares each answer and its time.

    Call `cycle` for every clock cycle with the streams' transfers and the pager's figures before the edge.
    """

    def __init__(self, model: PagerModel, clients: int) -> None:
        self.model, self._clients = model, clients
        self._expected: dict[int, tuple[Answer, int]] = {}  # of a client: answer, cycle in which it comes
        self._cycle = self._quiet = self._free = 0
        self._others: dict[int, list[int]] = {}  # of a client that waits: who has been served meanwhile
        self.served = 0

    def cycle(self, requests: list[tuple[int, int, Request]], responses: list[tuple[int, int, tuple[int, int, int]]],
              figures: dict[str, int]) -> None:
        """`requests`, `responses`: valid, ready and payload of each client."""
        self._figures(figures)
        for client, (valid, _, payload) in enumerate(responses):
            due = self._expected.get(client)
            assert valid == (due is not None and self._cycle >= due[1]), f"cycle {self._cycle}: client {client}'s valid"
            if valid and due:
                assert payload == tuple(due[0]), f"client {client} was answered {payload}, expected {due[0]}"
        taken = [client for client, (valid, ready, _) in enumerate(requests) if valid and ready]
        assert len(taken) <= 1
        for client, (valid, _, _) in enumerate(requests):
            if valid and client not in self._expected and client not in taken:
                waits = self._others.setdefault(client, [])
                waits += taken
                assert len(set(waits)) == len(waits), f"client {client} waits while {waits} are served"
        for client, (_, ready, _) in enumerate(responses):
            if ready and client in self._expected and self._cycle >= self._expected[client][1]:
                del self._expected[client]
        for client in taken:
            assert client not in self._expected, "a request was taken before the last one's answer"
            self._serve(client, requests[client][2])
        self._cycle += 1

    def _serve(self, client: int, asked: Request) -> None:
        self.served += 1
        self._others.pop(client, None)
        assert self._cycle >= self._free, "two requests at once"
        before = self.model.refusals
        answer = self.model.request(asked["kind"], asked["stream"], asked["reader"], asked["count"])
        cycles = 5 + 3 * self.model.pages_left
        cycles += 4 * self.model.page_given + self.model.refusals - before
        self._free = self._cycle + cycles
        self._quiet = self._free + 2
        self._expected[client] = (answer, self._free)

    def _figures(self, figures: dict[str, int]) -> None:
        if self._cycle < self._quiet:
            return
        model = self.model
        assert figures == {
            "used": model.used, "high_water": model.chip.high_water,
            "used_outside": model.used_outside, "high_water_outside": model.beyond.high_water,
            "refusals": model.refusals, "error": int(model.code != 0), "code": int(model.code),
        }
