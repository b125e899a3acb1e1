//! `timely-peer WORK FILE [--option value ...]`: the work of Weir's benchmarks as timely dataflows; a JSON object on one line.
//!
//!     w0 | w1 | w2 | exchange FILE    the throughput of that work (w0 is chained, exchange is W0 through an exchange)
//!     latency FILE                    w2 at --rate events/s for --seconds, from when each was due to its update at the sink
//!     q0 | q1 | q2 | bids GOLDEN      Nexmark's queries over --events events made inside, the generator and the sums checked
//!     plain.w0 | plain.w1 | plain.w2  the same with a plain loop, to compare the sums with

mod container;
mod jobs;
mod latency;
mod nexmark;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bids::{Sums, cpu_seconds, map_bids};
use timely::synchronization::Barrier;
use timely::{CommunicationConfig, Config, WorkerConfig};

use jobs::{Plan, Work};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Options(HashMap<String, String>);

impl Options {
    fn number(&self, name: &str, standard: usize) -> Result<usize, String> {
        match self.0.get(name) {
            None => Ok(standard),
            Some(text) => text.parse().map_err(|_| format!("--{name}: '{text}' is not a number")),
        }
    }
}

const NAMES: [&str; 15] = [
    "workers",
    "exchange",
    "process",
    "addresses",
    "passes",
    "chunk",
    "burst",
    "lag",
    "mapped",
    "keys",
    "spin-us",
    "rate",
    "seconds",
    "warm",
    "events",
];

fn parse() -> Result<(String, String, Options), String> {
    let mut words = std::env::args().skip(1);
    let (Some(work), Some(file)) = (words.next(), words.next()) else {
        return Err("usage: timely-peer WORK FILE [--option value ...]".into());
    };
    let mut options = HashMap::new();
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").filter(|name| NAMES.contains(name)).ok_or(format!("no option '{word}'"))?;
        options.insert(name.to_string(), words.next().ok_or(format!("{word} needs a value"))?);
    }
    Ok((work, file, Options(options)))
}

/// One worker; several threads, records handed over as they are (typed) or as bytes; or a process of several, over TCP.
fn communication(options: &Options) -> Result<CommunicationConfig, String> {
    let workers = options.number("workers", 1)?;
    if let Some(addresses) = options.0.get("addresses") {
        let addresses = addresses.split(',').map(String::from).collect();
        let process = options.number("process", 0)?;
        return Ok(CommunicationConfig::Cluster { threads: workers, process, addresses, report: false, zerocopy: false });
    }
    match (workers, options.0.get("exchange").map_or("typed", String::as_str)) {
        (1, _) => Ok(CommunicationConfig::Thread),
        (_, "typed") => Ok(CommunicationConfig::Process(workers)),
        (_, "bytes") => Ok(CommunicationConfig::ProcessBinary(workers)),
        (_, other) => Err(format!("--exchange is typed or bytes, not '{other}'")),
    }
}

fn print_run(sums: &Sums, records: usize, wall_s: f64, cpu_s: f64) {
    println!("{{\"records\": {records}, \"wall_s\": {wall_s:.6}, \"cpu_s\": {cpu_s:.6}, {}}}", sums.json());
}

