"""The sizes of `systolith codec` as bars: in a terminal, and as an SVG."""

from html import escape

from systolith.sim.codec.peers import PEERS

from .codec_report import SYSTOLITH, NetworkSizes

CODECS = (SYSTOLITH, *PEERS)
_WIDTH = 40
_BAR, _GAP, _LEFT, _SCALE = 12, 14, 200, 55


def text_bars(networks: list[NetworkSizes]) -> list[str]:
    """A line for each network and codec; a full bar is 8 bits a value."""
    lines = []
    for network in networks:
        lines.append(network.name)
        for codec in CODECS:
            size = network.per_value(codec)
            length = round(min(size, 10) / 8 * _WIDTH)
            lines.append(f"  {codec:13} {'#' * length:{_WIDTH}} {size:.2f}")
    return lines


def svg_bars(networks: list[NetworkSizes]) -> str:
    """The same as a drawing."""
    height = len(networks) * (len(CODECS) * _BAR + _GAP) + 40
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + 10 * _SCALE}" height="{height}" '
             'font-family="sans-serif" font-size="10">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="{_LEFT}" y="14">bits per int8 value</text>']
    y = 24
    for network in networks:
        parts.append(f'<text x="4" y="{y + _BAR - 3}" font-weight="bold">{escape(network.name)}</text>')
        for codec in CODECS:
            size = network.per_value(codec)
            colour = "#1a6fb0" if codec == SYSTOLITH else "#b8c4ce"
            parts.append(f'<text x="{_LEFT - 4}" y="{y + _BAR - 3}" text-anchor="end">{escape(codec)}</text>'
                         f'<rect x="{_LEFT}" y="{y}" width="{min(size, 9.5) * _SCALE:.1f}" height="{_BAR - 2}" '
                         f'fill="{colour}"/>'
                         f'<text x="{_LEFT + min(size, 9.5) * _SCALE + 3:.1f}" y="{y + _BAR - 3}">{size:.2f}</text>')
            y += _BAR
        y += _GAP
    return "\n".join([*parts, "</svg>", ""])
