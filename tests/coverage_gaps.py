#!/usr/bin/env python3
"""Lists the branches that no test took, from gcovr's JSON: file:line, how many of its branches, and the source line. Last, how many there are."""
import json
import os
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    total = missed = 0
    for source in sorted(report["files"], key=lambda one: one["file"]):
        with open(os.path.join(root, source["file"]), encoding="utf-8") as file:
            text = file.read().splitlines()
        for line in source["lines"]:
            branches = line.get("branches", [])
            not_taken = sum(branch["count"] == 0 for branch in branches)
            total += len(branches)
            missed += not_taken
            if not_taken:
                print(f"{source['file']}:{line['line_number']}: {not_taken} of {len(branches)}: {text[line['line_number'] - 1].strip()}")
    print(f"{missed} of {total} branches were not taken")


if __name__ == "__main__":
    main()
