//! The work: W0 (chained, or through an exchange), W1, W2, each a timely dataflow over this worker's part of the file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bids::{Bid, Sums, Update};
use rustc_hash::FxBuildHasher;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{ExchangeCore, Pipeline};
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::core::Filter;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::dataflow::{ProbeHandle, Scope, Stream};
use timely::worker::Worker;

use crate::container::{Plain, Records, chunk};

pub type Builder<R> = CapacityContainerBuilder<Records<R>>;
type Shared<T> = Rc<RefCell<T>>;

/// Count and highest price per auction.
pub type State = HashMap<u64, (u64, u64), FxBuildHasher>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Chained,
    Exchange,
    Filter,
    Count,
}

#[derive(Clone, Copy)]
pub struct Plan {
    pub work: Work,
    pub bids: &'static [Bid],
    pub passes: usize,
    /// Containers that the source gives before it lets the others run.
    pub burst: usize,
    /// Bursts that may be under way; 0: the source does not wait for the sink.
    pub lag: u64,
    /// The source gives pieces of the mapped file; else it copies them into containers of its own.
    pub mapped: bool,
    /// Room that the state has from the start.
    pub keys: usize,
}

/// Gives the file to `stream`, `passes` times over, a burst each time that it is scheduled; ends its capability at the end.
fn bids_source<'scope>(scope: Scope<'scope, u64>, plan: Plan, probe: ProbeHandle<u64>) -> Stream<'scope, u64, Records<Bid>> {
    source::<_, Builder<Bid>, _, _>(scope, "bids", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut capability = Some(capability);
        let mut pieces = (0..plan.passes).flat_map(move |_| plan.bids.chunks(chunk())).peekable();
        let mut burst_number = 0_u64;
        let mut own = Records::default();
        move |output| {
            let Some(held) = capability.as_mut() else { return };
            if plan.lag == 0 || !probe.less_than(&burst_number.saturating_sub(plan.lag)) {
                let mut session = output.session(&*held);
                for piece in pieces.by_ref().take(plan.burst) {
                    if plan.mapped {
                        session.give_container(&mut Records::Mapped(piece));
                    } else {
                        own = refill(std::mem::take(&mut own), piece);
                        session.give_container(&mut own);
                    }
                }
                drop(session);
                burst_number += 1;
                if plan.lag > 0 {
                    held.downgrade(&burst_number);
                }
            }
            if pieces.peek().is_some() {
                activator.activate();
            } else {
                capability = None;
            }
        }
    })
}

/// The vector that a neighbour gave back, where it did, with new contents.
fn refill(records: Records<Bid>, piece: &[Bid]) -> Records<Bid> {
    let mut own = match records {
        Records::Own(own) => own,
        _ => Vec::new(),
    };
    own.clear();
    own.extend_from_slice(piece);
    Records::Own(own)
}

/// Drops the records, having looked at each.
fn sink<'scope, R: Plain>(
    stream: Stream<'scope, u64, Records<R>>,
    sums: Shared<Sums>,
    probe: &ProbeHandle<u64>,
    add: fn(&mut Sums, &R),
) {
    stream
        .unary::<Builder<R>, _, _, _>(Pipeline, "sink", move |_, _| {
            move |input, _output| {
                let mut seen = sums.borrow_mut();
                input.for_each(|_, records| {
                    let mut some = *seen;
                    records.as_slice().iter().for_each(|record| add(&mut some, record));
                    *seen = some;
                });
            }
        })
        .probe_with(probe);
}

/// Count and highest price per auction, one update out per bid.
pub fn count<'scope>(stream: Stream<'scope, u64, Records<Bid>>, state: Shared<State>) -> Stream<'scope, u64, Records<Update>> {
    let route = |bid: &&Bid| bid.auction;
    stream.unary::<Builder<Update>, _, _, _>(ExchangeCore::<Builder<Bid>, _>::new(route), "count", move |_, _| {
        move |input, output| {
            let mut state = state.borrow_mut();
            input.for_each(|capability, bids| {
                output.session(&capability).give_iterator(bids.as_slice().iter().map(|bid| {
                    let (count, price_max) = state.entry(bid.auction).or_insert((0, 0));
                    *count += 1;
                    *price_max = bid.price.max(*price_max);
                    Update { auction: bid.auction, count: *count, price_max: *price_max, sequence: bid.sequence }
                }));
            });
        }
    })
}

fn exchange<'scope>(stream: Stream<'scope, u64, Records<Bid>>) -> Stream<'scope, u64, Records<Bid>> {
    let route = |bid: &&Bid| bid.auction;
    stream.unary::<Builder<Bid>, _, _, _>(ExchangeCore::<Builder<Bid>, _>::new(route), "exchange", |_, _| {
        |input, output| input.for_each(|capability, bids| output.session(&capability).give_container(bids))
    })
}

/// Builds the dataflow and runs it to its end; what this worker's sink saw.
pub fn run(worker: &mut Worker, plan: Plan) -> Sums {
    let sums = Shared::<Sums>::default();
    let state = Rc::new(RefCell::new(State::with_capacity_and_hasher(plan.keys, FxBuildHasher)));
    let probe = ProbeHandle::new();
    worker.dataflow::<u64, _, _>(|scope| {
        let bids = bids_source(scope, plan, probe.clone());
        match plan.work {
            Work::Chained => sink(bids, sums.clone(), &probe, Sums::bid),
            Work::Exchange => sink(exchange(bids), sums.clone(), &probe, Sums::bid),
            Work::Filter => sink(bids.filter(|bid| bid.auction % 123 == 0), sums.clone(), &probe, Sums::bid),
            Work::Count => sink(count(bids, state.clone()), sums.clone(), &probe, Sums::update),
        }
    });
    while !probe.done() {
        worker.step_or_park(None);
    }
    let mut seen = *sums.borrow();
    let state = state.borrow();
    seen.keys = state.len() as u64;
    seen.highest = state.values().map(|(_, price_max)| price_max).sum();
    seen
}
