"""docs/benchmarks.md, its plots and the list of all figures, out of the stored results of bench/compare."""

import os
import re

from bars import MISSED, PERCENTILES, ROWS, Figures, scaled, shown_number
from pieces import MEASURED, topic, topic_order
from plot import line_plot

UNITS = {"k": 1e3, "m": 1e6, "g": 1e9}


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ").strip()


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]


def count_of(text):
    """10m keys are 10,000,000; None where it is no such number."""
    found = re.fullmatch(r"(\d+)([kmg]?)", text)
    return int(found.group(1)) * UNITS.get(found.group(2), 1) if found else None


def mib_of(text):
    found = re.fullmatch(r"(\d+)([mg])ib", text)
    return int(found.group(1)) * (1024 if found.group(2) == "g" else 1) if found else None


# ------------------------------------------------------------------------------------------------- the parts ----


def head(results):
    machine, rows = results["machine"], results["pieces"]
    minutes = sum(row.get("seconds", 0) for row in rows) / 60
    loads = [row["load"] for row in rows if "load" in row]
    command = "bench/compare" + (" --quick" if results["mode"] == "quick" else "") + (f" --runs {results['runs']}" if results["runs"] else "")
    lines = ["# Weir beside its peers", "",
             f"Written by `{command}`; by hand nothing is changed here. Medians of the runs of each figure; [benchmarks/figures.md](benchmarks/figures.md) has every "
             "figure with its spread, its runs and its command. What each means: [bench/README.md](../bench/README.md).", ""]
    if results["mode"] == "quick":
        lines += ["**A first look** (`--quick`): one or few runs a figure, little data. Do not quote it.", ""]
    lines += table(("", ""), [
        ("when", f"{results['begun']} to {results['ended']} UTC, {minutes:.0f} minutes of measuring"),
        ("Weir", f"commit {results['commit']}"),
        ("machine", f"{machine['cpu']}, {machine['cores']} CPUs, {machine['memory_gib']} GiB, Linux {machine['kernel']}, governor {machine['governor']}, "
                    f"huge pages for shared memory: {machine['shmem_enabled']}"),
        ("load when a piece began", f"{min(loads):.1f} to {max(loads):.1f}" if loads else "-"),
        ("versions", ", ".join(f"{what} {version}" for what, version in results["versions"].items())),
        ("again", f"`{command}`; it says what is missing on the machine, goes on where it was interrupted, and `--fresh` forgets")])
    return [*lines, ""]


def bars_part(figures):
    rows, counts = [], {}
    for what, bar, checks in ROWS:
        for number, check in enumerate(checks):
            verdict = check.judge(figures)
            counts[verdict.state] = counts.get(verdict.state, 0) + 1
            state = f"**{verdict.state}**" if verdict.state == MISSED else verdict.state
            reason = (verdict.reason or "not known yet") if verdict.state == MISSED else ""
            rows.append((what if number == 0 else "", bar if number == 0 else "", verdict.label, verdict.text, state, reason))
    total = ", ".join(f"{count} {state}" for state, count in sorted(counts.items(), key=lambda item: item[0], reverse=True))
    return ["## The bars", "", f"{total}. The best variant of each peer counts.", "",
            *table(("what", "bar", "check", "figure", "", "why it is missed, as far as known"), rows), ""]


class Cells:
    """A table that fills from names: rows and columns in the order in which they come, or in the order given."""

    def __init__(self, columns=()):
        self.columns = list(columns)
        self.rows = {}

    def put(self, row, column, text):
        if column not in self.columns:
            self.columns.append(column)
        self.rows.setdefault(row, {})[column] = text

    def lines(self, row_header, titles=None):
        titles = titles or {}
        used = [column for column in self.columns if any(column in row for row in self.rows.values())]
        return table([row_header, *(titles.get(column, column) for column in used)],
                     [[name, *(row.get(column, "-") for column in used)] for name, row in self.rows.items()])


def engine_order(name):
    return (not name.startswith("weir"), name)


