"""What the `run` of a peer shares with bench/run: options, output and failures are the same. A peer's run is

    sys.path.insert(0, os.path.join(HERE, ".."))
    from peer import peer_main
    sys.exit(peer_main("NAME", __doc__, FIGURES))

with FIGURES as in bench/figures.py: {name: (function of the Context that returns Figures, what it measures)}."""

import argparse
import json
import os
import shutil
import subprocess
import sys

PEERS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(PEERS))
sys.path.insert(0, os.path.dirname(PEERS))

from measure import BenchError, Context, output_of  # noqa: E402


def parse_arguments(name, text, default_scratch):
    parser = argparse.ArgumentParser(prog=f"bench/peers/{name}/run", description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to measure, or the beginning of some (default: all)")
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects, a figure each, as bench/run --json does")
    parser.add_argument("--list", action="store_true", help="list the figures and end")
    parser.add_argument("--quick", action="store_true", help="a first look: one run, little data")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="runs of each figure (default: by its length)")
    parser.add_argument("--scratch", metavar="DIR", default=default_scratch, help="where the peer is built and works (default: %(default)s)")
    return parser.parse_args()


def measured(name, figure_name, measure, context, as_json):
    """(figures, whether all went well)"""
    try:
        figures = measure(context)
    except (BenchError, OSError, ValueError, subprocess.SubprocessError) as error:
        print(f"bench/peers/{name}/run: {figure_name}: {error}", file=sys.stderr, flush=True)
        return [], False
    if not as_json:
        for command in dict.fromkeys(figure.command for figure in figures):
            print(f"$ {command}")
        for figure in figures:
            print(figure.as_text(), flush=True)
    return figures, True


def peer_main(name, text, figures):
    arguments = parse_arguments(name, text, os.path.join(ROOT, "build-release", "bench-data", "peers", name))
    if arguments.list:
        for figure_name, (_, what) in figures.items():
            print(f"{figure_name:<28} {what}")
        return 0
    names = [n for n in figures if not arguments.names or any(n == a or n.startswith(a + ".") or a.startswith(n + ".") for a in arguments.names)]
    if not names:
        print(f"bench/peers/{name}/run: no figure '{' '.join(arguments.names)}': --list shows them", file=sys.stderr)
        return 2
    os.makedirs(arguments.scratch, exist_ok=True)
    scratch = os.path.abspath(arguments.scratch)
    context = Context(os.path.join(scratch, "build"), scratch, arguments.runs, sys.stderr if sys.stderr.isatty() else None, arguments.quick)
    results, complete = [], True
    for figure_name in names:
        found, good = measured(name, figure_name, figures[figure_name][0], context, arguments.json)
        results += found
        complete = complete and good
    if arguments.json:
        print(json.dumps([figure.as_json() for figure in results], indent=2))
    return 0 if complete else 1


def needs(program, package):
    """The path of a program that a Debian package has."""
    path = shutil.which(program)
    if path is None:
        raise BenchError(f"{program} is not installed: apt-get install {package}")
    return path


def compiled(context, source, *flags):
    """A C program, built into the scratch directory where its source is newer."""
    program = os.path.join(context.scratch, os.path.splitext(os.path.basename(source))[0])
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        output_of([needs("cc", "gcc"), "-O2", "-std=c11", source, "-o", program, *flags])
    return program
