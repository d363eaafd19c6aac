//! A growing table whose entries never move and are never freed while it lives; it grows without a lock.
//!
//! Entries live in chunks; each chunk is twice as long as the one before, so twenty pointers reach two million
//! entries. The first chunk is part of the table itself: small pools touch no pointer. A missing chunk is made by whoever needs
//! it first; when two make the same one, the loser of the compare-and-swap frees its own.
//!
//! Nothing here is published by order alone: an index reaches another thread only through a protocol word, and whoever
//! dereferences a chunk acquires its pointer.
#![allow(unsafe_code)]

use crate::sync::AtomicPtr;
use std::ptr;
use std::slice;
use std::sync::atomic::Ordering;

/// Entries in the first chunk (under loom few, so that a model reaches the second).
const FIRST: usize = if cfg!(loom) { 2 } else { 16 };
/// Enough for the largest capacity: 16 * (2^18 - 1) entries.
const CHUNKS: usize = 17;

pub(crate) struct Arena<T> {
    first: Box<[T]>,
    /// Chunk k (from 1 on, at place k - 1) holds the FIRST << k entries from FIRST * (2^k - 1) on.
    rest: [AtomicPtr<T>; CHUNKS],
}

impl<T: Default> Arena<T> {
    pub(crate) fn new() -> Self {
        Arena {
            first: (0..FIRST).map(|_| T::default()).collect(),
            rest: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// The entry at *index*, where its chunk is there.
    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        if index < FIRST {
            return Some(&self.first[index]);
        }
        let (chunk, offset) = place(index);
        // Acquire pairs with the Release of the swap that published the chunk.
        let base = self.rest.get(chunk)?.load(Ordering::Acquire);
        if base.is_null() {
            return None;
        }
        // SAFETY: a chunk once published stays until the table is dropped, and `offset` is below its length.
        Some(unsafe { &*base.add(offset) })
    }

    /// The first *count* entries, as far as their chunks are there. A chunk is looked up once, not for each of its entries.
    #[inline(always)]
    pub(crate) fn take(&self, count: usize) -> impl Iterator<Item = &T> {
        let rest = (0..CHUNKS)
            .map(move |chunk| (chunk, FIRST * ((2 << chunk) - 1)))
            .take_while(move |&(_, start)| start < count);
        let rest = rest.map_while(move |(chunk, start)| {
            let base = self.rest[chunk].load(Ordering::Acquire);
            // SAFETY: a chunk once published stays until the table is dropped, and has this length.
            (!base.is_null()).then(|| unsafe { slice::from_raw_parts(base, (FIRST << (chunk + 1)).min(count - start)) })
        });
        self.first[..FIRST.min(count)].iter().chain(rest.flatten())
    }

    /// Entries there is room for now.
    pub(crate) fn len(&self) -> usize {
        let made = |chunk: &usize| !self.rest[*chunk].load(Ordering::Acquire).is_null();
        FIRST + (0..CHUNKS).filter(made).map(|chunk| FIRST << (chunk + 1)).sum::<usize>()
    }

    /// The entry at *index*; makes its chunk if need be.
    pub(crate) fn grow(&self, index: usize) -> &T {
        if let Some(entry) = self.get(index) {
            return entry;
        }
        let (chunk, offset) = place(index);
        let made: Box<[T]> = (0..FIRST << (chunk + 1)).map(|_| T::default()).collect();
        let made = Box::into_raw(made).cast::<T>();
        let slot = &self.rest[chunk];
        let base = match slot.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(theirs) => {
                // SAFETY: `made` came from `Box::into_raw` above with this length, and nobody else has seen it.
                unsafe { free(made, chunk) };
                theirs
            }
        };
        // SAFETY: as in `get`.
        unsafe { &*base.add(offset) }
    }
}

/// (index of the chunk in `rest`, offset in it) of an entry past the first chunk.
#[inline(always)]
fn place(index: usize) -> (usize, usize) {
    let number = (index / FIRST + 1).ilog2() as usize;
    (number - 1, index - FIRST * ((1 << number) - 1))
}

/// Frees a chunk.
///
/// # Safety
/// `base` must come from `Box::into_raw` of a boxed slice with the length of chunk `chunk`, and nobody may use it.
unsafe fn free<T>(base: *mut T, chunk: usize) {
    let whole = ptr::slice_from_raw_parts_mut(base, FIRST << (chunk + 1));
    // SAFETY: see above.
    drop(unsafe { Box::from_raw(whole) });
}

impl<T> Drop for Arena<T> {
    fn drop(&mut self) {
        for (chunk, slot) in self.rest.iter().enumerate() {
            // Relaxed: `&mut self` says that nobody else is here.
            let base = slot.load(Ordering::Relaxed);
            if !base.is_null() {
                // SAFETY: only `grow` stores here, and what it stores has this length; nobody else is here.
                unsafe { free(base, chunk) };
            }
        }
    }
}

#[cfg(all(test, not(loom), not(feature = "shuttle")))]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_and_in_order() {
        let mut next = (0, 0);
        for index in FIRST..FIRST * 63 {
            assert_eq!(place(index), next, "index {index}");
            next.1 += 1;
            if next.1 == FIRST << (next.0 + 1) {
                next = (next.0 + 1, 0);
            }
        }
    }

    #[test]
    fn the_first_entries_are_those_that_get_finds() {
        let arena = Arena::<u64>::new();
        arena.grow(FIRST * 3 - 1);
        arena.grow(FIRST * 7 - 1);
        let room = arena.len();
        for count in [0, 1, FIRST - 1, FIRST, FIRST + 1, FIRST * 3, FIRST * 4, room - 1, room, room + 1, FIRST << 10] {
            let taken: Vec<_> = arena.take(count).map(ptr::from_ref).collect();
            let each: Vec<_> = (0..count.min(room)).map(|index| ptr::from_ref(arena.get(index).unwrap())).collect();
            assert_eq!(taken, each, "count {count}");
        }
    }

    #[test]
    fn an_entry_stays_where_it_is() {
        let arena = Arena::<u64>::new();
        assert!(arena.get(FIRST).is_none());
        let entry = ptr::from_ref(arena.grow(1000));
        arena.grow(100_000);
        assert_eq!(entry, ptr::from_ref(arena.get(1000).unwrap()));
        assert!(arena.get(usize::MAX >> 8).is_none());
    }
}
