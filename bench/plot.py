"""Line plots as SVG text. Written here rather than with matplotlib (in Debian python3-matplotlib): the page needs one kind of plot, the files are a
few KiB of text that can be compared from commit to commit, and the tool asks for nothing but Python."""

import math
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 50
COLOURS = ("#0b5394", "#c0392b", "#2e7d32", "#b8860b", "#6a3d9a", "#00838f", "#ad1457", "#5d4037", "#607d8b", "#827717")
MARKS = 3.2


def short(value):
    """1500 is 1.5k, 0.002 is 0.002: a label for an axis."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{letter}"
    return f"{value:g}"


class Axis:
    """Values to places between `start` and `end` (in points). log: powers of ten; ticks may be given as (value, text)."""

    def __init__(self, values, start, end, log=False, ticks=None):
        self.start, self.end, self.log = start, end, log
        values = list(values) + [value for value, _ in ticks or ()]
        low, high = min(values), max(values)
        if log:
            low, high = math.log10(low), math.log10(high)
            if ticks is None:
                low, high = math.floor(low + 1e-9), math.ceil(high - 1e-9)
            high = high if high > low else low + 1
        else:
            low, high = min(0.0, low), high if high > 0 else 1.0
            step = self.step(high - low)
            high = math.ceil(high / step - 1e-9) * step
        self.low, self.high = low, high
        self.ticks = ticks if ticks is not None else self.own_ticks()

    @staticmethod
    def step(span):
        """A round number, about a fifth of the span."""
        power = 10 ** math.floor(math.log10(span / 5))
        return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 5 - 1e-12)

    def own_ticks(self):
        if self.log:
            return [(10.0 ** power, short(10.0 ** power)) for power in range(int(self.low), int(self.high) + 1)]
        step = self.step(self.high - self.low)
        count = round((self.high - self.low) / step)
        return [(self.low + i * step, short(round(self.low + i * step, 10))) for i in range(count + 1)]

    def place(self, value):
        value = math.log10(value) if self.log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def text(x, y, content, anchor="middle", size=12, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{more}>{escape(content)}</text>'


def grid(x_axis, y_axis):
    lines = []
    for value, label in x_axis.ticks:
        x = x_axis.place(value)
        lines += [f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>', text(x, HEIGHT - BOTTOM + 18, label)]
    for value, label in y_axis.ticks:
        y = y_axis.place(value)
        lines += [f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#e4e4e4"/>', text(LEFT - 8, y + 4, label, "end")]
    lines.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#444"/>')
    return lines


def labels_apart(wanted, least=15):
    """Places of labels at about the wanted ones, in their order, none nearer than `least` to the next."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = dict.fromkeys(order, 0.0)
    below = -math.inf
    for i in order:
        places[i] = below = max(wanted[i], below + least)
    overflow = below - (HEIGHT - BOTTOM)
    if overflow > 0:  # push the last ones up again
        above = HEIGHT - BOTTOM + least
        for i in reversed(order):
            places[i] = above = min(places[i], above - least)
    return places


def line_plot(title, x_label, y_label, series, x_log=False, y_log=False, x_ticks=None):
    """series: [(name, [(x, y)...], dashed)]. Values of a log axis must be above 0. Returns the text of an SVG file; None without points."""
    series = [(name, sorted(points), dashed) for name, points, dashed in series if points]
    if not series:
        return None
    x_axis = Axis((x for _, points, _ in series for x, _ in points), LEFT, WIDTH - RIGHT, x_log, x_ticks)
    y_axis = Axis((y for _, points, _ in series for _, y in points), HEIGHT - BOTTOM, TOP, y_log)
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" fill="#222">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>', text(LEFT, 22, title, "start", 15, ' font-weight="bold"'), *grid(x_axis, y_axis),
             text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label),
             text(16, (TOP + HEIGHT - BOTTOM) / 2, y_label, more=f' transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2:.1f})"')]
    places = labels_apart([y_axis.place(points[-1][1]) for _, points, _ in series])
    for number, (name, points, dashed) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        dots = [(x_axis.place(x), y_axis.place(y)) for x, y in points]
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        lines.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{MARKS}" fill="{colour}"/>' for x, y in dots]
        end, y = dots[-1], places[number]
        lines.append(f'<path d="M{end[0] + 5:.1f} {end[1]:.1f}L{WIDTH - RIGHT + 14} {y:.1f}" stroke="{colour}" stroke-width="0.7" '
                     'stroke-dasharray="1 3" fill="none"/>')
        lines.append(text(WIDTH - RIGHT + 18, y + 4, name, "start", 12, f' fill="{colour}"'))
    return "\n".join([*lines, "</svg>"]) + "\n"
