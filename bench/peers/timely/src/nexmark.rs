//! Nexmark's stream, generated in the source: q0 (every event), q1 (bids in euros), q2 (price of some bids), and `bids`, the
//! keyed count over it. An event's strings lie in the text of its container, so that no string is allocated by itself.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bids::nexmark::{Event, NexmarkBid, compare_with, event};
use bids::{Bid, Sums, cpu_seconds};
use rustc_hash::FxBuildHasher;
use timely::container::{Accountable, CapacityContainerBuilder};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::dataflow::{ProbeHandle, Scope, Stream};
use timely::worker::Worker;

use crate::container::{Plain, Records, chunk};
use crate::jobs::{State, count};

#[derive(Clone, Default)]
struct Events {
    events: Vec<Event>,
    text: Vec<u8>,
}

impl Accountable for Events {
    fn record_count(&self) -> i64 {
        self.events.len() as i64
    }
}

/// The bids of a container, with their strings; q1's results.
#[derive(Clone, Default)]
struct Bids {
    bids: Vec<NexmarkBid>,
    text: Vec<u8>,
}

impl Accountable for Bids {
    fn record_count(&self) -> i64 {
        self.bids.len() as i64
    }
}

type Stage<C> = CapacityContainerBuilder<C>;
type Shared<T> = Rc<RefCell<T>>;

fn add_event(sums: &mut Sums, event: &Event) {
    sums.results += 1;
    sums.counts += event.text_bytes() as u64;
    let (id, price) = match event {
        Event::Person(person) => (person.id, 0),
        Event::Auction(auction) => (auction.id, auction.reserve),
        Event::Bid(bid) => (bid.auction, bid.price),
    };
    sums.sequences = sums.sequences.wrapping_add(id);
    sums.prices = sums.prices.wrapping_add(price);
}

fn add_bid(sums: &mut Sums, bid: &NexmarkBid, text: &[u8]) {
    sums.results += 1;
    sums.counts += bid.extra.of(text).len() as u64;
    sums.sequences = sums.sequences.wrapping_add(bid.auction);
    sums.prices = sums.prices.wrapping_add(bid.price);
}

fn add_bids(sums: &mut Sums, some: &Bids) {
    some.bids.iter().for_each(|bid| add_bid(sums, bid, &some.text));
}

fn in_euros(bid: &NexmarkBid) -> NexmarkBid {
    NexmarkBid { price: bid.price * 89 / 100, ..*bid }
}

/// What q2 and `bids` go on with; the sequence is the event's id, the bidder is not needed.
fn project(bid: &NexmarkBid, event_id: u64) -> Bid {
    Bid { auction: bid.auction, bidder: 0, price: bid.price, sequence: event_id }
}

fn is_selected(bid: &NexmarkBid) -> bool {
    bid.auction % 123 == 0
}

fn events_source<'scope>(scope: Scope<'scope, u64>, events: u64) -> Stream<'scope, u64, Events> {
    source::<_, Stage<Events>, _, _>(scope, "events", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut capability = Some(capability);
        let mut next = 0;
        let mut made = Events::default();
        move |output| {
            let Some(held) = capability.as_ref() else { return };
            let end = (next + chunk() as u64).min(events);
            made.events.clear();
            made.text.clear();
            made.events.extend((next..end).map(|event_id| event(event_id, &mut made.text)));
            next = end;
            output.session(held).give_container(&mut made);
            if next < events {
                activator.activate();
            } else {
                capability = None;
            }
        }
    })
}

/// A stage that makes one container of another.
fn stage<'scope, A, B>(stream: Stream<'scope, u64, A>, name: &str, make: impl Fn(&mut A) -> B + 'static) -> Stream<'scope, u64, B>
where
    A: Accountable + Default + 'static,
    B: Accountable + Default + Clone + 'static,
{
    stream.unary::<Stage<B>, _, _, _>(Pipeline, name, move |_, _| {
        move |input, output| input.for_each(|capability, some| output.session(&capability).give_container(&mut make(some)))
    })
}

fn sink<'scope, C>(
    stream: Stream<'scope, u64, C>,
    sums: Shared<Sums>,
    probe: &ProbeHandle<u64>,
    add: impl Fn(&mut Sums, &C) + 'static,
) where
    C: Accountable + Default + Clone + 'static,
{
    stream
        .unary::<Stage<C>, _, _, _>(Pipeline, "sink", move |_, _| {
            move |input, _output| input.for_each(|_, some| add(&mut sums.borrow_mut(), some))
        })
        .probe_with(probe);
}

