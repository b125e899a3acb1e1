//! `dbsp-peer WORK FILE [--option value ...]`: the work of Weir's benchmarks as incremental dbsp circuits; one line of JSON.
//!
//!     w0 | w1 | w2 FILE               the throughput of that work
//!     plain.w0 | plain.w1 | plain.w2  the same with a plain loop, to compare the sums with
//!
//! dbsp takes its input a step at a time (--step records) and gives a delta a step: of W2 one new row, and the old one with
//! weight -1, for each auction of which the step had bids. The other engines give one update for each bid.

use std::collections::HashMap;
use std::time::Instant;

use bids::{Bid, Sums, cpu_seconds, map_bids};
use dbsp::circuit::CircuitConfig;
use dbsp::operator::{IndexedZSetHandle, ZSetHandle};
use dbsp::typed_batch::{IndexedZSetReader, SpineSnapshot};
use dbsp::utils::{Tup2, Tup4};
use dbsp::{DBSPHandle, OrdIndexedZSet, OrdZSet, OutputHandle, RootCircuit, Runtime};

#[global_allocator]
static ALLOCATOR: dbsp::mimalloc::MiMalloc = dbsp::mimalloc::MiMalloc;

type Row = Tup4<u64, u64, u64, u64>;
type Rows = SpineSnapshot<OrdZSet<Row>>;
type Counts = SpineSnapshot<OrdIndexedZSet<u64, Tup2<u64, u64>>>;

struct Options(HashMap<String, String>);

impl Options {
    fn number(&self, name: &str, standard: usize) -> Result<usize, String> {
        match self.0.get(name) {
            None => Ok(standard),
            Some(text) => {
                text.parse().ok().filter(|number| *number > 0).ok_or(format!("--{name}: '{text}' is not a number from 1 on"))
            }
        }
    }
}

fn parse() -> Result<(String, String, Options), String> {
    let mut words = std::env::args().skip(1);
    let (Some(work), Some(file)) = (words.next(), words.next()) else {
        return Err("usage: dbsp-peer WORK FILE [--workers N] [--step RECORDS]".into());
    };
    let mut options = HashMap::new();
    while let Some(word) = words.next() {
        let name =
            word.strip_prefix("--").filter(|name| ["workers", "step"].contains(name)).ok_or(format!("no option '{word}'"))?;
        options.insert(name.to_string(), words.next().ok_or(format!("{word} needs a value"))?);
    }
    Ok((work, file, Options(options)))
}

/// W0, W1: rows of four numbers; the filter, where there is one; what a step gives.
fn rows_circuit(circuit: &mut RootCircuit, filters: bool) -> (ZSetHandle<Row>, OutputHandle<Rows>) {
    let (rows, input) = circuit.add_input_zset::<Row>();
    let rows = if filters { rows.filter(|row| row.0 % 123 == 0) } else { rows.shard() };
    (input, rows.accumulate_output())
}

/// W2: count and highest price per auction, kept as one small row a key (bids are never taken back, so that nothing else need
/// be kept).
fn counts_circuit(circuit: &mut RootCircuit) -> (IndexedZSetHandle<u64, u64>, OutputHandle<Counts>) {
    let (bids, input) = circuit.add_input_indexed_zset::<u64, u64>();
    let counts = bids.chain_aggregate(
        |price, weight| Tup2(weight as u64, *price),
        |Tup2(count, price_max), price, weight| Tup2(count + weight as u64, price_max.max(*price)),
    );
    (input, counts.accumulate_output())
}

/// Looks at every row of a step's delta.
fn add_rows(sums: &mut Sums, output: &OutputHandle<Rows>) {
    for delta in output.take_from_all() {
        for (Tup4(auction, bidder, price, sequence), (), weight) in delta.iter() {
            debug_assert!(weight == 1, "no two bids are the same");
            sums.bid(&Bid { auction, bidder, price, sequence });
        }
    }
}

