//! Faults planted on purpose, to show that the checkers of the protocol see what they claim to see.
//!
//! Each [`Fault`] breaks one step: what `pool`'s table says must not be swapped or left out, and more of its kind. With the feature
//! `planted`, the variable `POOLHOUSE_PLANTED` names the one that is in force; without the feature (in everything that is shipped)
//! [`planted`] is the constant `false`, and the compiler drops the mark and what it guards. `make planted` runs each of them and
//! fails when one is not caught.
//!
//! The comment of a fault ends with the checker that is tried first, and the test in it that should fail: with that a run of all
//! takes minutes. The others are tried when that one sees nothing.

use std::sync::atomic::Ordering;

macro_rules! faults {
    ($($(#[$about:meta])* $name:ident,)*) => {
        /// One broken step.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[$about])* $name,)*
        }

        #[cfg(feature = "planted")]
        const ALL: &[Fault] = &[$(Fault::$name),*];
    };
}

faults! {
    // Fences and orderings: only loom can see these.
    /// Settle has no fence between IDLE and its look at the gate. (loom: release_meets_enqueue)
    SettleUnfenced,
    /// A waiter has no fence between its WAIT and its own look. (loom: release_meets_enqueue)
    EnqueueUnfenced,
    /// A slot is put down with no release. (loom: group_end_meets_enqueue)
    PutRelaxed,
    /// A slot is taken with no acquire. (loom: arena_grows)
    TakeRelaxed,
    /// A verdict is read with no acquire. (loom: grant_meets_time_out)
    VerdictRelaxed,
    /// The place of a closed connection is given back with no release. (loom: discard_meets_place)
    PlaceRelaxed,

    // Rule R: supply looks at the gate.
    /// A return looks at the gate only before IDLE. (loom: release_meets_enqueue)
    ReleaseUnsettled,
    /// What was taken in hand to look at it is put back with no look at the gate. (loom: grant_meets_cancel_and_enqueue)
    PutBackUnsettled,
    /// Settle does not start anew after it put something back. (loom: shrink_meets_shrink)
    SettleOnce,
    /// `over` is asked before IDLE only. (proptest)
    OverBefore,
    /// Growth of the capacity tells nobody. (loom: grow_meets_enqueue)
    GrowSilent,
    /// Resume tells nobody. (loom: resume_meets_enqueue)
    ResumeSilent,
    /// A failed connect frees its place, and tells nobody. (proptest)
    FailedSilent,

    // Rule W: demand looks for itself.
    /// A waiter looks for something only before it has published its WAIT. (loom: release_meets_enqueue)
    EnqueueBlind,
    /// A waiter does not look at closed after its WAIT. (loom: close_meets_enqueue)
    EnqueueTrustsGate,
    /// A waiter re-arms and does not look for itself. (loom: rearm_meets_return)
    RearmBlind,
    /// The nudge is cleared after the scan. (loom: nudge_meets_poll)
    ScanThenClear,
    /// A waiter whose held-back time has ended stays held back. (loom: due_meets_free_place)
    HeldForEver,

    // Rule N: a nudge is a debt.
    /// A nudged waiter leaves and passes nothing on. (loom: grant_meets_cancel)
    LeaverKeepsNudge,
    /// A grant over a nudged word swallows the nudge. (loom: nudge_meets_grant)
    GrantSwallowsNudge,
    /// A nudged waiter that finds nothing for it passes nothing on. (loom: nudge_finds_nothing)
    FinderKeepsNudge,
    /// A waiter that is nudged while it takes something passes nothing on. (loom: nudge_meets_taker)
    TakerKeepsNudge,
    /// The end of a group swallows the nudges of its waiters. (loom: nudge_meets_group_end)
    EndSwallowsNudge,
    /// A connect by name swallows its waiter's nudge. (loom: nudge_meets_connect)
    CreatedSwallowsNudge,
    /// Baton counts what is claimable only before it counts the nudged. (loom: two_supplies_meet_nudge)
    BatonCountsBefore,

    // One compare-and-swap.
    /// A claim looks, then writes. (shuttle: strict)
    ClaimByStore,
    /// A place is compared with the capacity, then taken. (loom: place_meets_place)
    PlaceByStore,
    /// A verdict is written over whatever is there. (shuttle: nudges)
    GrantByStore,
    /// A grant that comes too late leaves the slot marked for the one who has left. (loom: yield_meets_group_end)
    GrantLeavesMark,
    /// A waiter leaves over whatever is there. (shuttle: nudges)
    LeaveByStore,
    /// A return writes IDLE over whatever is there. (loom: release_meets_its_double)
    ReleaseByStore,

    // What is in hand, and what words carry.
    /// The end of a loan keeps the generation. (proptest)
    SameGeneration,
    /// A loser of its own take drops what it claimed. (shuttle: strict)
    LoserDrops,
    /// A late grant is lost on cancel. (shuttle: nudges)
    CancelDropsGrant,
    /// A grant that is read after close is kept. (loom: close_meets_grant)
    LentAfterClose,
    /// Close forgets those who wait. (proptest)
    CloseForgetsWaiters,
    /// A connect decides only for a waiter that re-armed already. (loom: rearm_meets_create_and_retire)
    CreatedNeedsWait,
    /// A waiter's bit is cleared before its word. (loom: node_is_reused)
    BitFirst,
    /// A place is given back before its slot is FREE. (loom: discard_meets_place)
    SizeFirst,
    /// Shrink counts what stays and not what is there. (loom: shrink_meets_discard)
    ShrinkByStaying,
    /// The shrink bit is cleared with no second look. (loom: shrink_meets_end_of_shrink)
    ShrinkEndsOnce,
    /// Closing is counted before the connection is taken. (loom: shrink_meets_two_returns)
    ReserveFirst,
    /// What is laid down takes its mark of `alarm` after the look at its epoch. (loom: ping_meets_evict)
    AlarmAfterLook,
    /// The ending bit is cleared with no second look. (loom: last_of_a_group_meets_group_end)
    EndingLooksOnce,
    /// A borrower inside an acquire does not carry its group. (loom: group_end_meets_enqueue)
    BorrowerUncounted,
    /// A retired connection's new group is not counted. (proptest)
    RetireUncounted,
}

/// *ordering*, unless this is the broken step.
#[inline(always)]
pub(crate) fn ordered(fault: Fault, ordering: Ordering) -> Ordering {
    if planted(fault) {
        Ordering::Relaxed
    } else {
        ordering
    }
}

/// Whether this step is the broken one.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn planted(_: Fault) -> bool {
    false
}

/// Whether this step is the broken one.
#[cfg(feature = "planted")]
pub(crate) fn planted(fault: Fault) -> bool {
    use std::sync::atomic::AtomicUsize;
    // 0: not looked yet; 1: none; else 2 + the fault. No `OnceLock`, in which ThreadSanitizer would see a race.
    static CHOSEN: AtomicUsize = AtomicUsize::new(0);
    let mut chosen = CHOSEN.load(Ordering::Relaxed);
    if chosen == 0 {
        chosen = std::env::var("POOLHOUSE_PLANTED").map_or(1, |name| {
            let at = ALL.iter().position(|fault| format!("{fault:?}") == name);
            2 + at.expect("POOLHOUSE_PLANTED names a fault")
        });
        CHOSEN.store(chosen, Ordering::Relaxed);
    }
    chosen == 2 + fault as usize
}
