"""bench/compare over runners of the test's own (fake/): what it measures, keeps, goes on with and says of what it could not measure."""

import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
COMPARE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "bench", "compare")


TURNS = "ring.batched.64.weir+ring.batched.64.a+ring.batched.64.b"  # in one command, as their runner lists Weir too


class Compare(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.notes = os.path.join(self.folder, "notes")

    def command(self, *options):
        return [COMPARE, "--bench", os.path.join(HERE, "fake"), "--scratch", os.path.join(self.folder, "scratch"), "--docs", os.path.join(self.folder, "docs"), *options]

    def environment(self, **more):
        return {**os.environ, "FAKE_NOTES": self.notes, **more}

    def compare(self, *options, **more):
        return subprocess.run(self.command(*options), capture_output=True, text=True, check=False, env=self.environment(**more))

    def measured(self):
        """Names in the order in which runners were asked for them."""
        if not os.path.exists(self.notes):
            return []
        with open(self.notes, encoding="ascii") as file:
            return file.read().split()

    def page(self):
        with open(os.path.join(self.folder, "docs", "benchmarks.md"), encoding="utf-8") as file:
            return file.read()

    def stored(self, mode="full"):
        with open(os.path.join(self.folder, "scratch", "compare", f"{mode}.json"), encoding="utf-8") as file:
            return json.load(file)

    def test_all_runners_are_measured_and_what_fails_stays_in_the_page(self):
        done = self.compare()
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(self.measured(), [TURNS, "ring.trip", "w1.fast", "w2.1k.absent", "keyed.1k", "keyed.1k.fast.p50", "undo.1k"])
        self.assertIn("| absent | w2.1k.absent | failed | absent: not installed: apt-get install absent |", self.page())
        names = {figure["name"] for piece in self.stored()["pieces"] for figure in piece["figures"]}
        self.assertEqual(names, {"ring.trip", "keyed.1k", "undo.1k", "w1.fast", "keyed.1k.fast.p50", "keyed.1k.fast.p99",
                                 "ring.batched.64.weir", "ring.batched.64.a", "ring.batched.64.b"})

    def test_what_is_measured_is_not_measured_again_and_what_failed_is(self):
        self.compare()
        os.unlink(self.notes)
        self.assertEqual(self.compare().returncode, 1)
        self.assertEqual(self.measured(), ["w2.1k.absent"])
        self.compare("--fresh")
        self.assertEqual(len(self.measured()), 1 + 7)

    def test_names_choose_and_the_rest_is_said_not_to_be_asked_for(self):
        self.compare("keyed.1k.fast")
        self.assertEqual(self.measured(), ["keyed.1k.fast.p50"])
        self.compare("undo.1k.more")
        self.assertEqual(self.measured(), ["keyed.1k.fast.p50", "undo.1k"])
        self.assertIn("| weir | ring.trip | not asked for |", self.page())
        self.assertEqual(self.compare("apples").returncode, 2)

    def test_what_is_asked_for_again_is_measured_again(self):
        self.compare()
        before = {piece["name"]: piece["figures"] for piece in self.stored()["pieces"]}
        os.unlink(self.notes)
        self.compare("w1", "keyed", "--again")
        self.assertEqual(self.measured(), ["w1.fast", "keyed.1k", "keyed.1k.fast.p50"])  # the one gives keyed.1k.fast.p99 as well
        for piece in self.stored()["pieces"]:
            self.assertEqual(len(piece["figures"]), len(before[piece["name"]]), piece["name"])

    def test_an_interrupted_run_goes_on_where_it_was(self):
        with subprocess.Popen(self.command(), stderr=subprocess.PIPE, text=True, env=self.environment(FAKE_HANGS="keyed.1k")) as child:
            deadline = time.monotonic() + 60
            while "keyed.1k" not in self.measured():
                self.assertIsNone(child.poll())
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            child.send_signal(signal.SIGTERM)
            errors = child.communicate(timeout=60)[1]
        self.assertEqual(child.returncode, 130)
        self.assertIn("goes on from here", errors)
        os.unlink(self.notes)
        self.compare()
        self.assertEqual(self.measured(), ["w2.1k.absent", "keyed.1k", "keyed.1k.fast.p50", "undo.1k"])

    def test_without_time_nothing_is_begun_and_the_page_says_so(self):
        done = self.compare("--budget", "0.0001")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.measured(), [])
        self.assertIn("| weir | ring.trip | no time |", self.page())
        self.assertIn("8 pieces had no time", done.stderr)

    def test_results_of_another_commit_are_not_mixed_in_unasked(self):
        self.compare()
        path = os.path.join(self.folder, "scratch", "compare", "full", "run.json")
        with open(path, encoding="utf-8") as file:
            header = json.load(file)
        with open(path, "w", encoding="utf-8") as file:
            json.dump({**header, "commit": "another"}, file)
        done = self.compare()
        self.assertEqual(done.returncode, 2)
        self.assertIn("--fresh", done.stderr)
        os.unlink(os.path.join(self.folder, "scratch", "compare", "full", "weir--undo.1k.json"))
        for name in ("weir--ring.trip.json", "weir--keyed.1k.json"):
            path = os.path.join(self.folder, "scratch", "compare", "full", name)
            with open(path, encoding="utf-8") as file:
                result = json.load(file)
            with open(path, "w", encoding="utf-8") as file:
                json.dump({**result, "commit": "another"}, file)
        self.assertEqual(self.compare("--mixed").returncode, 1)
        self.assertRegex(self.page(), r"\| Weir \| commits .*another.* \(\*\*mixed\*\*\)")

    def test_the_page_can_be_written_again_from_what_is_stored(self):
        self.compare()
        before = self.page()
        again = os.path.join(self.folder, "again")
        done = subprocess.run([COMPARE, "--from-json", os.path.join(self.folder, "scratch", "compare", "full.json"), "--docs", again],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(again, "benchmarks.md"), encoding="utf-8") as file:
            self.assertEqual(file.read(), before)

    def test_quick_results_are_kept_apart(self):
        self.compare("--quick")
        self.assertEqual(self.stored("quick")["mode"], "quick")
        self.assertIn("Do not quote it", self.page())
        self.assertIn("| weir | undo.1k | not in --quick |", self.page())


if __name__ == "__main__":
    unittest.main()
