"""Whether two sets of runs differ by more than noise: the Mann-Whitney U test, and which direction is better for a unit."""

import itertools
import math
import re

EXACT_ARRANGEMENTS = 50000  # as many ways to deal the runs out as are counted one by one


def midranks(values):
    """The rank of each value, from 1; equal values share the middle of their ranks."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    first = 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and values[order[last + 1]] == values[order[first]]:
            last += 1
        for i in range(first, last + 1):
            ranks[order[i]] = (first + last) / 2 + 1
        first = last + 1
    return ranks


def exact_p(ranks, count):
    """The share of all ways to choose `count` of the ranks whose sum is at least as far from the middle as that of the first `count`."""
    middle = count * (len(ranks) + 1) / 2
    seen = abs(sum(ranks[:count]) - middle) - 1e-9
    far = total = 0
    for some in itertools.combinations(ranks, count):
        far += abs(sum(some) - middle) >= seen
        total += 1
    return far / total


def normal_p(ranks, count):
    """The same by the normal approximation, corrected for ties and continuity."""
    total = len(ranks)
    other = total - count
    u = sum(ranks[:count]) - count * (count + 1) / 2
    ties = sum(n ** 3 - n for n in (ranks.count(rank) for rank in set(ranks)))
    variance = count * other / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = max(0.0, abs(u - count * other / 2) - 0.5) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def mann_whitney_p(some, others):
    """Two-sided p: how often runs of one and the same thing would differ so much. 1 where a side has no runs. Exact for few runs."""
    if not some or not others:
        return 1.0
    ranks = midranks(list(some) + list(others))
    if math.comb(len(ranks), len(some)) <= EXACT_ARRANGEMENTS:
        return exact_p(ranks, len(some))
    return normal_p(ranks, len(some))


def smallest_p(some_count, other_count):
    """The p of runs that do not overlap at all: what so many runs can show at most."""
    return 1.0 if not some_count or not other_count else min(1.0, 2 / math.comb(some_count + other_count, some_count))


def overlap(some, others):
    return min(some) <= max(others) and min(others) <= max(some)


# What a unit says: more is better (1) or less (-1). The first that matches; a unit that none matches has no direction.
BETTER = ((r"(M )?(records|messages|events|requests|checkpoints)/", 1), (r"[GMK]B/s", 1), (r"% of one CPU", -1),
          (r"% (of|per) ", 1), (r"of fio", 1), (r"(ns|us|ms|s|x|KiB|MiB|GiB|bytes)\b", -1))


def direction(unit):
    return next((sign for pattern, sign in BETTER if re.match(pattern, unit)), None)
