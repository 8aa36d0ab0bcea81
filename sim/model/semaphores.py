"""When counting semaphores grant, from the times of the gives."""

from bisect import bisect_right


def granted(asked: int, given: int) -> int:
    """Cycle of the grant of a take that is first offered in cycle `asked` and needs the give of cycle `given`.

    The pipeline of `rtl/semaphores.py`: four cycles where the count is there; a taker that was refused asks again when
    it hears of the give, later still where its refusal was then on its way.
    """
    late = asked - given
    if late > 0:
        return asked + 4
    return given + (5 if late == 0 else 7 if late == -1 else 6)


class Semaphore:
    """The gives to a semaphore that are known so far, one entry of `times` for each 1 given, in order of time.

    The first `taken` of them have been used up. A give that becomes known late goes before those of later cycles, but
    cannot change takes that have been computed.
    """

    __slots__ = ("times", "taken")

    def __init__(self) -> None:
        self.times: list[int] = []
        self.taken = 0

    def give(self, time: int, count: int = 1) -> None:
        """`count` are given in cycle `time`."""
        times = self.times
        if times and time < times[-1]:
            at = bisect_right(times, time, self.taken)
            times[at:at] = [time] * count
        elif count == 1:
            times.append(time)
        else:
            times.extend([time] * count)

    @property
    def known(self) -> int:
        """How many can be taken at times that are known."""
        return len(self.times) - self.taken

    def take(self, asked: int, count: int = 1) -> int:
        """Cycle in which a take of `count` (at most `known`) is granted that is offered from cycle `asked` on."""
        self.taken += count
        return granted(asked, self.times[self.taken - 1])