/// The same; `counts`, `keys` and `highest` come to what the state is at the end.
fn add_counts(sums: &mut Sums, output: &OutputHandle<Counts>) {
    for delta in output.take_from_all() {
        for (_, Tup2(count, price_max), weight) in delta.iter() {
            let weight = weight as u64; // 1, or -1 modulo 2^64
            sums.results += u64::from(weight == 1);
            sums.counts = sums.counts.wrapping_add(count.wrapping_mul(weight));
            sums.highest = sums.highest.wrapping_add(price_max.wrapping_mul(weight));
            sums.keys = sums.keys.wrapping_add(weight);
        }
    }
}

/// Feeds the file a step at a time, and takes each step's delta.
fn steps(
    handle: &mut DBSPHandle,
    bids: &[Bid],
    step: usize,
    feed: impl Fn(&[Bid]),
    mut take: impl FnMut(&mut Sums),
) -> Result<Sums, String> {
    let mut sums = Sums::default();
    for some in bids.chunks(step) {
        feed(some);
        handle.transaction().map_err(|error| error.to_string())?;
        take(&mut sums);
    }
    Ok(sums)
}

fn throughput(work: &str, file: &str, options: &Options) -> Result<(), String> {
    let bids = map_bids(file).map_err(|error| format!("{file}: {error}"))?;
    let (workers, step) = (options.number("workers", 1)?, options.number("step", 10_000)?);
    let config = CircuitConfig::with_workers(workers);
    let begun = (Instant::now(), cpu_seconds());
    let (handle, sums) = if work == "w2" {
        let (mut handle, (input, output)) =
            Runtime::init_circuit(config, |circuit| Ok(counts_circuit(circuit))).map_err(|error| error.to_string())?;
        let feed = |some: &[Bid]| input.append(&mut some.iter().map(|bid| Tup2(bid.auction, Tup2(bid.price, 1))).collect());
        let sums = steps(&mut handle, bids, step, feed, |sums| add_counts(sums, &output))?;
        (handle, sums)
    } else {
        let filters = work == "w1";
        let (mut handle, (input, output)) = Runtime::init_circuit(config, move |circuit| Ok(rows_circuit(circuit, filters)))
            .map_err(|error| error.to_string())?;
        let row = |bid: &Bid| Tup2(Tup4(bid.auction, bid.bidder, bid.price, bid.sequence), 1);
        let feed = |some: &[Bid]| input.append(&mut some.iter().map(row).collect());
        let sums = steps(&mut handle, bids, step, feed, |sums| add_rows(sums, &output))?;
        (handle, sums)
    };
    print_run(&sums, bids.len(), begun);
    handle.kill().map_err(|_| "a worker panicked".into())
}

fn print_run(sums: &Sums, records: usize, (begun, begun_cpu_s): (Instant, f64)) {
    let (wall_s, cpu_s) = (begun.elapsed().as_secs_f64(), cpu_seconds() - begun_cpu_s);
    println!("{{\"records\": {records}, \"wall_s\": {wall_s:.6}, \"cpu_s\": {cpu_s:.6}, {}}}", sums.json());
}

fn plain(work: &str, file: &str) -> Result<(), String> {
    let bids = map_bids(file).map_err(|error| format!("{file}: {error}"))?;
    let begun = (Instant::now(), cpu_seconds());
    let sums = bids::plain(work, bids, 1).ok_or(format!("no work 'plain.{work}'"))?;
    print_run(&sums, bids.len(), begun);
    Ok(())
}

fn run() -> Result<(), String> {
    let (work, file, options) = parse()?;
    match work.as_str() {
        "w0" | "w1" | "w2" => throughput(&work, &file, &options),
        other => match other.strip_prefix("plain.") {
            Some(work) => plain(work, &file),
            None => Err(format!("no work '{other}'")),
        },
    }
}

fn main() {
    if let Err(error) = run() {
        eprintln!("dbsp-peer: {error}");
        std::process::exit(1);
    }
}
