"""bench/page.py, bench/bars.py and bench/plot.py over stored results (results.json: made up, not measured)."""

import copy
import json
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(HERE)), "bench"))

import bars  # noqa: E402
import page  # noqa: E402
import plot  # noqa: E402

with open(os.path.join(HERE, "results.json"), encoding="utf-8") as file:
    RESULTS = json.load(file)
SVG = "{http://www.w3.org/2000/svg}"


def verdicts(results):
    """{(what, label): verdict}"""
    figures = bars.Figures(results["pieces"])
    return {(what, check.label): check.judge(figures) for what, _, checks in bars.ROWS for check in checks}


def without(results, *names):
    """The results as they would be had these figures not been measured."""
    results = copy.deepcopy(results)
    for piece in results["pieces"]:
        piece["figures"] = [figure for figure in piece["figures"] if not any(figure["name"].startswith(name) for name in names)]
    return results


class Bars(unittest.TestCase):
    def setUp(self):
        self.verdicts = verdicts(RESULTS)

    def verdict(self, beginning, label):
        (found,) = [verdict for (what, name), verdict in self.verdicts.items() if what.startswith(beginning) and name == label]
        return found

    def state(self, beginning, label):
        return self.verdict(beginning, label).state

    def test_the_best_peer_counts_and_not_weirs_own_variant(self):
        self.assertEqual(self.state("ring, two", "64 bytes"), bars.REACHED)  # 120 against 100; 50, and Weir's own 300 with another ring, do not count
        self.assertEqual(self.state("ring, one by one", "16 bytes"), bars.UNMEASURED)
        missed = bars.Check("", "ring.batched.16", ">=", 1.1, "ring.batched.16.*").judge(bars.Figures(RESULTS["pieces"]))
        self.assertEqual(missed.state, bars.MISSED)
        self.assertIn("1.05 x ring.batched.16.rtrb", missed.text)

    def test_a_figure_can_be_held_against_what_ran_beside_it(self):
        self.assertEqual(self.state("ring round trip", "bare two lines"), bars.REACHED)  # 240 of 200 ns
        self.assertIn("1.20 x two bare lines", self.verdict("ring round trip", "bare two lines").text)

    def test_what_was_measured_in_turns_with_the_peers_counts_first(self):
        results = copy.deepcopy(RESULTS)
        given = {"ring.batched.64.weir": 105, "ring.trip.weir": 300, "ring.trip.line1": 90, "ring.trip.line2": 200}
        results["pieces"].append({"runner": "rings", "name": "ring", "status": "measured", "error": "", "figures": [
            {"name": name, "value": value, "unit": "ns" if "trip" in name else "M records/s"} for name, value in given.items()]})
        self.verdicts = verdicts(results)
        self.assertEqual(self.state("ring, two", "64 bytes"), bars.MISSED)  # 105 against 100
        self.assertEqual(self.state("ring round trip", "bare two lines"), bars.MISSED)  # 300 against 200
        self.assertEqual(self.state("ring round trip", "best peer"), bars.REACHED)  # the bare lines are no peer

    def test_each_check_of_a_row_is_judged_by_itself(self):
        self.assertEqual(self.state("W2", "1 M keys, flink"), bars.REACHED)  # 15 / 1.49
        self.assertEqual(self.state("W2", "10 M keys, flink"), bars.MISSED)  # 7 / 0.5 is below 15
        self.assertEqual(self.state("W2", "1 M keys, timely with bytes exchanged"), bars.MISSED)

    def test_weirs_best_variant_counts_too_and_is_named(self):
        figures = bars.Figures([{"runner": runner, "name": name, "status": "measured", "figures": [{"name": name, "value": value, "unit": "M records/CPU-s"}]}
                                for runner, name, value in (("weir", "w2.1k.weir.cpu", 10), ("weir", "w2.1k.chained.weir.cpu", 12), ("flink", "w2.1k.flink.p1.cpu", 3))])
        verdict = next(check for _, _, checks in bars.ROWS for check in checks if check.label == "1,000 keys, flink").judge(figures)
        self.assertEqual(verdict.state, bars.REACHED)  # 12 / 3; 10 / 3 is below 4
        self.assertIn("w2.1k.chained.weir.cpu", verdict.text)
        self.assertIn("w2.1k.flink.p1.cpu", verdict.text)

    def test_units_of_time_are_compared_by_what_they_are(self):
        self.assertEqual(self.state("latency at a fixed rate", "100,000/s, below flink"), bars.REACHED)  # us against ms
        self.assertEqual(self.state("latency at a fixed rate", "100,000/s, p99 to the machine's gaps"), bars.REACHED)
        self.assertEqual(self.state("latency at a fixed rate", "100,000/s, p99.9 to the machine's gaps"), bars.MISSED)

    def test_one_percentile_that_misses_is_named(self):
        verdict = self.verdict("latency at a fixed rate", "100,000/s, below timely")
        self.assertEqual(verdict.state, bars.MISSED)
        self.assertTrue(verdict.text.startswith("4 of 5; missed p50"), verdict.text)

    def test_what_was_not_measured_is_never_reached(self):
        nothing = verdicts(without(RESULTS, ""))
        self.assertEqual({verdict.state for verdict in nothing.values()}, {bars.UNMEASURED})
        self.assertEqual(set(nothing), set(self.verdicts))

    def test_a_peer_that_is_not_installed_says_so_at_the_bar(self):
        verdict = self.verdict("W2", "1,000 keys, jet")
        self.assertEqual(verdict.state, bars.UNMEASURED)
        self.assertIn("no java", verdict.reason)

    def test_a_reason_is_shown_only_where_the_bar_is_missed(self):
        self.assertTrue(self.verdict("throughput kept with a checkpoint every second", "1 GiB").reason)
        self.assertIsNone(self.verdict("throughput kept with a checkpoint every second", "16 MiB").reason)

    def test_an_alternative_counts_where_the_first_is_not_there(self):
        self.assertIn("2.50 ms", self.verdict("pause at a checkpoint", "4 GiB").text)  # of growth.state


