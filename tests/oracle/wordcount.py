#!/usr/bin/env python3
"""The right output of the job `wordcount`, computed without any of its code.

    tests/oracle/wordcount.py FILE...  | LC_ALL=C sort > expected
    cat OUTPUT/part-*                  | LC_ALL=C sort | cmp - expected

A word is a longest run of ASCII letters, ASCII digits and bytes above 127, in small letters, cut to 255 bytes. A word that
comes n times gives the lines `word<TAB>1` to `word<TAB>n`.
"""
import collections
import re
import sys

WORD = re.compile(rb"[0-9A-Za-z\x80-\xff]+")
WORD_BYTES_MAX = 255


def count_words(paths):
    counts = collections.Counter()
    for path in paths:
        with open(path, "rb") as file:
            for line in file:
                counts.update(word[:WORD_BYTES_MAX] for word in WORD.findall(line.lower()))
    return counts


def main():
    out = sys.stdout.buffer
    for word, count in count_words(sys.argv[1:]).items():
        out.writelines(b"%s\t%d\n" % (word, n) for n in range(1, count + 1))


if __name__ == "__main__":
    main()
