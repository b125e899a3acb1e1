//! A timely container of plain records: a vector, a piece of the mapped file, or bytes as they came from another worker, read
//! in place. timely's own Vec container encodes each record with bincode when bytes are exchanged; this one copies them all at
//! once.

use std::io::Write;
use std::slice;

use timely::bytes::arc::Bytes;
use timely::container::{Accountable, DrainContainer, PushInto, SizableContainer};
use timely::dataflow::channels::ContainerBytes;

/// Eight-byte numbers only: any bytes are one, and there is no padding.
///
/// # Safety
/// Such a struct is `repr(C)` and has u64 fields only.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: both are repr(C), of four u64.
unsafe impl Plain for bids::Bid {}
unsafe impl Plain for bids::Update {}

#[derive(Clone)]
pub enum Records<R: Plain> {
    Own(Vec<R>),
    Mapped(&'static [R]),
    Received(Bytes),
}

/// Records in one container: timely's default is 8 KiB; `--chunk` says otherwise.
pub static CHUNK: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(256);

pub fn chunk() -> usize {
    CHUNK.load(std::sync::atomic::Ordering::Relaxed)
}

impl<R: Plain> Records<R> {
    #[inline(always)]
    pub fn as_slice(&self) -> &[R] {
        match self {
            Records::Own(records) => records,
            Records::Mapped(records) => records,
            // SAFETY: from_bytes() lets only aligned bytes in, a whole number of records; R is Plain.
            Records::Received(bytes) => unsafe {
                slice::from_raw_parts(bytes.as_ptr().cast::<R>(), bytes.len() / size_of::<R>())
            },
        }
    }
}

impl<R: Plain> Default for Records<R> {
    fn default() -> Self {
        Records::Own(Vec::new())
    }
}

impl<R: Plain> Accountable for Records<R> {
    #[inline]
    fn record_count(&self) -> i64 {
        self.as_slice().len() as i64
    }
}

impl<R: Plain> DrainContainer for Records<R> {
    type Item<'a> = &'a R;
    type DrainIter<'a> = slice::Iter<'a, R>;
    #[inline]
    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.as_slice().iter()
    }
}

impl<R: Plain> SizableContainer for Records<R> {
    #[inline]
    fn at_capacity(&self) -> bool {
        match self {
            Records::Own(records) => records.len() == records.capacity(),
            _ => true,
        }
    }

    #[inline]
    fn ensure_capacity(&mut self, stash: &mut Option<Self>) {
        if matches!(self, Records::Own(records) if records.capacity() > 0) {
            return;
        }
        let mut records = match stash.take() {
            Some(Records::Own(records)) => records,
            _ => Vec::new(),
        };
        records.clear();
        records.reserve_exact(chunk());
        *self = Records::Own(records);
    }
}

impl<R: Plain> PushInto<R> for Records<R> {
    #[inline]
    fn push_into(&mut self, record: R) {
        match self {
            Records::Own(records) => records.push(record),
            _ => unreachable!("ensure_capacity() made it a vector"),
        }
    }
}

impl<R: Plain> PushInto<&R> for Records<R> {
    #[inline]
    fn push_into(&mut self, record: &R) {
        self.push_into(*record);
    }
}

impl<R: Plain> ContainerBytes for Records<R> {
    fn from_bytes(bytes: Bytes) -> Self {
        assert!(bytes.len() % size_of::<R>() == 0, "{} bytes are not a whole number of records", bytes.len());
        if bytes.as_ptr().cast::<R>().is_aligned() {
            return Records::Received(bytes);
        }
        let mut records = Vec::<R>::with_capacity(bytes.len() / size_of::<R>());
        // SAFETY: the vector has room for so many bytes, and R is Plain.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), records.as_mut_ptr().cast::<u8>(), bytes.len());
            records.set_len(bytes.len() / size_of::<R>());
        }
        Records::Own(records)
    }

    fn length_in_bytes(&self) -> usize {
        size_of_val(self.as_slice())
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        let records = self.as_slice();
        // SAFETY: R is Plain, without padding.
        let bytes = unsafe { slice::from_raw_parts(records.as_ptr().cast::<u8>(), size_of_val(records)) };
        writer.write_all(bytes).expect("timely gives as much room as length_in_bytes() said");
    }
}
