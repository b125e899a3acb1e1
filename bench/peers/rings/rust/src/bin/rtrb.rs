//! rtrb between two threads (its ring is on the heap). In batches: write_chunk_uninit() and read_chunk(), both in place; one by
//! one: push() and pop().

use rings::*;
use rtrb::{Consumer, Producer, RingBuffer};

fn produce_single<T: Record>(ring: &mut Producer<T>, job: &Job) {
    for i in 0..job.count {
        while ring.is_full() {
            while ring.slots() < job.room(1) {
                std::hint::spin_loop();
            }
        }
        let _ = ring.push(T::of(i));
    }
}

fn consume_single<T: Record>(ring: &mut Consumer<T>, job: &Job) -> u64 {
    let mut sum = 0u64;
    for _ in 0..job.count {
        loop {
            if let Ok(record) = ring.pop() {
                sum = sum.wrapping_add(record.sum());
                break;
            }
            job.idle();
        }
    }
    sum
}

fn produce<T: Record>(ring: &mut Producer<T>, job: &Job) {
    if job.batch == 1 {
        return produce_single(ring, job);
    }
    let mut sent = 0;
    while sent < job.count {
        let batch = job.batch.min((job.count - sent) as usize);
        let Ok(mut chunk) = ring.write_chunk_uninit(batch) else {
            while ring.slots() < job.room(batch) {
                std::hint::spin_loop();
            }
            continue;
        };
        let (first, second) = chunk.as_mut_slices();
        for slot in first.iter_mut().chain(second) {
            T::fill(slot, sent);
            sent += 1;
        }
        unsafe { chunk.commit_all() };
    }
}

fn consume<T: Record>(ring: &mut Consumer<T>, job: &Job) -> u64 {
    if job.batch == 1 {
        return consume_single(ring, job);
    }
    let (mut sum, mut seen) = (0u64, 0);
    while seen < job.count {
        let batch = match ring.read_chunk(job.batch) {
            Ok(chunk) => {
                let (first, second) = chunk.as_slices();
                for record in first.iter().chain(second) {
                    sum = sum.wrapping_add(record.sum());
                }
                chunk.commit_all();
                job.batch
            }
            Err(rtrb::chunks::ChunkError::TooFewSlots(0)) => {
                job.idle();
                0
            }
            Err(rtrb::chunks::ChunkError::TooFewSlots(few)) => {
                let chunk = ring.read_chunk(few).unwrap_or_else(|_| fail("rtrb: what was there is gone"));
                let (first, second) = chunk.as_slices();
                for record in first.iter().chain(second) {
                    sum = sum.wrapping_add(record.sum());
                }
                chunk.commit_all();
                few
            }
        };
        seen += batch as u64;
    }
    sum
}

fn stream<T: Record>(job: &Job) {
    let allowed = allowed_cpus();
    let (mut producer, mut consumer) = RingBuffer::<T>::new(job.ring_bytes / job.size_bytes);
    let ready = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin(&allowed, 1);
            ready.wait();
            let sum = consume(&mut consumer, job);
            (sum, now_ns())
        });
        ready.wait();
        pin(&allowed, 0);
        let begun_ns = now_ns();
        produce(&mut producer, job);
        let (sum, ended_ns) = other.join().unwrap_or_else(|_| fail("the other thread failed"));
        job.print_stream(sum, begun_ns, ended_ns);
    });
}

fn send(ring: &mut Producer<Record64>, number: u64) {
    while ring.is_full() {
        std::hint::spin_loop();
    }
    let _ = ring.push(Record64::of(number));
}

fn receive(ring: &mut Consumer<Record64>) -> u64 {
    loop {
        if let Ok(record) = ring.pop() {
            return record.sum();
        }
        std::hint::spin_loop();
    }
}

fn trip(job: &Job) {
    let allowed = allowed_cpus();
    let (mut to, mut there) = RingBuffer::<Record64>::new(TRIP_RING_BYTES / 64);
    let (mut back, mut from) = RingBuffer::<Record64>::new(TRIP_RING_BYTES / 64);
    let ready = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(&allowed, 1);
            ready.wait();
            for _ in 0..job.count {
                let number = (receive(&mut there) - 28) / TRIP_COUNT_WORDS;
                send(&mut back, number);
            }
        });
        ready.wait();
        pin(&allowed, 0);
        print_trips(job.count, |i| {
            send(&mut to, i);
            receive(&mut from)
        });
    });
}

fn main() {
    let job = Job::from_arguments();
    match (job.trip, job.size_bytes) {
        (true, _) => trip(&job),
        (false, 16) => stream::<Record16>(&job),
        (false, 64) => stream::<Record64>(&job),
        (false, 256) => stream::<Record256>(&job),
        (false, 1024) => stream::<Record1024>(&job),
        _ => fail("no queue for records of this size"),
    }
}
