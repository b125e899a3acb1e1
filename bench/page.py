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


def commit_text(commits):
    return f"commit {commits[0]}" if len(commits) == 1 else f"commits {', '.join(commits)} (**mixed**)"


def head(results):
    machine, rows = results["machine"], results["pieces"]
    minutes = sum(row.get("seconds", 0) for row in rows) / 60
    loads = [row["load"] for row in rows if "load" in row]
    quick = " --quick" if results["mode"] == "quick" else ""
    command = f"bench/compare{quick}" + (f" --runs {results['runs']}" if results["runs"] else "")
    lines = ["# Weir beside its peers", "",
             f"Written by `{command}`; by hand nothing is changed here. Medians of the runs of each figure; [benchmarks/figures.md](benchmarks/figures.md) has every "
             "figure with its spread, its runs and its command. What each means: [bench/README.md](../bench/README.md).", ""]
    if results["mode"] == "quick":
        lines += ["**A first look** (`--quick`): one or few runs a figure, little data. Do not quote it.", ""]
    lines += table(("", ""), [
        ("when", f"{results['begun']} to {results['ended']} UTC, {minutes:.0f} minutes of measuring"),
        ("Weir", commit_text(results.get("commits") or [results["commit"]])),
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
            reason = verdict.reason or ("not known yet" if verdict.state == MISSED else "")
            rows.append((what if number == 0 else "", bar if number == 0 else "", verdict.label, verdict.text, state, reason))
    total = ", ".join(f"{count} {state}" for state, count in sorted(counts.items(), key=lambda item: item[0], reverse=True))
    return ["## The bars", "", f"{total}. The best variant counts, of Weir and of each peer.", "",
            *table(("what", "bar", "check", "figure", "", "why not, as far as known"), rows), ""]


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


def ring_streams(figures, kind):
    """Records per second by size, a row an engine."""
    cells = Cells(("16", "64", "256", "1024"))
    found = []
    for name, figure in figures.by_name.items():
        match = re.fullmatch(rf"ring\.{kind}\.(\d+)(?:\.(.+))?", name)
        if match:
            found.append((engine(match.group(2), name, figures), match.group(1), figure))
    for who, size, figure in sorted(found, key=lambda row: engine_order(row[0])):
        cells.put(who, size, shown_number(figure["value"]))
    return cells


def ring_trips(figures):
    rows = []
    for name, figure in figures.by_name.items():
        match = re.fullmatch(r"ring\.trip\.(.+?)(?:\.p50)?", name)
        if match and figure["unit"] in ("ns", "us"):
            who = engine(None if name == "ring.trip.p50" else match.group(1), name, figures)
            rows.append((scaled(figure["value"], figure["unit"]) * 1000, who, compared(figure)))
    return [(who, shown_number(value), beside) for value, who, beside in sorted(rows)]


def ring_part(figures):
    lines = []
    for kind, text in (("batched", "32 records a publish"), ("single", "one record a publish")):
        cells = ring_streams(figures, kind)
        if cells.rows:
            lines += [f"M records/s by bytes, {text}:", "", *cells.lines("", {size: f"{size} bytes" for size in cells.columns}), ""]
    if ring_trips(figures):
        lines += ["Round trip of 64 bytes, busy-polling:", "", *table(("", "ns, p50", "in the same run"), ring_trips(figures)), ""]
    return part("Rings", lines)


def engine(variant, name, figures):
    """Whose figure it is: `weir`, with its variant, or the peer's own name."""
    if name not in figures.weir or (variant or "").startswith("weir"):
        return variant
    return f"weir by itself, ring of {variant}" if variant else "weir by itself"


def compared(figure):
    return "; ".join(f"{row['name']} {shown_number(row['value'])}" for row in figure.get("compare") or ())


WORK = re.compile(r"(w0\.exchange|w0\.chained|w1|w2\.\d+[km]?|nexmark\.\w+)\.(.+?)(?:\.(cpu|cpu_tasks))?")
WORK_TITLES = {"w0.exchange": "W0, exchange", "w0.chained": "W0, chained", "w1": "W1", "w2.1k": "W2, 1,000 keys", "w2.1m": "W2, 1 M keys",
               "w2.10m": "W2, 10 M keys"}
WAYS = {"chained": "chained", "one": "one process", "none": "no checkpoints"}


def work_rows(figures):
    """{(work, who): {"rate", "cpu", "cpu_tasks": figure}}"""
    rows = {}
    for name, figure in figures.by_name.items():
        match = WORK.fullmatch(name)
        if match:
            rows.setdefault((match.group(1), match.group(2)), {})[match.group(3) or "rate"] = figure
    return rows


def who_text(who):
    """none.chained.weir is `weir, chained, no checkpoints`."""
    words = who.split(".")
    ways = [word for word in reversed(words[:-1]) if word in WAYS and words.index(word) < 2]
    return ", ".join([".".join(word for word in words if word not in ways), *(WAYS[word] for word in ways)])


def work_cell(row):
    rate, cpu, tasks = (shown_number(row[kind]["value"]) if kind in row else None for kind in ("rate", "cpu", "cpu_tasks"))
    return f"{rate or '-'} ({cpu or '-'}{'; ' + tasks if tasks else ''})"


def work_part(figures):
    rows = work_rows(figures)
    cells = Cells(sorted({work for work, _ in rows}, key=lambda work: (work.split(".")[0], count_of(work.split(".")[-1]) or 0, work)))
    for (work, who), row in sorted(rows.items(), key=lambda item: engine_order(who_text(item[0][1]))):
        cells.put(who_text(who), work, work_cell(row))
    lines = ["M records/s, and in brackets M records per CPU-second of all processes and threads; of Weir also of its tasks alone, without launcher, coordinator, "
             "standbys and snapshot children:", "", *cells.lines("", WORK_TITLES), ""]
    return part("The same work", lines if rows else [])


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


def figure_row(figure):
    return figure["name"], shown_number(figure["value"]), figure["unit"], compared(figure)


def checkpoint_part(figures):
    cells = Cells()
    for name, figure in figures.by_name.items():
        match = re.fullmatch(r"pause\.(\d+[mg]ib)\.(\w+)|snapshot\.redis\.(\w+)\.(\d+[mg]ib)", name)
        if match:
            size, what, redis, redis_size = match.groups()
            row = (mib_of(size or redis_size), f"{'weir' if size else 'redis'}, {size or redis_size}")
            cells.put(row, f"{what or redis}, {figure['unit']}", shown_number(figure["value"]))
    cells.rows = {key[1]: row for key, row in sorted(cells.rows.items())}
    lines = [*cells.lines(""), ""] if cells.rows else []
    disk = [name for name in figures.by_name if name.startswith("snapshot.") and not name.startswith("snapshot.redis.")]
    if disk:
        lines += ["Snapshots beside the disk:", "", *table(("", "", "unit", "beside"), [figure_row(figures.by_name[name]) for name in disk]), ""]
    return part("Checkpoints", lines)


def other_part(figures):
    known = ("ring", "w0", "w1", "w2", "nexmark", "latency", "visible", "pause", "snapshot")
    names = sorted((name for name in figures.by_name if topic(name) not in known), key=lambda name: (topic_order(name), name))
    rows = [figure_row(figures.by_name[name]) for name in names]
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


def points_of(values):
    return [(PLACES[name], value) for name, value in values.items() if name in PLACES and value > 0]


def latency_plots(figures):
    rows = percentile_rows(figures, LATENCY, 1)
    ticks = [(place, SHORT.get(name, name)) for name, place in PLACES.items() if name in SHORT]
    never = {who for _, _, who in rows} - {who for _, interval, who in rows if interval != "none"}  # engines that have no checkpoints at all
    for rate, interval in sorted({key[:2] for key in rows}):
        here = {key[2]: values for key, values in rows.items() if key[:2] == (rate, interval)}
        if interval != "none":
            here |= {f"{who}, no checkpoints": rows[(rate, "none", who)] for who in never if (rate, "none", who) in rows}
        series = [(who, points_of(values), who == "machine") for who, values in sorted(here.items(), key=lambda item: engine_order(item[0]))
                  if ".machine" not in who]
        checkpoints = "no checkpoints" if interval == "none" else f"a checkpoint every {interval}"
        yield f"latency-{rate}-{interval}", f"Latency at {rate} events/s, {checkpoints}", line_plot(
            f"Latency, {rate} events/s, {checkpoints}", "percentile", "microseconds from due to sink", series, x_log=True, y_log=True, x_ticks=ticks)


def pause_series(figures):
    """{(who): {MiB: ms}}; where a size was measured twice, in the steady state after ten checkpoints counts."""
    series = {}
    for name, figure in figures.by_name.items():
        match = re.fullmatch(r"pause\.(\d+[mg]ib)\.(p50|max)|snapshot\.redis\.(pause)\.(\d+[mg]ib)|growth\.state\.(\d+[mg]ib)\.weir\.(pause)", name)
        if match and figure["value"] > 0:
            steady, kind, redis, redis_size, grown, _ = match.groups()
            points = series.setdefault("redis, fork" if redis else f"weir, {SHORT[kind or 'p50']}", {})
            value = scaled(figure["value"], figure["unit"]) / 1000
            if grown:
                points.setdefault(mib_of(grown), value)
            else:
                points[mib_of(steady or redis_size)] = value
    return series


def pause_plot(figures):
    series = pause_series(figures)
    sizes = sorted({size for points in series.values() for size in points})
    ticks = [(size, f"{size} MiB" if size < 1024 else f"{size // 1024} GiB") for size in sizes]
    yield "pause", "Pause at a checkpoint against the size of the state", line_plot(
        "Pause at a checkpoint, random updates", "state", "milliseconds", [(who, list(points.items()), who == "redis, fork") for who, points in series.items()],
        x_log=True, y_log=True, x_ticks=ticks)


def throughput_plots(figures):
    for kind, text in (("rate", "M records/s"), ("cpu", "M records per CPU-second")):
        series = {}
        for (work, who), row in work_rows(figures).items():
            if work.startswith("w2.") and kind in row and not who.startswith("none."):
                series.setdefault(who_text(who), []).append((count_of(work[3:]), row[kind]["value"]))
        yield f"keys-{kind}", f"Keyed count, {text}, against keys", line_plot(
            f"Keyed count (W2): {text}, a checkpoint every second if there are any", "keys", text,
            [(who, points, not who.startswith("weir")) for who, points in sorted(series.items(), key=lambda item: engine_order(item[0]))], x_log=True)


GROWTH = (("records", "bytes a record"), ("tasks", "tasks"), ("keys", "keys"))


def growth_plots(figures):
    for kind, text in GROWTH:
        points = []
        for name, figure in figures.by_name.items():
            match = re.fullmatch(rf"growth\.{kind}\.(\d+)(b|kib|mib|k|m|)\.weir", name)
            if match:
                points.append((int(match.group(1)) * {"kib": 1024, "mib": 1048576, "k": 1e3, "m": 1e6}.get(match.group(2), 1), figure["value"]))
        yield f"growth-{kind}", f"Weir's throughput against {text}", line_plot(
            f"Weir: M records/s against {text}", text, "M records/s", [("weir", points, False)], x_log=True,
            x_ticks=[(x, f"{x:g}") for x in sorted(x for x, _ in points)] if kind == "tasks" else None)


def plots(figures):
    """[(name, caption, SVG)] of those that have points."""
    found = [*throughput_plots(figures), *latency_plots(figures), *pause_plot(figures), *growth_plots(figures)]
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