fn euros(events: &mut Events) -> Bids {
    let bids = events.events.iter().filter_map(|event| if let Event::Bid(bid) = event { Some(in_euros(bid)) } else { None });
    Bids { bids: bids.collect(), text: std::mem::take(&mut events.text) }
}

/// The bids among these events that are wanted, projected. An event's id is not carried, but its time says it.
fn projected(events: &mut Events, wanted: fn(&NexmarkBid) -> bool) -> Records<Bid> {
    let id = |bid: &NexmarkBid| ((bid.date_time_ms - bids::nexmark::BASE_TIME_MS) / bids::nexmark::EVENT_DELAY_MS) as u64;
    let bids = events.events.iter().filter_map(|event| match event {
        Event::Bid(bid) if wanted(bid) => Some(project(bid, id(bid))),
        _ => None,
    });
    Records::Own(bids.collect())
}

fn add_records<R: Plain>(add: fn(&mut Sums, &R)) -> impl Fn(&mut Sums, &Records<R>) {
    move |sums, records| records.as_slice().iter().for_each(|record| add(sums, record))
}

fn dataflow(worker: &mut Worker, query: &str, events: u64) -> Result<Sums, String> {
    let sums = Shared::<Sums>::default();
    let state = Rc::new(RefCell::new(State::with_hasher(FxBuildHasher)));
    let probe = ProbeHandle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let (stream, sums) = (events_source(scope, events), sums.clone());
        match query {
            "q0" => sink(stream, sums, &probe, |sums, some: &Events| some.events.iter().for_each(|event| add_event(sums, event))),
            "q1" => sink(stage(stream, "to_euros", euros), sums, &probe, add_bids),
            "q2" => sink(stage(stream, "select", |some| projected(some, is_selected)), sums, &probe, add_records(Sums::bid)),
            "bids" => sink(
                count(stage(stream, "project", |some| projected(some, |_| true)), state.clone()),
                sums,
                &probe,
                add_records(Sums::update),
            ),
            other => return Err(format!("no query '{other}'")),
        }
        Ok(())
    })?;
    while !probe.done() {
        worker.step();
    }
    let mut seen = *sums.borrow();
    seen.keys = state.borrow().len() as u64;
    Ok(seen)
}

/// The same without timely: one loop.
fn plain(query: &str, events: u64) -> Sums {
    let mut sums = Sums::default();
    let mut state = std::collections::HashMap::<u64, (u64, u64)>::new();
    let mut text = Vec::new();
    for event_id in 0..events {
        text.clear();
        match (query, event(event_id, &mut text)) {
            ("q0", event) => add_event(&mut sums, &event),
            ("q1", Event::Bid(bid)) => add_bid(&mut sums, &in_euros(&bid), &text),
            ("q2", Event::Bid(bid)) if is_selected(&bid) => sums.bid(&project(&bid, event_id)),
            ("bids", Event::Bid(bid)) => {
                let (count, price_max) = state.entry(bid.auction).or_insert((0, 0));
                *count += 1;
                *price_max = bid.price.max(*price_max);
                sums.update(&bids::Update { auction: bid.auction, count: *count, price_max: *price_max, sequence: event_id });
            }
            _ => (),
        }
    }
    sums.keys = state.len() as u64;
    sums
}

/// Compares the generator with the golden rows, runs the query and the plain loop; the sums, wall and CPU seconds of the query.
pub fn run(query: &str, golden: &str, events: u64) -> Result<(Sums, f64, f64), String> {
    let rows = std::fs::read_to_string(golden).map_err(|error| format!("{golden}: {error}"))?;
    if compare_with(&rows)? == 0 {
        return Err(format!("{golden}: no rows to compare the generator with"));
    }
    let wanted = plain(query, events);
    let begun = (Instant::now(), cpu_seconds());
    let name = query.to_string();
    let sums = timely::execute_directly(move |worker| dataflow(worker, &name, events))?;
    let (wall_s, cpu_s) = (begun.0.elapsed().as_secs_f64(), cpu_seconds() - begun.1);
    if sums != wanted {
        return Err(format!("wrong result: {sums:?}, the plain loop says {wanted:?}"));
    }
    Ok((sums, wall_s, cpu_s))
}
