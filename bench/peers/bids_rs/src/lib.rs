//! What the Rust peers share: the bids of the input file, the sums by which a run is checked, and the plain loop that says what
//! they must be.

pub mod nexmark;
mod plain;

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::os::fd::AsRawFd;

pub use plain::plain;

/// A record of the input: 32 bytes, little endian (bench/make_bids.c).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bid {
    pub auction: u64,
    pub bidder: u64,
    pub price: u64,
    pub sequence: u64,
}

/// One update of the keyed count, as Weir's benchmark gives it out.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub auction: u64,
    pub count: u64,
    pub price_max: u64,
    pub sequence: u64,
}

/// What a sink saw, added up (modulo 2^64): a run that skips work shows here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Records at the sink.
    pub results: u64,
    /// Their sequence numbers: every input record had its result.
    pub sequences: u64,
    /// W0, W1: their prices. W2: of the highest prices in the updates; depends on the order of the input.
    pub prices: u64,
    /// W2: their counts.
    pub counts: u64,
    /// W2: keys in the state at the end.
    pub keys: u64,
    /// W2: the highest prices in the state at the end.
    pub highest: u64,
}

impl Sums {
    #[inline(always)]
    pub fn bid(&mut self, bid: &Bid) {
        self.results += 1;
        self.sequences = self.sequences.wrapping_add(bid.sequence);
        self.prices = self.prices.wrapping_add(bid.price);
    }

    #[inline(always)]
    pub fn update(&mut self, update: &Update) {
        self.results += 1;
        self.sequences = self.sequences.wrapping_add(update.sequence);
        self.prices = self.prices.wrapping_add(update.price_max);
        self.counts = self.counts.wrapping_add(update.count);
    }

    pub fn add(&mut self, other: &Sums) {
        self.results += other.results;
        self.sequences = self.sequences.wrapping_add(other.sequences);
        self.prices = self.prices.wrapping_add(other.prices);
        self.counts = self.counts.wrapping_add(other.counts);
        self.keys += other.keys;
        self.highest = self.highest.wrapping_add(other.highest);
    }

    /// The members of a JSON object, without the braces.
    pub fn json(&self) -> String {
        format!(
            "\"results\": {}, \"sequences\": {}, \"prices\": {}, \"counts\": {}, \"keys\": {}, \"highest\": {}",
            self.results, self.sequences, self.prices, self.counts, self.keys, self.highest
        )
    }
}

/// Maps a file of bids, for as long as the process lives. Its pages are touched here, so that a run does not measure page faults.
pub fn map_bids(path: &str) -> Result<&'static [Bid], Error> {
    let file = File::open(path)?;
    let bytes = usize::try_from(file.metadata()?.len()).map_err(|_| Error::from(ErrorKind::FileTooLarge))?;
    if bytes == 0 || bytes % size_of::<Bid>() != 0 {
        return Err(Error::new(ErrorKind::InvalidData, format!("{bytes} bytes are not a whole number of records of 32 bytes")));
    }
    // SAFETY: a fresh read-only mapping of the whole file, never unmapped; any 32 bytes are a Bid; mappings begin at a page.
    unsafe {
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        let start = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, flags, file.as_raw_fd(), 0);
        if start == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
        Ok(std::slice::from_raw_parts(start.cast::<Bid>(), bytes / size_of::<Bid>()))
    }
}

/// CPU seconds of all threads of this process so far.
pub fn cpu_seconds() -> f64 {
    // SAFETY: getrusage() fills the struct that it is given, which is plain numbers.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Keeps the calling thread on one CPU; false where that is refused.
pub fn pin(cpu: usize) -> bool {
    // SAFETY: CPU_SET() and sched_setaffinity() look at the set alone.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) == 0
    }
}
