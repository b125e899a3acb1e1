//! iceoryx2, publish-subscribe between two processes, polled. A batch is one sample that holds so many records, written and read
//! in place; without overflow, so that nothing is lost, and with as many samples in the subscriber's buffer as make up the ring's
//! bytes.

use core::mem::MaybeUninit;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use rings::*;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const READY: u64 = 1;

/// Of both processes, from before the fork.
#[derive(Default)]
struct Shared {
    ready: AtomicU64,
    connected: AtomicU64,
    sum: AtomicU64,
    ended_ns: AtomicI64,
}

#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Sample<const WORDS: usize>([u64; WORDS]);
unsafe impl<const WORDS: usize> ZeroCopySend for Sample<WORDS> {}

type Service<const WORDS: usize> = PortFactory<ipc::Service, Sample<WORDS>, ()>;

fn shared() -> &'static Shared {
    let bytes = std::mem::size_of::<Shared>();
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0) };
    if memory == libc::MAP_FAILED {
        fail("no shared memory");
    }
    unsafe { &*(memory as *const Shared) } /* zeroes: as Default */
}

fn wait_for(word: &AtomicU64, value: u64) {
    while word.load(Ordering::SeqCst) < value {
        std::thread::yield_now();
    }
}

fn or_fail<T, E: core::fmt::Debug>(result: Result<T, E>, what: &str) -> T {
    result.unwrap_or_else(|error| fail(&format!("iceoryx2: {what}: {error:?}")))
}

fn node(root: &str) -> Node<ipc::Service> {
    let mut config = Config::default();
    config.global.set_root_path(&or_fail(Path::new(root.as_bytes()), "root path"));
    or_fail(NodeBuilder::new().config(&config).create::<ipc::Service>(), "node")
}

fn service<const WORDS: usize>(node: &Node<ipc::Service>, name: &str, samples: usize) -> Service<WORDS> {
    let name = or_fail(name.try_into(), "service name");
    let builder = node.service_builder(&name).publish_subscribe::<Sample<WORDS>>();
    or_fail(
        builder
            .enable_safe_overflow(false)
            .history_size(0)
            .max_publishers(1)
            .max_subscribers(1)
            .subscriber_max_borrowed_samples(1)
            .subscriber_max_buffer_size(samples)
            .open_or_create(),
        "service",
    )
}

fn publisher<const WORDS: usize>(service: &Service<WORDS>) -> Publisher<ipc::Service, Sample<WORDS>, ()> {
    let strategy = BackpressureStrategy::RetryUntilDelivered;
    let builder = service.publisher_builder().max_loaned_samples(1).backpressure_strategy(strategy);
    or_fail(builder.create(), "publisher")
}

fn subscriber<const WORDS: usize>(service: &Service<WORDS>) -> Subscriber<ipc::Service, Sample<WORDS>, ()> {
    or_fail(service.subscriber_builder().create(), "subscriber")
}

#[inline(always)]
fn send<const WORDS: usize>(to: &Publisher<ipc::Service, Sample<WORDS>, ()>, number: u64, record_words: usize) {
    let mut sample = or_fail(to.loan_uninit(), "loan");
    let payload: &mut MaybeUninit<Sample<WORDS>> = sample.payload_mut();
    let words = payload.as_mut_ptr() as *mut u64;
    for record in 0..WORDS / record_words {
        for i in 0..record_words {
            let value = number.wrapping_add((record + i) as u64);
            unsafe { words.add(record * record_words + i).write(value) };
        }
    }
    or_fail(unsafe { sample.assume_init() }.send(), "send");
}

/// The sum of the next sample, once there is one.
#[inline(always)]
fn receive<const WORDS: usize>(from: &Subscriber<ipc::Service, Sample<WORDS>, ()>, idle: impl Fn()) -> u64 {
    loop {
        if let Some(sample) = or_fail(from.receive(), "receive") {
            return sample.0.iter().fold(0, |sum, word| sum.wrapping_add(*word));
        }
        idle();
    }
}

fn consumer_side<const WORDS: usize>(job: &Job, root: &str, shared: &Shared) {
    let node = node(root);
    let service = service::<WORDS>(&node, "stream", job.ring_bytes / (WORDS * 8));
    let from = subscriber(&service);
    shared.ready.store(READY, Ordering::SeqCst);
    wait_for(&shared.connected, READY);
    let mut sum = 0u64;
    for _ in 0..job.count / job.batch as u64 {
        sum = sum.wrapping_add(receive(&from, || job.idle()));
    }
    shared.sum.store(sum, Ordering::SeqCst);
    shared.ended_ns.store(now_ns(), Ordering::SeqCst);
}

