"""The plots of scripts/experiment.py, as SVG that follows the reader's light or dark theme. Standard library only."""

from html import escape

COLOURS = {"dapo": "#7a7f87", "shuffled": "#c98a1b", "oracle": "#2e8b57", "vgpo": "#3b6fd4", "predicting": "#a04fc0"}
OTHER = "#444444"
STYLE = ("<style>text{font:12px sans-serif;fill:#555}.axis{stroke:#999;stroke-width:1}"
         "@media(prefers-color-scheme:dark){text{fill:#bbb}.axis{stroke:#777}}</style>")


def document(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img">{STYLE}\n' + "\n".join(parts) + "\n</svg>\n")


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def line(start, end, colour=None, width=1):
    look = f'stroke="{colour}" stroke-width="{width}"' if colour else 'class="axis"'
    return f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" {look}/>'


def gains(cells):
    """Accuracy minus DAPO with its interval: cells of the map in rows, an arm in each line. {cell: {arm: (mean, low,
    high)}}"""
    left, width, step = 230, 720, 18
    ends = [end for arms in cells.values() for interval in arms.values() for end in interval] or [0.0]
    most = max(1.0, *(abs(end) for end in ends)) * 1.05
    across = lambda value: left + (value + most) / (2 * most) * (width - left - 20)  # noqa: E731
    parts, y = [], 30
    top = y - 12
    for cell, arms in cells.items():
        parts.append(text(8, y + 4, "{} looks, {} bits, forgetting {}".format(*cell.split("-"))))
        for arm, (mean, low, high) in arms.items():
            colour = COLOURS.get(arm, OTHER)
            parts.append(line((across(low), y), (across(high), y), colour, 2))
            parts.append(f'<circle cx="{across(mean):.1f}" cy="{y}" r="4" fill="{colour}">'
                         f"<title>{escape(arm)}: {mean:+.2f} [{low:+.2f}, {high:+.2f}]</title></circle>")
            y += step
        y += step / 2
    parts.insert(0, line((across(0), top), (across(0), y)))
    for value in (-most, 0, most):
        parts.append(text(across(value), y + 16, f"{value:+.0f}", "middle"))
    parts.append(text(left, 12, "accuracy minus DAPO in points, 95 % interval"))
    x = left
    for arm in dict.fromkeys(arm for arms in cells.values() for arm in arms):
        parts.append(f'<circle cx="{x}" cy="{y + 32}" r="4" fill="{COLOURS.get(arm, OTHER)}"/>')
        parts.append(text(x + 8, y + 36, arm))
        x += 100
    return document(width, y + 48, parts)
