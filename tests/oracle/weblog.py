#!/usr/bin/env python3
"""The right output of the job `weblog`, computed without any of its code.

    tests/oracle/weblog.py FILE...             | LC_ALL=C sort > expected
    tests/oracle/weblog.py --rejected FILE...  | LC_ALL=C sort > expected-rejected

One line for each hit, in the order of the input: path, status, and the hits, bytes and errors so far of that path and
status. With --rejected: the lines that are not in the combined log format.
"""
import re
import sys

LINE = re.compile(
    rb'[^ ]+ [^ ]+ [^ ]+ \[[^\]]+\] "(?P<request>(?:[^"\\]|\\.)*)" (?P<status>[0-9]{3}) (?P<bytes>[0-9]{1,18}|-)'
    rb' "(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"',
    re.DOTALL,
)
REQUEST_PATH = re.compile(rb"[^ ]+ ([^ ?#]+)")
PATH_BYTES_MAX = 1000
ESCAPES = {b"\\": b"\\\\", b"\t": b"\\t", b"\r": b"\\r", b"\n": b"\\n"}


def lines_of(paths):
    for path in paths:
        with open(path, "rb") as file:
            for line in file:
                line = line.removesuffix(b"\n") if not line.endswith(b"\r\n") else line[:-2]
                yield line


def parse(line):
    """(path, status, bytes), or None where the line is not in the format."""
    match = LINE.fullmatch(line)
    request = match and REQUEST_PATH.match(match["request"])
    if not request:
        return None
    size = 0 if match["bytes"] == b"-" else int(match["bytes"])
    return request[1][:PATH_BYTES_MAX], int(match["status"]), size


def escape(path):
    return re.sub(rb"[\\\t\r\n]", lambda found: ESCAPES[found[0]], path)


def updates(paths):
    sums = {}
    for line in lines_of(paths):
        parsed = parse(line)
        if parsed is None:
            continue
        path, status, size = parsed
        entry = sums.setdefault((path, status), [0, 0, 0])
        entry[0] += 1
        entry[1] += size
        entry[2] += status >= 400
        yield b"%s\t%d\t%d\t%d\t%d\n" % (escape(path), status, *entry)


def main():
    arguments = sys.argv[1:]
    if arguments[:1] == ["--rejected"]:
        output = (line + b"\n" for line in lines_of(arguments[1:]) if parse(line) is None)
    else:
        output = updates(arguments)
    sys.stdout.buffer.writelines(output)


if __name__ == "__main__":
    main()
