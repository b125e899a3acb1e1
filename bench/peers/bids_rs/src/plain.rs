//! The plain loop: what every engine must come to. One thread, the standard library's map, nothing of any engine.

use std::collections::HashMap;

use crate::{Bid, Sums, Update};

fn count(bids: &[Bid]) -> Sums {
    let mut sums = Sums::default();
    let mut state: HashMap<u64, (u64, u64)> = HashMap::new();
    for bid in bids {
        let (count, price_max) = state.entry(bid.auction).or_insert((0, 0));
        *count += 1;
        *price_max = bid.price.max(*price_max);
        sums.update(&Update { auction: bid.auction, count: *count, price_max: *price_max, sequence: bid.sequence });
    }
    sums.keys = state.len() as u64;
    sums.highest = state.values().map(|(_, price_max)| price_max).sum();
    sums
}

/// What `work` (w0, w1, w2) over these bids, `passes` times over, adds up to. None: there is no such work.
pub fn plain(work: &str, bids: &[Bid], passes: u64) -> Option<Sums> {
    let mut once = Sums::default();
    match work {
        "w0" => bids.iter().for_each(|bid| once.bid(bid)),
        "w1" => bids.iter().filter(|bid| bid.auction % 123 == 0).for_each(|bid| once.bid(bid)),
        "w2" => return Some(count(bids)),
        _ => return None,
    }
    let mut sums = Sums::default();
    (0..passes).for_each(|_| sums.add(&once));
    Some(sums)
}