def ring_part(figures):
    lines = []
    for kind, text in (("batched", "32 records a publish"), ("single", "one record a publish")):
        cells = Cells(("16", "64", "256", "1024"))
        found = [(re.fullmatch(rf"ring\.{kind}\.(\d+)(?:\.(.+))?", name), figure) for name, figure in figures.by_name.items()]
        found = [(match.group(1), engine(match.group(2), figure["name"], figures), figure) for match, figure in found if match]
        for size, who, figure in sorted(found, key=lambda row: engine_order(row[1])):
            cells.put(who, size, shown_number(figure["value"]))
        if cells.rows:
            lines += [f"M records/s by bytes, {text}:", "", *cells.lines("", {size: f"{size} bytes" for size in cells.columns}), ""]
    trips = [(engine(None if name.endswith("trip.p50") and name in figures.weir else name.split(".", 2)[2], name, figures), figure)
             for name, figure in figures.by_name.items() if name.startswith("ring.trip.") and figure["unit"] in ("ns", "us")]
    if trips:
        rows = [(who, shown_number(scaled(figure["value"], figure["unit"]) * 1000), compared(figure)) for who, figure in sorted(trips, key=lambda row: row[1]["value"])]
        lines += ["Round trip of 64 bytes, busy-polling:", "", *table(("", "ns, p50", "in the same run"), rows), ""]
    return part("Rings", lines)


def engine(variant, name, figures):
    """Whose figure it is: `weir`, with its variant, or the peer's own name."""
    if name not in figures.weir or (variant or "").startswith("weir"):
        return variant
    return f"weir, {variant}" if variant else "weir"


def compared(figure):
    return "; ".join(f"{row['name']} {shown_number(row['value'])}" for row in figure.get("compare") or ())


WORK = re.compile(r"(w0\.exchange|w0\.chained|w1|w2\.\d+[km]?|nexmark\.q\w+)\.(.+?)(\.cpu)?")
WORK_TITLES = {"w0.exchange": "W0, exchange", "w0.chained": "W0, chained", "w1": "W1"}


def work_rows(figures):
    """[(work, who, rate figure or None, per-CPU figure or None)]"""
    pairs = {}
    for name, figure in figures.by_name.items():
        match = WORK.fullmatch(name)
        if match:
            pairs.setdefault((match.group(1), match.group(2)), {})["cpu" if match.group(3) else "rate"] = figure
    return [(work, who, pair.get("rate"), pair.get("cpu")) for (work, who), pair in pairs.items()]


def work_part(figures):
    works = sorted({row[0] for row in work_rows(figures)}, key=lambda work: (work.split(".")[0], count_of(work.split(".")[-1]) or 0, work))
    cells = Cells(works)
    for work, who, rate, cpu in sorted(work_rows(figures), key=lambda row: engine_order(row[1].removeprefix("none."))):
        shown = who.removeprefix("none.") + (", no checkpoints" if who.startswith("none.") else "")
        cells.put(shown, work, f"{shown_number(rate['value']) if rate else '-'} ({shown_number(cpu['value']) if cpu else '-'})")
    if not cells.rows:
        return []
    titles = {work: WORK_TITLES.get(work, work.upper().replace(".", ", ").lower().replace("w2", "W2") + (" keys" if work.startswith("w2") else "")) for work in works}
    return part("The same work", ["M records/s, and in brackets M records per CPU-second of all processes and threads:", "", *cells.lines("", titles), ""])


LATENCY = re.compile(r"latency\.([^.]+)\.([^.]+)\.(.+)\.(p50|p90|p99|p999|p9999|max)")
VISIBLE = re.compile(r"visible\.([^.]+)\.([^.]+)\.(.+)\.(p50|p90|p99|p999|p9999|max)")
SHORT = dict(PERCENTILES)


def percentile_rows(figures, pattern, unit_us):
    """{(first, second, who): {percentile: value}}"""
    rows = {}
    for name, figure in figures.by_name.items():
        match = pattern.fullmatch(name)
        if match:
            rows.setdefault(match.groups()[:3], {})[match.group(4)] = scaled(figure["value"], figure["unit"]) / unit_us
    return rows