class Page(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.docs = folder.name

    def written(self, results):
        with open(page.write_page(results, self.docs), encoding="utf-8") as file:
            return file.read()

    def test_every_bar_and_every_piece_without_a_result_stands_in_the_page(self):
        text = self.written(RESULTS)
        for what, _, checks in bars.ROWS:
            self.assertIn(f"| {what} |", text)
            for check in checks:
                self.assertIn(f"| {check.label} |", text)
        self.assertIn("| jet | w2.1k.jet.p1 | failed | no java: apt-get install openjdk-17-jdk-headless |", text)
        self.assertIn("| weir | undo.1k | no time |", text)

    def test_tables_have_what_was_measured(self):
        text = self.written(RESULTS)
        self.assertIn("| rtrb | 400 | 100 |", text)
        self.assertIn("| weir by itself, ring of 4mib | - | 300 |", text)
        self.assertIn("| weir | 40.0 (24.0; 25.0) | 20.0 (15.0; 16.0) | 9.00 (7.00; 8.00) |", text)
        self.assertIn("| flink.p1, no checkpoints | - | 2.50 (2.20) | - |", text)
        self.assertIn("| 100k | 1s | flink | 650 | 4,200 |", text)

    def test_every_figure_is_listed_with_its_command(self):
        self.written(RESULTS)
        with open(os.path.join(self.docs, "benchmarks", "figures.md"), encoding="utf-8") as file:
            text = file.read()
        for piece in RESULTS["pieces"]:
            for figure in piece["figures"]:
                self.assertIn(f"| {figure['name']} |", text)
                self.assertIn(figure["command"], text)

    def test_a_first_look_says_that_it_is_one(self):
        self.assertIn("Do not quote it", self.written({**RESULTS, "mode": "quick"}))
        self.assertNotIn("Do not quote it", self.written(RESULTS))

    def test_plots_that_have_no_points_any_more_go(self):
        self.written(RESULTS)
        self.assertIn("pause.svg", os.listdir(os.path.join(self.docs, "benchmarks")))
        text = self.written(without(RESULTS, "pause", "snapshot.redis", "growth.state"))
        self.assertNotIn("pause.svg", os.listdir(os.path.join(self.docs, "benchmarks")))
        self.assertNotIn("pause.svg", text)

    def test_results_of_nothing_make_a_page(self):
        self.assertIn("## The bars", self.written({**RESULTS, "pieces": [], "begun": None, "ended": None}))

    def test_the_steady_state_counts_where_a_pause_was_measured_twice(self):
        self.assertEqual(page.pause_series(bars.Figures(RESULTS["pieces"]))["weir, p50"], {16: 0.23, 1024: 0.4, 4096: 2.5})


class Plots(unittest.TestCase):
    def test_a_plot_is_xml_with_a_mark_for_each_point(self):
        for name, _, svg in page.plots(bars.Figures(RESULTS["pieces"])):
            root = xml.fromstring(svg)
            lines = root.findall(f"{SVG}polyline")
            points = sum(len(line.get("points").split()) for line in lines)
            self.assertEqual(len(root.findall(f"{SVG}circle")), points, name)
            self.assertGreater(points, 1, name)

    def test_places_lie_within_the_frame_and_in_order(self):
        svg = plot.line_plot("t", "x", "y", [("a", [(1, 5), (1000, 0.02)], False)], x_log=True, y_log=True)
        (x1, y1), (x2, y2) = [map(float, pair.split(",")) for pair in xml.fromstring(svg).find(f"{SVG}polyline").get("points").split()]
        self.assertTrue(plot.LEFT <= x1 < x2 <= plot.WIDTH - plot.RIGHT)
        self.assertTrue(plot.TOP <= y1 < y2 <= plot.HEIGHT - plot.BOTTOM)  # more is higher up

    def test_names_are_escaped(self):
        self.assertIn("a &lt; b", plot.line_plot("t", "x", "y", [("a < b", [(1, 1)], False)]))

    def test_labels_do_not_overlap(self):
        places = sorted(plot.labels_apart([200.0] * 9).values())
        self.assertGreaterEqual(min(b - a for a, b in zip(places, places[1:])), 15)
        self.assertLessEqual(max(plot.labels_apart([plot.HEIGHT - plot.BOTTOM] * 9).values()), plot.HEIGHT - plot.BOTTOM)

    def test_no_points_are_no_plot(self):
        self.assertIsNone(plot.line_plot("t", "x", "y", [("a", [], False)]))


if __name__ == "__main__":
    unittest.main()
