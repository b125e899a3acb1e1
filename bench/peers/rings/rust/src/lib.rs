//! The work that every ring peer does, and how it is timed: what ../job.h is for those in C and C++. See there.

use std::mem::MaybeUninit;

const USAGE: &str = "usage: stream SIZE BATCH COUNT RING_BYTES EMPTY_PAUSES ROOM | trip COUNT EMPTY_PAUSES";
pub const TRIP_RING_BYTES: usize = 2 << 20;
pub const TRIP_COUNT_WORDS: u64 = 8;

pub struct Job {
    pub trip: bool,
    pub size_bytes: usize,
    pub batch: usize,
    pub count: u64,
    pub ring_bytes: usize,
    pub empty_pauses: u32,
    pub room: usize,
}

fn number(arguments: &[String], at: usize) -> u64 {
    arguments[at].parse().unwrap_or_else(|_| fail(USAGE))
}

pub fn fail(what: &str) -> ! {
    eprintln!("{what}");
    std::process::exit(1);
}

impl Job {
    pub fn from_arguments() -> Job {
        let a: Vec<String> = std::env::args().collect();
        if a.len() == 8 && a[1] == "stream" {
            return Job {
                trip: false,
                size_bytes: number(&a, 2) as usize,
                batch: number(&a, 3) as usize,
                count: number(&a, 4),
                ring_bytes: number(&a, 5) as usize,
                empty_pauses: number(&a, 6) as u32,
                room: number(&a, 7) as usize,
            };
        }
        if a.len() == 4 && a[1] == "trip" {
            let (count, empty_pauses) = (number(&a, 2), number(&a, 3) as u32);
            return Job { trip: true, size_bytes: 64, batch: 1, count, ring_bytes: TRIP_RING_BYTES, empty_pauses, room: 0 };
        }
        fail(USAGE)
    }

    #[inline(always)]
    pub fn idle(&self) {
        for _ in 0..self.empty_pauses {
            std::hint::spin_loop();
        }
    }

    /// Records that must fit before a producer that found the queue full goes on.
    pub fn room(&self, batch: usize) -> usize {
        batch.max(if self.room == 0 { 0 } else { self.ring_bytes / self.size_bytes / self.room })
    }

    pub fn print_stream(&self, sum: u64, begun_ns: i64, ended_ns: i64) {
        let words = self.size_bytes as u64 / 8;
        let numbers = (self.count as u128 * (self.count as u128 - 1) / 2) as u64;
        if sum != numbers.wrapping_mul(words).wrapping_add((words * (words - 1) / 2).wrapping_mul(self.count)) {
            fail("the consumer read something else than was written");
        }
        println!("{:.3}", self.count as f64 * 1e3 / (ended_ns - begun_ns) as f64);
    }
}

/// Records as a user would declare them: aligned to a cache line, where they fill one.
/// # Safety
/// All bit patterns are valid, and fill() writes all of it.
pub unsafe trait Record: Copy + Send + 'static {
    const WORDS: usize;
    fn words(&self) -> &[u64];

    #[inline(always)]
    fn fill(at: &mut MaybeUninit<Self>, number: u64) {
        let words = at.as_mut_ptr() as *mut u64;
        for i in 0..Self::WORDS {
            unsafe { words.add(i).write(number.wrapping_add(i as u64)) };
        }
    }

    #[inline(always)]
    fn of(number: u64) -> Self {
        let mut record = MaybeUninit::uninit();
        Self::fill(&mut record, number);
        unsafe { record.assume_init() }
    }

    #[inline(always)]
    fn sum(&self) -> u64 {
        self.words().iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

macro_rules! record {
    ($name:ident, $align:literal, $words:literal) => {
        #[repr(C, align($align))]
        #[derive(Clone, Copy)]
        pub struct $name([u64; $words]);
        unsafe impl Record for $name {
            const WORDS: usize = $words;
            #[inline(always)]
            fn words(&self) -> &[u64] {
                &self.0
            }
        }
    };
}
record!(Record16, 16, 2);
record!(Record64, 64, 8);
record!(Record256, 64, 32);
record!(Record1024, 64, 128);

pub fn now_ns() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

pub fn allowed_cpus() -> Vec<usize> {
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set) != 0 {
            fail("sched_getaffinity");
        }
        (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &set)).collect()
    }
}

/// The calling thread, to the nth of these CPUs.
pub fn pin(allowed: &[usize], nth: usize) {
    unsafe {
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(*allowed.get(nth).unwrap_or_else(|| fail("two CPUs are needed, each side on its own")), &mut one);
        if libc::sched_setaffinity(0, std::mem::size_of_val(&one), &one) != 0 {
            fail("sched_setaffinity");
        }
    }
}

/// p50 of `count` round trips in ns; a clock read (about 20 ns) is in each. `trip` sends a number and gives the sum of the record
/// that came back.
pub fn print_trips(count: u64, mut trip: impl FnMut(u64) -> u64) {
    let mut times_ns: Vec<i64> = (0..count)
        .map(|i| {
            let begun_ns = now_ns();
            if trip(i) != i * TRIP_COUNT_WORDS + 28 {
                fail("another record came back");
            }
            now_ns() - begun_ns
        })
        .collect();
    times_ns.sort_unstable();
    println!("{}", times_ns[count as usize / 2]);
}
