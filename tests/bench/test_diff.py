"""bench/noise.py and bench/diff: what counts as a change."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "bench"))

import noise  # noqa: E402

DIFF = os.path.join(ROOT, "bench", "diff")


def figure(name, samples, unit="M records/s", value=None):
    return {"name": name, "value": sorted(samples)[len(samples) // 2] if value is None else value, "unit": unit, "samples": samples}


class Noise(unittest.TestCase):
    def test_runs_that_lie_apart_have_the_smallest_p_there_is(self):
        self.assertAlmostEqual(noise.mann_whitney_p([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 2 / 252)
        self.assertAlmostEqual(noise.smallest_p(5, 5), 2 / 252)
        self.assertAlmostEqual(noise.smallest_p(3, 3), 0.1)

    def test_p_is_that_of_a_published_table(self):
        # Mann and Whitney 1947, n = m = 4: P(U <= 1) = 2/70 on one side
        self.assertAlmostEqual(noise.mann_whitney_p([1, 2, 3, 5], [4, 6, 7, 8]), 2 * 2 / 70)

    def test_equal_runs_differ_by_nothing(self):
        self.assertEqual(noise.mann_whitney_p([5, 5, 5], [5, 5, 5]), 1.0)
        self.assertEqual(noise.mann_whitney_p([], [1]), 1.0)

    def test_equal_values_share_the_middle_of_their_ranks(self):
        self.assertEqual(noise.midranks([10, 20, 20, 5]), [2, 3.5, 3.5, 1])

    def test_either_side_may_come_first(self):
        some, others = [1.0, 4.0, 2.5, 7.0], [3.0, 8.0, 9.0]
        self.assertAlmostEqual(noise.mann_whitney_p(some, others), noise.mann_whitney_p(others, some))

    def test_the_approximation_is_near_the_exact_p(self):
        some, others = [float(i) for i in range(0, 20, 2)], [float(i) + 4.5 for i in range(0, 20, 2)]
        ranks = noise.midranks(some + others)
        middle, seen = 105.0, abs(sum(ranks[:10]) - 105.0)
        exact = sum(abs(sum(c) - middle) >= seen - 1e-9 for c in itertools.combinations(ranks, 10)) / 184756
        self.assertAlmostEqual(noise.mann_whitney_p(some, others), exact, delta=0.01)

    def test_units_say_which_side_is_better(self):
        for unit in ("M records/s", "M records/CPU-s", "GB/s", "MB/s", "% of throughput", "% per CPU-s", "of fio", "checkpoints/s"):
            self.assertEqual(noise.direction(unit), 1, unit)
        for unit in ("ns", "us", "ms", "KiB/task", "MiB", "% of one CPU", "x one bare line"):
            self.assertEqual(noise.direction(unit), -1, unit)
        self.assertIsNone(noise.direction("apples"))


class Diff(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
        return path

    def diff(self, before, after, *options):
        done = subprocess.run([DIFF, self.file("a.json", before), self.file("b.json", after), *options], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def verdicts(self, before, after, *options):
        status, text, _ = self.diff(before, after, "--json", *options)
        return status, {row["name"]: row["verdict"] for row in json.loads(text)}

    def test_a_lower_rate_is_worse_and_a_lower_time_is_better(self):
        before = [figure("rate", [10, 11, 12, 13, 14]), figure("time", [10, 11, 12, 13, 14], "ms")]
        after = [figure("rate", [5, 6, 7, 8, 9]), figure("time", [5, 6, 7, 8, 9], "ms")]
        self.assertEqual(self.verdicts(before, after), (1, {"rate": "worse", "time": "better"}))
        self.assertEqual(self.verdicts(after, before), (1, {"rate": "better", "time": "worse"}))
        self.assertEqual(self.verdicts([before[1]], [after[1]]), (0, {"time": "better"}))

    def test_what_noise_would_do_as_well_is_the_same(self):
        self.assertEqual(self.verdicts([figure("rate", [10, 11, 12, 13, 14])], [figure("rate", [9, 10.5, 11.5, 12.5, 13])]), (0, {"rate": "same"}))

    def test_a_change_that_is_small_is_the_same_however_sure(self):
        self.assertEqual(self.verdicts([figure("rate", [100, 100.1, 100.2, 100.3, 100.4])], [figure("rate", [99, 99.1, 99.2, 99.3, 99.4])]), (0, {"rate": "same"}))
        self.assertEqual(self.verdicts([figure("rate", [100, 100.1, 100.2, 100.3, 100.4])], [figure("rate", [99, 99.1, 99.2, 99.3, 99.4])], "--least=0.5"),
                         (1, {"rate": "worse"}))

    def test_three_runs_are_too_few_to_tell(self):
        self.assertEqual(self.verdicts([figure("rate", [10, 11, 12])], [figure("rate", [1, 2, 3])]), (0, {"rate": "few"}))

    def test_what_is_no_median_has_no_verdict(self):
        before, after = figure("p99", [1, 2, 3, 4, 50], "ms", 50), figure("p99", [11, 12, 13, 14, 90], "ms", 90)
        self.assertEqual(self.verdicts([before], [after]), (0, {"p99": "-"}))

    def test_the_text_names_what_one_side_lacks(self):
        status, text, _ = self.diff([figure("rate", [1, 2, 3]), figure("gone", [1])], {"machine": None, "figures": [figure("rate", [1, 2, 3]), figure("new", [1])]}, "--all")
        self.assertEqual(status, 0)
        self.assertIn("only before: gone", text)
        self.assertIn("only after: new", text)
        self.assertRegex(text, r"same +rate .*overlap")

    def test_what_cannot_be_compared_ends_with_2(self):
        self.assertEqual(self.diff([figure("rate", [1])], [figure("other", [1])])[0], 2)
        self.assertEqual(self.diff([figure("rate", [1], "ms")], [figure("rate", [1], "us")])[0], 2)
        self.assertEqual(self.diff({"figures": "none"}, [figure("rate", [1])])[0], 2)
        self.assertEqual(subprocess.run([DIFF, "/nonexistent", "/nonexistent"], capture_output=True, check=False).returncode, 2)

    def test_another_machine_is_said(self):
        figures = [figure("rate", [1, 2, 3])]
        _, _, errors = self.diff({"machine": {"cpu": "a"}, "figures": figures}, {"machine": {"cpu": "b"}, "figures": figures})
        self.assertIn("different machines", errors)


if __name__ == "__main__":
    unittest.main()