fn producer_side<const WORDS: usize, const RECORD_WORDS: usize>(job: &Job, root: &str, shared: &Shared) -> i64 {
    wait_for(&shared.ready, READY);
    let node = node(root);
    let service = service::<WORDS>(&node, "stream", job.ring_bytes / (WORDS * 8));
    let to = publisher(&service);
    shared.connected.store(READY, Ordering::SeqCst);
    let begun_ns = now_ns();
    for batch in 0..job.count / job.batch as u64 {
        send(&to, batch * job.batch as u64, RECORD_WORDS);
    }
    wait_for_end(shared); /* the publisher's memory is the ring: it stays until all is read */
    begun_ns
}

fn wait_for_end(shared: &Shared) {
    while shared.ended_ns.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

fn pong_side(job: &Job, root: &str, shared: &Shared) {
    let node = node(root);
    let there = service::<8>(&node, "there", TRIP_RING_BYTES / 64);
    let back = service::<8>(&node, "back", TRIP_RING_BYTES / 64);
    let (from, to) = (subscriber(&there), publisher(&back));
    shared.ready.store(READY, Ordering::SeqCst);
    wait_for(&shared.connected, READY);
    for _ in 0..job.count {
        let number = (receive(&from, std::hint::spin_loop) - 28) / TRIP_COUNT_WORDS;
        send(&to, number, 8);
    }
    wait_for_end(shared);
}

fn ping_side(job: &Job, root: &str, shared: &Shared) {
    wait_for(&shared.ready, READY);
    let node = node(root);
    let there = service::<8>(&node, "there", TRIP_RING_BYTES / 64);
    let back = service::<8>(&node, "back", TRIP_RING_BYTES / 64);
    let (to, from) = (publisher(&there), subscriber(&back));
    shared.connected.store(READY, Ordering::SeqCst);
    print_trips(job.count, |i| {
        send(&to, i, 8);
        receive(&from, std::hint::spin_loop)
    });
    shared.ended_ns.store(1, Ordering::SeqCst);
}

/// The work in two processes: the other side is the child.
fn run(job: &Job, other: impl Fn(&Job, &str, &Shared), this: impl Fn(&Job, &str, &Shared) -> i64) {
    set_log_level(LogLevel::Error);
    let allowed = allowed_cpus();
    let shared = shared();
    let root = std::env::temp_dir().join(format!("rings-iceoryx2-{}", std::process::id()));
    let root_text = format!("{}/", root.display());
    or_fail(std::fs::create_dir_all(&root), "root path");
    let child = unsafe { libc::fork() };
    if child < 0 {
        fail("fork");
    }
    if child == 0 {
        pin(&allowed, 1);
        other(job, &root_text, shared);
        std::process::exit(0);
    }
    pin(&allowed, 0);
    let begun_ns = this(job, &root_text, shared);
    let mut status = 0;
    if unsafe { libc::waitpid(child, &mut status, 0) } != child || status != 0 {
        fail("the other process failed");
    }
    let _ = std::fs::remove_dir_all(&root);
    if !job.trip {
        job.print_stream(shared.sum.load(Ordering::SeqCst), begun_ns, shared.ended_ns.load(Ordering::SeqCst));
    }
}

fn stream<const WORDS: usize, const RECORD_WORDS: usize>(job: &Job) {
    if job.count % job.batch as u64 != 0 {
        fail("the count must be a multiple of the batch");
    }
    run(job, consumer_side::<WORDS>, producer_side::<WORDS, RECORD_WORDS>);
}

fn main() {
    let job = Job::from_arguments();
    match (job.trip, job.size_bytes, job.batch) {
        (true, _, _) => run(&job, pong_side, |job, root, shared| {
            ping_side(job, root, shared);
            0
        }),
        (false, 16, 32) => stream::<64, 2>(&job),
        (false, 64, 32) => stream::<256, 8>(&job),
        (false, 256, 32) => stream::<1024, 32>(&job),
        (false, 1024, 32) => stream::<4096, 128>(&job),
        (false, 16, 1) => stream::<2, 2>(&job),
        (false, 64, 1) => stream::<8, 8>(&job),
        (false, 256, 1) => stream::<32, 32>(&job),
        (false, 1024, 1) => stream::<128, 128>(&job),
        _ => fail("batches of 1 and 32, records of 16, 64, 256 and 1024 bytes"),
    }
}