fn throughput(work: Work, file: &str, options: &Options) -> Result<(), String> {
    let bids = map_bids(file).map_err(|error| format!("{file}: {error}"))?;
    let counts = work == Work::Count;
    let plan = Plan {
        work,
        bids,
        passes: if counts { 1 } else { options.number("passes", 1)? },
        burst: options.number("burst", 16)?,
        lag: options.number("lag", 0)? as u64,
        mapped: options.number("mapped", 1)? != 0,
        keys: if counts { options.number("keys", 0)? } else { 0 },
    };
    container::CHUNK.store(options.number("chunk", 256)?, Ordering::Relaxed);
    let spin = Duration::from_micros(options.number("spin-us", 10)? as u64);
    let config = Config { communication: communication(options)?, worker: WorkerConfig::default().idle_spin(spin) };

    let guards = timely::execute(config, move |worker| {
        let share = |index: usize| plan.bids.len() * index / worker.peers();
        let part = &plan.bids[share(worker.index())..share(worker.index() + 1)];
        Barrier::new(worker).wait(); // two processes do not find each other at the same time
        let begun = (Instant::now(), cpu_seconds());
        let sums = jobs::run(worker, Plan { bids: part, keys: plan.keys / worker.peers(), ..plan });
        (sums, part.len(), begun, Instant::now(), cpu_seconds())
    })?;
    let mut sums = Sums::default();
    let (mut records, mut first, mut first_cpu_s, mut last, mut last_cpu_s) =
        (0, None::<Instant>, f64::MAX, None::<Instant>, 0_f64);
    for result in guards.join() {
        let (some, count, (begun, begun_cpu_s), ended, ended_cpu_s) = result?;
        sums.add(&some);
        records += count * plan.passes;
        first = Some(first.map_or(begun, |time| time.min(begun)));
        first_cpu_s = first_cpu_s.min(begun_cpu_s);
        last = Some(last.map_or(ended, |time| time.max(ended)));
        last_cpu_s = last_cpu_s.max(ended_cpu_s);
    }
    let wall_s = last.zip(first).map_or(0.0, |(last, first)| (last - first).as_secs_f64());
    print_run(&sums, records, wall_s, last_cpu_s - first_cpu_s);
    Ok(())
}

fn plain(work: &str, file: &str, options: &Options) -> Result<(), String> {
    let bids = map_bids(file).map_err(|error| format!("{file}: {error}"))?;
    let passes = options.number("passes", 1)?;
    let begun = (Instant::now(), cpu_seconds());
    let sums = bids::plain(work, bids, passes as u64).ok_or(format!("no work 'plain.{work}'"))?;
    print_run(&sums, bids.len() * passes, begun.0.elapsed().as_secs_f64(), cpu_seconds() - begun.1);
    Ok(())
}

fn latencies(file: &str, options: &Options) -> Result<(), String> {
    let bids = map_bids(file).map_err(|error| format!("{file}: {error}"))?;
    let number = |name, standard| options.number(name, standard).map(|value| value as u64);
    container::CHUNK.store(options.number("chunk", 256)?, Ordering::Relaxed);
    let warm = options.number("warm", 0)?;
    let load = latency::Load {
        bids,
        rate: number("rate", 100_000)?,
        seconds: number("seconds", 10)?,
        keys: options.number("keys", 0)?,
        warm,
    };
    if load.rate == 0 || load.seconds == 0 {
        return Err("--rate and --seconds are at least 1".into());
    }
    latency::run(load);
    Ok(())
}

fn nexmark_query(query: &str, golden: &str, options: &Options) -> Result<(), String> {
    let events = options.number("events", 1_000_000)?;
    container::CHUNK.store(options.number("chunk", 256)?, Ordering::Relaxed);
    let (sums, wall_s, cpu_s) = nexmark::run(query, golden, events as u64)?;
    print_run(&sums, events, wall_s, cpu_s);
    Ok(())
}

fn run() -> Result<(), String> {
    let (work, file, options) = parse()?;
    match work.as_str() {
        "w0" => throughput(Work::Chained, &file, &options),
        "exchange" => throughput(Work::Exchange, &file, &options),
        "w1" => throughput(Work::Filter, &file, &options),
        "w2" => throughput(Work::Count, &file, &options),
        "q0" | "q1" | "q2" | "bids" => nexmark_query(&work, &file, &options),
        "latency" => latencies(&file, &options),
        other => match other.strip_prefix("plain.") {
            Some(work) => plain(work, &file, &options),
            None => Err(format!("no work '{other}'")),
        },
    }
}

fn main() {
    if let Err(error) = run() {
        eprintln!("timely-peer: {error}");
        std::process::exit(1);
    }
}
