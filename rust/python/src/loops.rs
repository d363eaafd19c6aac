//! Event loops seen lately, whose owner group is found without asking Python.

use poolhouse_core::Group;
use std::sync::atomic::{AtomicU64, Ordering};

const ENTRIES: usize = 8;
/// A group takes this many bits of an entry.
const GROUP_BITS: u32 = 13;
const GROUP: u64 = (1 << GROUP_BITS) - 1;

/// A loop has one entry that it may be in, by its address: `address / 16 << 13 | group`.
#[derive(Default)]
pub(crate) struct Loops([AtomicU64; ENTRIES]);

impl Loops {
    /// The group of the loop at this address.
    #[inline(always)]
    pub(crate) fn group(&self, address: u64) -> Option<Group> {
        let known = self.entry(address).load(Ordering::Relaxed);
        (known >> GROUP_BITS == address >> 4).then_some((known & GROUP) as Group)
    }

    pub(crate) fn note(&self, address: u64, group: Group) {
        self.entry(address).store(address >> 4 << GROUP_BITS | u64::from(group), Ordering::Relaxed);
    }

    /// The loop of this group has ended: its address may be another's.
    pub(crate) fn forget(&self, group: Group) {
        for entry in &self.0 {
            if (entry.load(Ordering::Relaxed) & GROUP) as Group == group {
                entry.store(0, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn forget_all(&self) {
        for entry in &self.0 {
            entry.store(0, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn entry(&self, address: u64) -> &AtomicU64 {
        &self.0[(address >> 4) as usize % ENTRIES]
    }
}