def percentile_table(rows, headers):
    columns = [name for name in ("p50", "p90", "p99", "p999", "p9999", "max") if any(name in values for values in rows.values())]
    ordered = sorted(rows.items(), key=lambda item: (item[0][0], item[0][1], engine_order(item[0][2])))
    return table([*headers, *(SHORT.get(name, name) for name in columns)],
                 [[*key, *(shown_number(values[name]) if name in values else "-" for name in columns)] for key, values in ordered])


def latency_part(figures):
    rows = percentile_rows(figures, LATENCY, 1)
    text = ["Microseconds from the moment an event was due to its result at the sink. *machine*: the gaps of a spinning thread in the same run.", ""]
    return part("Latency", [*text, *percentile_table(rows, ("events/s", "checkpoints", "")), ""] if rows else [])


def visible_part(figures):
    rows = percentile_rows(figures, VISIBLE, 1000)
    return part("Committed output", ["Milliseconds from the moment an event was due to its result being in a committed file.", "",
                                     *percentile_table(rows, ("interval", "keys", "")), ""] if rows else [])


def checkpoint_part(figures):
    cells = Cells()
    for name, figure in figures.by_name.items():
        match = re.fullmatch(r"pause\.(\d+[mg]ib)\.(\w+)|snapshot\.redis\.(\w+)\.(\d+[mg]ib)", name)
        if match:
            size, what, redis, redis_size = match.groups()
            cells.put((mib_of(size or redis_size), f"{'weir' if size else 'redis'}, {size or redis_size}"), f"{what or redis}, {figure['unit']}",
                      shown_number(figure["value"]))
    cells.rows = {key[1]: row for key, row in sorted(cells.rows.items())}
    lines = [*cells.lines(""), ""] if cells.rows else []
    fio = [(name, figure) for name, figure in figures.by_name.items() if name.startswith("snapshot.") and not name.startswith("snapshot.redis.")]
    if fio:
        lines += ["Snapshots beside the disk:", "", *table(("", "", "unit", "beside"), [(n, shown_number(f["value"]), f["unit"], compared(f)) for n, f in fio]), ""]
    return part("Checkpoints", lines)


def other_part(figures):
    known = ("ring", "w0", "w1", "w2", "nexmark", "latency", "visible", "pause", "snapshot")
    names = sorted((name for name in figures.by_name if topic(name) not in known), key=lambda name: (topic_order(name), name))
    rows = [(name, shown_number(figures.by_name[name]["value"]), figures.by_name[name]["unit"], compared(figures.by_name[name])) for name in names]
    return part("The machine's limits, recovery, growth and the rest", [*table(("figure", "", "unit", "beside"), rows), ""] if rows else [])


def part(title, lines):
    return [f"## {title}", "", *lines] if lines else []


def missing_part(results):
    rows = [(row["runner"], row["name"], row["status"], row["error"]) for row in results["pieces"] if row["status"] != MEASURED]
    if not rows:
        return ["## Not measured", "", "Nothing: every figure that there is was measured.", ""]
    return ["## Not measured", "", *table(("by", "figure", "", "why"), rows), ""]


# ------------------------------------------------------------------------------------------------- plots --------

PLACES = {"p50": 2, "p90": 10, "p99": 100, "p999": 1000, "p9999": 10000}  # 1 / (1 - p)


def latency_plots(figures):
    rows = percentile_rows(figures, LATENCY, 1)
    ticks = [(place, SHORT.get(name, name)) for name, place in PLACES.items()]
    for rate, interval in sorted({key[:2] for key in rows}):
        series = []
        for key, values in sorted(rows.items(), key=lambda item: engine_order(item[0][2])):
            if key[:2] == (rate, interval):
                series.append((key[2], [(PLACES[name], value) for name, value in values.items() if name in PLACES and value > 0], "machine" in key[2]))
        checkpoints = "no checkpoints" if interval == "none" else f"a checkpoint every {interval}"
        yield f"latency-{rate}-{interval}", f"Latency at {rate} events/s, {checkpoints}", line_plot(
            f"Latency, {rate} events/s, {checkpoints}", "percentile", "microseconds from due to sink", series, x_log=True, y_log=True, x_ticks=ticks)


