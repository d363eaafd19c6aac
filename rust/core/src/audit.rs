//! Whether all that the pool knows about itself agrees: for tests, and for whoever suspects a bug.

use crate::gate::{CLOSED, ENDING, SHRINK, SUSPENDED};
use crate::pool::Pool;
use crate::slot::{Hand, SlotWord, State, GROUPS};
use crate::waiter::{NodeWord, Verdict};

impl<S: Default, N: Default> Pool<S, N> {
    /// Check the invariants, at a moment when nobody is inside any call of this pool. Loans, permits, tickets and connections that
    /// the engine is closing may be out.
    ///
    /// # Errors
    /// The first thing that does not agree, in words.
    pub fn audit(&self) -> Result<(), String> {
        let slots: Vec<(Hand, SlotWord)> =
            self.slots_in_use().map(|(index, slot)| (Hand(index), slot.word())).collect();
        let nodes: Vec<NodeWord> = self.table.allocated().collect();
        self.audit_sizes(&slots)?;
        self.audit_waiters(&slots, &nodes)?;
        self.audit_groups(&slots, &nodes)
    }

    /// Waiters that the table has room for: it follows the most that ever waited at the same time (I9).
    pub fn room_for_waiters(&self) -> usize {
        self.table.room()
    }

    fn audit_sizes(&self, slots: &[(Hand, SlotWord)]) -> Result<(), String> {
        let count = |state| slots.iter().filter(|(_, word)| word.is(state)).count() as u32;
        let taken = slots.len() as u32 - count(State::Free);
        let places = self.capacity.read();
        ensure(places.size() == taken, || format!("size is {}, but {taken} slots are taken", places.size()))?;
        let closing = count(State::Closing);
        ensure(places.closing() == closing, || format!("closing is {}, but {closing} are", places.closing()))?;
        let signs = self.gate.read();
        ensure((places.size() > places.capacity()) == signs.has(SHRINK), || {
            format!("shrink bit {} with {places:?}", signs.has(SHRINK))
        })?;
        for (hand, word) in slots {
            let conn = self.conn_group(hand);
            let fits = match (word.is(State::Free), word.is(State::Connecting)) {
                (true, _) => conn.is_none(),
                (_, true) => true,
                _ => conn == Some(word.group()),
            };
            ensure(fits, || format!("slot {} has a connection of {conn:?}, group {}", hand.0, word.group()))?;
        }
        let idle = count(State::Idle);
        ensure(idle == 0 || !signs.has(CLOSED), || format!("{idle} idle in a closed pool"))?;
        ensure(idle < taken || !self.over(), || format!("{idle} idle, all beyond the pool's size"))?;
        let stays = idle == 0 || places.staying() <= places.capacity();
        ensure(stays, || format!("{idle} idle beyond the capacity: {places:?}"))
    }

    fn audit_waiters(&self, slots: &[(Hand, SlotWord)], nodes: &[NodeWord]) -> Result<(), String> {
        let signs = self.gate.read();
        let counted = signs.waiters();
        ensure(counted == nodes.len(), || format!("the gate counts {counted} waiters, the table {}", nodes.len()))?;
        let mut promised = Vec::new();
        for word in nodes {
            let state = match word.kind() {
                Verdict::Granted => State::Lent,
                Verdict::Create => State::Connecting,
                Verdict::Free => return Err("a node is allocated, but free".into()),
                _ => continue,
            };
            let slot = word.ticket() as u32;
            let there = slots.iter().any(|(hand, word)| hand.0 == slot && word.is(state));
            ensure(there, || format!("slot {slot} was granted, but is not {state:?}"))?;
            ensure(!promised.contains(&slot), || format!("slot {slot} was granted twice"))?;
            promised.push(slot);
        }
        let mut waiting = nodes.iter().filter(|word| word.waits());
        if signs.has(CLOSED) {
            return ensure(waiting.next().is_none(), || "somebody waits in a closed pool".into());
        }
        if signs.has(SUSPENDED) || nodes.iter().any(|word| word.nudged()) {
            return Ok(());
        }
        let some = self.supply().total() > 0;
        ensure(!waiting.any(|word| some && self.claimable_for(*word)), || {
            "somebody sleeps beside something claimable".into()
        })
    }

    fn audit_groups(&self, slots: &[(Hand, SlotWord)], nodes: &[NodeWord]) -> Result<(), String> {
        let mut ending = 0;
        let mut unknown = nodes.iter().filter(|word| !word.waits()).count();
        for group in 0..GROUPS as u32 {
            let Some((live, carried)) = self.groups.state(group) else {
                break;
            };
            let connections = slots.iter().filter(|(hand, _)| self.conn_group(hand) == Some(group)).count();
            let permits = slots.iter().filter(|(_, word)| word.is(State::Connecting) && word.group() == group).count();
            let waiters = nodes.iter().filter(|word| word.waits() && word.group() == group).count();
            let known = usize::from(live) + connections + permits + waiters;
            // A verdict does not say whose it is.
            let rest = (carried as usize).checked_sub(known);
            let rest = rest.ok_or_else(|| format!("group {group} counts {carried}, but {known} carry it"))?;
            ensure(rest <= unknown, || format!("group {group} counts {carried}, but only {known} carry it"))?;
            unknown -= rest;
            ending += u32::from(!live && carried > 0);
            let idle = slots.iter().any(|(_, word)| word.is_idle_of(group));
            ensure(live || !idle, || format!("a connection of group {group}, which has ended, is idle"))?;
        }
        ensure(unknown == 0, || format!("{unknown} waiters carry no group"))?;
        let bit = self.gate.read().has(ENDING);
        ensure(bit == (ending > 0), || format!("ending bit {bit} with {ending} groups that end"))
    }
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(otherwise())
    }
}
