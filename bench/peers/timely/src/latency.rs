//! Latency of the keyed count at a fixed rate, from the moment an event was due (no coordinated omission) to its update at the
//! sink; beside it a spinning thread that notes how late it looks at the clock for events due at the same rate: what the
//! machine alone costs.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Instant;

use bids::{Bid, Sums, pin};
use hdrhistogram::Histogram;
use rustc_hash::FxBuildHasher;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::dataflow::{ProbeHandle, Scope, Stream};
use timely::worker::Worker;

use crate::container::{Records, chunk};
use crate::jobs::{Builder, State, count};

#[derive(Clone, Copy)]
pub struct Load {
    pub bids: &'static [Bid],
    pub rate: u64,
    pub seconds: u64,
    pub keys: usize,
    /// Bids that go through first, as fast as they can: every key is in the state before the clock starts.
    pub warm: usize,
}

/// The schedule: event `n` is due `n / rate` seconds after `start`.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
    rate: u64,
}

impl Clock {
    #[inline]
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).expect("a run of less than centuries")
    }

    #[inline]
    fn due_ns(&self, event: u64) -> u64 {
        (u128::from(event) * 1_000_000_000 / u128::from(self.rate)) as u64
    }

    /// Events that are due at this time.
    #[inline]
    fn due_by(&self, now_ns: u64) -> u64 {
        (u128::from(now_ns) * u128::from(self.rate) / 1_000_000_000) as u64 + 1
    }
}

/// In the place of the due time, in bids that only fill the state.
const WARMING: u64 = u64::MAX;

type Latencies = Histogram<u64>;

fn histogram() -> Latencies {
    Latencies::new_with_bounds(1, 600_000_000_000, 3).expect("bounds that the histogram takes")
}

/// What the machine does to a thread that only looks at the clock.
fn spin(clock: Clock, seconds: u64, cpu: usize) -> Latencies {
    pin(cpu);
    let mut late = histogram();
    let (mut event, end_ns) = (0, seconds * 1_000_000_000);
    loop {
        let now_ns = clock.now_ns();
        if now_ns >= end_ns {
            return late;
        }
        while event < clock.due_by(now_ns) {
            late.saturating_record((now_ns - clock.due_ns(event)).max(1));
            event += 1;
        }
    }
}

/// Where the source and the sink agree on the time: set once the state is warm.
type SharedClock = Rc<RefCell<Option<Clock>>>;

fn timed_source<'scope>(scope: Scope<'scope, u64>, load: Load, begun: SharedClock) -> Stream<'scope, u64, Records<Bid>> {
    source::<_, Builder<Bid>, _, _>(scope, "events", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut capability = Some(capability);
        let mut bids = load.bids.iter().cycle();
        let (mut warmed, mut event, events) = (0, 0, load.rate * load.seconds);
        move |output| {
            let Some(held) = capability.as_ref() else { return };
            let mut session = output.session(held);
            if warmed < load.warm {
                session.give_iterator(bids.by_ref().take(chunk()).map(|bid| Bid { sequence: WARMING, ..*bid }));
                warmed += chunk();
            } else {
                let clock = *begun.borrow_mut().get_or_insert_with(|| Clock { start: Instant::now(), rate: load.rate });
                let due = clock.due_by(clock.now_ns()).min(events);
                let count = usize::try_from(due - event).expect("fewer than fit in memory");
                session.give_iterator(
                    (event..due).zip(bids.by_ref().take(count)).map(|(n, bid)| Bid { sequence: clock.due_ns(n), ..*bid }),
                );
                event = due;
            }
            drop(session);
            if event < events {
                activator.activate();
            } else {
                capability = None;
            }
        }
    })
}

struct Seen {
    late: Latencies,
    sums: Sums,
}

/// The dataflow in this thread, on CPU 0; the spinning thread on CPU 1.
fn dataflow(worker: &mut Worker, load: Load) -> (Seen, Latencies) {
    let begun = SharedClock::default();
    let seen = Rc::new(RefCell::new(Seen { late: histogram(), sums: Sums::default() }));
    let state = Rc::new(RefCell::new(State::with_capacity_and_hasher(load.keys, FxBuildHasher)));
    let probe = ProbeHandle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let (clock, seen) = (begun.clone(), seen.clone());
        count(timed_source(scope, load, begun.clone()), state)
            .unary::<Builder<Bid>, _, _, _>(Pipeline, "sink", move |_, _| {
                move |input, _output| {
                    let Some(clock) = *clock.borrow() else { return input.for_each(|_, _| ()) };
                    let mut seen = seen.borrow_mut();
                    input.for_each(|_, updates| {
                        let now_ns = clock.now_ns();
                        for update in updates.as_slice().iter().filter(|update| update.sequence != WARMING) {
                            seen.late.saturating_record((now_ns - update.sequence).max(1));
                            seen.sums.update(update);
                        }
                    });
                }
            })
            .probe_with(&probe);
    });
    while begun.borrow().is_none() {
        worker.step();
    }
    let clock = begun.borrow().expect("the source has just set it");
    let spinner = thread::spawn(move || spin(clock, load.seconds, 1));
    while !probe.done() {
        worker.step();
    }
    let machine = spinner.join().expect("the spinning thread ends by itself");
    (seen.replace(Seen { late: histogram(), sums: Sums::default() }), machine)
}

fn percentiles(late: &Latencies) -> String {
    let at = |share: f64| late.value_at_quantile(share);
    let (p50, p99, p999, p9999) = (at(0.5), at(0.99), at(0.999), at(0.9999));
    format!(
        "{{\"p50\": {p50}, \"p99\": {p99}, \"p999\": {p999}, \"p9999\": {p9999}, \"max\": {}, \"events\": {}}}",
        late.max(),
        late.len()
    )
}

/// Measures, and prints the JSON object; times in ns.
pub fn run(load: Load) {
    let pinned = pin(0);
    let (seen, machine) = timely::execute_directly(move |worker| dataflow(worker, load));
    println!(
        "{{\"rate\": {}, \"seconds\": {}, \"pinned\": {pinned}, \"latency\": {}, \"machine\": {}, {}}}",
        load.rate,
        load.seconds,
        percentiles(&seen.late),
        percentiles(&machine),
        seen.sums.json()
    );
}