def pause_plot(figures):
    series = {}
    for name, figure in figures.by_name.items():
        match = re.fullmatch(r"pause\.(\d+[mg]ib)\.(p50|max)|snapshot\.redis\.(pause)\.(\d+[mg]ib)", name)
        if match and figure["value"] > 0:
            who = f"weir, {SHORT[match.group(2)]}" if match.group(1) else "redis, fork"
            series.setdefault(who, []).append((mib_of(match.group(1) or match.group(4)), scaled(figure["value"], figure["unit"]) / 1000))
    ticks = [(size, f"{size} MiB" if size < 1024 else f"{size // 1024} GiB") for size in sorted({x for points in series.values() for x, _ in points})]
    yield "pause", "Pause at a checkpoint against the size of the state", line_plot(
        "Pause at a checkpoint, random updates", "state", "milliseconds", [(who, points, who == "redis, fork") for who, points in series.items()],
        x_log=True, y_log=True, x_ticks=ticks)


def throughput_plots(figures):
    for kind, text in (("rate", "M records/s"), ("cpu", "M records per CPU-second")):
        series = {}
        for work, who, rate, cpu in work_rows(figures):
            figure = rate if kind == "rate" else cpu
            if work.startswith("w2.") and figure and not who.startswith("none."):
                series.setdefault(who, []).append((count_of(work[3:]), figure["value"]))
        ordered = sorted(series.items(), key=lambda item: engine_order(item[0]))
        yield f"keys-{kind}", f"Keyed count, {text}, against keys", line_plot(
            f"Keyed count (W2), a checkpoint every second: {text}", "keys", text, [(who, points, not who.startswith("weir")) for who, points in ordered], x_log=True)


def plots(figures):
    """[(name, caption, SVG)] of those that have points."""
    found = [*throughput_plots(figures), *latency_plots(figures), *pause_plot(figures)]
    return [row for row in found if row[2] is not None]


# ------------------------------------------------------------------------------------------------- files --------


def figures_page(results):
    lines = ["# Every figure", "", "Of the run that [benchmarks.md](../benchmarks.md) is about. The spread is the lowest and the highest run.", ""]
    by_topic = {}
    for piece in results["pieces"]:
        for figure in piece["figures"]:
            by_topic.setdefault((topic_order(figure["name"]), topic(figure["name"])), []).append((piece, figure))
    for (_, name), rows in sorted(by_topic.items()):
        lines += [f"## {name}", "", *table(("figure", "", "unit", "spread", "runs", "load", "note"), [
            (figure["name"], shown_number(figure["value"]), figure["unit"], f"{shown_number(figure['min'])}..{shown_number(figure['max'])}", figure["runs"],
             f"{piece['load']:.1f}", figure.get("note") or "") for piece, figure in rows]), ""]
        commands = {figure["command"]: figure["name"] for _, figure in reversed(rows) if figure.get("command")}
        lines += ["```", *(f"# {first}\n{command}" for command, first in reversed(commands.items())), "```", ""]
    return lines


def write_lines(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines).rstrip() + "\n")


def write_page(results, docs):
    """Writes DOCS/benchmarks.md and DOCS/benchmarks/; plots of an earlier page that this one has not are removed. Returns the page's path."""
    figures = Figures(results["pieces"])
    folder, page = os.path.join(docs, "benchmarks"), os.path.join(docs, "benchmarks.md")
    os.makedirs(folder, exist_ok=True)
    drawn = plots(figures)
    for name in os.listdir(folder):
        if name.endswith(".svg") and name[:-4] not in [row[0] for row in drawn]:
            os.unlink(os.path.join(folder, name))
    pictures = []
    for name, caption, svg in drawn:
        with open(os.path.join(folder, f"{name}.svg"), "w", encoding="utf-8") as file:
            file.write(svg)
        pictures += [f"![{caption}](benchmarks/{name}.svg)", ""]
    write_lines(os.path.join(folder, "figures.md"), figures_page(results))
    write_lines(page, [*head(results), *bars_part(figures), *part("Plots", pictures), *ring_part(figures), *work_part(figures), *latency_part(figures),
                       *visible_part(figures), *checkpoint_part(figures), *other_part(figures), *missing_part(results)])
    return page
