"""What clients say to the pager, and what it answers."""

import enum

from amaranth import unsigned
from amaranth.lib import data

MAX_STREAMS, MAX_READERS, MAX_PAGES = 64, 4, 65535
"""What the fields of a request and a response have room for."""


class PageRequestKind(enum.IntEnum):
    """What a client wants."""

    OPEN = 0
    """Begin `stream`, which must be unused, for readers 0 to `count` - 1."""
    EXTEND = 1
    """The writer of `stream` wants its next page."""
    FINISH = 2
    """The writer of `stream` is done."""
    FOLLOW = 3
    """`reader` of `stream` leaves the page that it is on, if any, and wants the next one."""
    DROP = 4
    """`reader` of `stream` will not read on."""


class PageRequest(data.Struct):
    """One request; fields that its kind does not name have no meaning."""

    kind: unsigned(3)
    """A `PageRequestKind`."""
    stream: unsigned(6)
    reader: unsigned(2)
    count: unsigned(3)


class PageResponse(data.Struct):
    """The answer to one request."""

    page: unsigned(16)
    """The page, where `ok` answers EXTEND or FOLLOW; else 0."""
    ok: unsigned(1)
    """Done. 0: no page (EXTEND), no next page (FOLLOW), or misuse; nothing has changed then."""
    end: unsigned(1)
    """FOLLOW without `ok`: there will be no next page, the stream is finished."""


class PagerError(enum.IntEnum):
    """What a client did wrong."""

    NONE = 0
    BAD_REQUEST = 1
    """No such kind of request, or no such stream."""
    STREAM_IN_USE = 2
    """OPEN of a stream that is used."""
    BAD_COUNT = 3
    """OPEN with no reader, or with more than there can be."""
    STREAM_NOT_OPEN = 4
    """Anything but OPEN on a stream that is unused."""
    STREAM_FINISHED = 5
    """EXTEND or FINISH after FINISH."""
    NO_SUCH_READER = 6
    """FOLLOW or DROP of a reader that the stream has not, or that has dropped."""
