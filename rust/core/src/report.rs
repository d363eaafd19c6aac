//! What the engine reports: a connect that worked or failed, a connection that is shut down.

use crate::gate::{CLOSED, SUSPENDED};
use crate::planted::{planted, Fault};
use crate::pool::{Host, Pool};
use crate::settle::Unwanted;
use crate::slot::{Group, Hand, Loan, SlotWord, State};
use crate::sync::LOAD;
use crate::waiter::{NodeWord, Ticket, Verdict};
use crate::Vet;

impl<S: Default, N: Default> Pool<S, N> {
    /// The epoch of a connect that begins now, for [`Pool::created`]: one that evict overtakes is not lent twice.
    pub fn connect_epoch(&self) -> u64 {
        self.epoch.load(LOAD)
    }

    /// A permit ahead of need: a free place of the capacity, and nothing else. `None` where there is none, or nothing may be lent.
    pub fn grow(&self, group: Group) -> Option<Hand> {
        let signs = self.gate.read();
        if signs.has(CLOSED | SUSPENDED) || self.groups.ended(group) || !self.capacity.take() {
            return None;
        }
        Some(self.take_free_slot(group))
    }

    /// The group a permit is for.
    pub fn permit_group(&self, hand: &Hand) -> Group {
        self.slot(hand.0).word().group()
    }

    /// The group of the connection that must be closed before this permit's connect; `None`: nothing is in the way.
    pub fn stale_group(&self, hand: &Hand) -> Option<Group> {
        self.conn_group(hand)
    }

    /// The connection in the way of a permit is shut down.
    pub fn stale_closed(&self, host: &impl Host, hand: &Hand) {
        if let Some(group) = self.conn_group(hand) {
            self.forget_connection(host, hand, group);
        }
    }

    /// A connect worked. The connection goes to the waiter it was made for (*ticket*), if that one still waits; else to the oldest, or
    /// to the idle set. *took*: how long the connect lasted (ns).
    pub fn created(&self, host: &impl Host, hand: Hand, ticket: Option<Ticket>, epoch: u64, took: u64, now: u64) {
        self.open(&hand, epoch, took, now);
        if let Some(ticket) = ticket {
            // Its word is of this ticket as long as it waits, so this cannot hit another waiter.
            let node = self.table.node(ticket.node);
            loop {
                let word = node.word();
                if !word.awaits_connect(ticket.number) || self.closed_to(ticket.group) {
                    break;
                }
                if node.cas(word, NodeWord::verdict(Verdict::Granted, hand.0)) {
                    host.wake(ticket.node, ticket.number);
                    if word.waits() && word.nudged() && !planted(Fault::CreatedSwallowsNudge) {
                        self.baton(host);
                    }
                    return;
                }
            }
        }
        self.hand_over(host, hand, now, false);
    }

    /// A connect worked, and its borrower is the one who reports it.
    pub fn created_mine(&self, host: &impl Host, hand: Hand, epoch: u64, took: u64, now: u64) -> Option<(Loan, Vet)> {
        self.open(&hand, epoch, took, now);
        let slot = self.slot(hand.0);
        let word = slot.word();
        if self.closed_to(word.group()) {
            self.hand_over(host, hand, now, false);
            return None;
        }
        slot.since.set(now);
        Some((Loan { slot: hand.0, group: word.group(), generation: word.generation() }, Vet::Fresh))
    }

    /// A connect failed, or was given up. The waiter it was made for is told, and the permit goes to the next one.
    pub fn create_failed(&self, host: &impl Host, hand: Hand, ticket: Option<Ticket>, now: u64) {
        self.counters.connect_failures.add(1);
        if let Some(ticket) = ticket {
            let node = self.table.node(ticket.node);
            loop {
                let word = node.word();
                if !word.awaits_connect(ticket.number) {
                    break;
                }
                if node.cas(word, NodeWord::verdict(Verdict::Failed, 0)) {
                    host.wake(ticket.node, ticket.number);
                    if word.waits() && word.nudged() {
                        self.baton(host);
                    }
                    break;
                }
            }
        }
        if planted(Fault::FailedSilent) {
            return self.put_back(host, hand);
        }
        self.hand_over(host, hand, now, false);
    }

    /// A permit is not used: no connect was tried.
    pub fn give_up(&self, host: &impl Host, hand: Hand, now: u64) {
        self.hand_over(host, hand, now, false);
    }

    /// A permit is not used, and the connection in its way has not been closed: [`Host::close`] is called for that one, and the place is
    /// taken until it is `closed` (I1).
    pub fn close_stale(&self, host: &impl Host, hand: Hand) {
        self.shut(host, hand, Unwanted::Uncounted);
    }

    /// The engine has shut a connection down that [`Host::close`] was called for.
    pub fn closed(&self, host: &impl Host, hand: Hand, now: u64) {
        if let Some(group) = self.conn_group(&hand) {
            self.forget_connection(host, &hand, group);
        }
        self.hand_over(host, hand, now, true);
    }

    /// Write down the new connection of a permit. The permit's count of its group becomes the connection's.
    fn open(&self, hand: &Hand, epoch: u64, took: u64, now: u64) {
        let slot = self.slot(hand.0);
        let word = slot.word();
        let group = word.group();
        let expires = self.expiry(now, self.counters.connects.draw());
        slot.conn.set(u64::from(group) + 1);
        slot.epoch.set(epoch);
        slot.created.set(now);
        slot.expires.set(expires);
        // In this order: an evict during the connect is seen here, one that comes later by the next borrower.
        slot.alarm.set(self.alarm.load(LOAD));
        let evicted = epoch != self.epoch.load(LOAD);
        slot.fresh_until.set(if evicted { 0 } else { self.fresh_until(expires, now) });
        slot.last_used.set(now);
        // Who is granted it may come for it a while later; until then it is out since now.
        slot.since.set(now);
        slot.uses.set(0);
        slot.lasted.forget();
        // Where the order of return counts, a new connection stands at its end.
        let generation = if self.settings.lifo { word.generation() } else { self.next_generation(word) };
        slot.put(SlotWord::new(State::Lent, group, generation));
        let mean = self.connect_time.get();
        self.connect_time.set(if mean == 0 { took.max(1) } else { (mean - mean / 4 + took / 4).max(1) });
        self.connects_took.note(took.max(1));
    }

    fn forget_connection(&self, host: &impl Host, hand: &Hand, group: Group) {
        let slot = self.slot(hand.0);
        slot.conn.set(0);
        self.counters.closes.add(1);
        self.counters.past_uses.add(slot.uses.get());
        slot.uses.set(0);
        self.release_group(host, group);
    }

    /// Whether borrowers of *group* are lent nothing any more.
    pub(crate) fn closed_to(&self, group: Group) -> bool {
        self.gate.read().has(CLOSED) || self.groups.ended(group)
    }
}
