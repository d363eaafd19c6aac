//! Every operation in every order, against a plain sequential model: who has what, who waits, and what must follow from that.
//!
//! The model knows nothing of slots and words. It keeps the loans, permits, waiters and closes that are out, predicts what each step must
//! do (whether an acquire is served at once, who is served by a return), and the pool audits itself after each step.
#![cfg(not(any(loom, feature = "shuttle")))]
#![allow(missing_docs, reason = "a test")]

mod support;

use poolhouse_core::{Acquired, Group, Hand, Host, Loan, Polled, Settings, Ticket, Vet, Wish};
use proptest::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;
use support::Core;

/// One step. The numbers choose among what is out, modulo how much that is.
#[derive(Clone, Debug)]
enum Step {
    Acquire { group: usize, wait: bool, create: bool },
    Enlist { group: usize },
    Release(usize),
    ReleaseStale(usize),
    Discard(usize),
    Detach(usize),
    Replace(usize),
    Created(usize),
    CreateFailed(usize),
    GiveUp(usize),
    Closed(usize),
    Poll { who: usize, due: bool },
    Leave(usize),
    Cancel(usize),
    Resize { pool_size: u32, max_overflow: u32 },
    Suspend,
    Resume,
    Evict,
    Reap { least: u32 },
    EndGroup(usize),
    Wait(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0usize..8;
    prop_oneof![
        12 => (0usize..3, any::<bool>(), prop::bool::weighted(0.9))
            .prop_map(|(group, wait, create)| Step::Acquire { group, wait, create }),
        2 => (0usize..3).prop_map(|group| Step::Enlist { group }),
        8 => which.clone().prop_map(Step::Release),
        1 => which.clone().prop_map(Step::ReleaseStale),
        2 => which.clone().prop_map(Step::Discard),
        1 => which.clone().prop_map(Step::Detach),
        1 => which.clone().prop_map(Step::Replace),
        8 => which.clone().prop_map(Step::Created),
        2 => which.clone().prop_map(Step::CreateFailed),
        1 => which.clone().prop_map(Step::GiveUp),
        5 => which.clone().prop_map(Step::Closed),
        5 => (which.clone(), any::<bool>()).prop_map(|(who, due)| Step::Poll { who, due }),
        2 => which.clone().prop_map(Step::Leave),
        2 => which.prop_map(Step::Cancel),
        1 => (0u32..4, 0u32..3).prop_map(|(pool_size, max_overflow)| Step::Resize { pool_size, max_overflow }),
        1 => Just(Step::Suspend),
        2 => Just(Step::Resume),
        1 => Just(Step::Evict),
        1 => (0u32..3).prop_map(|least| Step::Reap { least }),
        1 => (1usize..3).prop_map(Step::EndGroup),
        4 => (1u64..60).prop_map(Step::Wait),
        1 => Just(Step::Close),
    ]
}

fn plan() -> impl Strategy<Value = Settings> {
    // Every pair but (0, 0), which is no capacity. Not by a filter: a run of a million cases would reject more than proptest allows.
    let sizes = (1u32..12).prop_map(|pair| (pair / 3, pair % 3));
    let bounds = prop_oneof![Just(0), Just(25), Just(u64::MAX)];
    let bounds = (bounds, prop_oneof![Just(0u64), Just(30)]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let times = (prop::option::of(50u64..200), prop::option::of(10u64..50), prop::option::of(50u64..100));
    (sizes, bounds, flags, times, prop::option::of(1u32..4)).prop_map(
        |(
            (pool_size, max_overflow),
            (fair_after, brief),
            (lifo, linger, hold_back),
            (lifetime, check, idle),
            max_waiting,
        )| {
            Settings {
                pool_size,
                max_overflow,
                fair_after,
                brief,
                lifo,
                linger,
                hold_back,
                lifetime,
                check_bypass: check,
                max_idle: idle,
                max_waiting,
                ..Settings::default()
            }
        },
    )
}

#[derive(Default)]
struct Outbox {
    wakes: RefCell<Vec<(u32, u64)>>,
    closing: RefCell<Vec<Hand>>,
}

impl Host for Outbox {
    fn wake(&self, node: u32, ticket: u64) {
        self.wakes.borrow_mut().push((node, ticket));
    }

    fn close(&self, hand: Hand) {
        self.closing.borrow_mut().push(hand);
    }
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    /// A connect is under way for it: the slot.
    creating: bool,
}

struct Permit {
    hand: Hand,
    ticket: Option<Ticket>,
    epoch: u64,
}

/// What is out, as an engine would know it.
struct Model {
    pool: Arc<Core>,
    host: Outbox,
    now: u64,
    groups: [Option<Group>; 3],
    loans: Vec<Loan>,
    stale: Vec<Loan>,
    permits: Vec<Permit>,
    waiters: Vec<Waiter>,
    open: i64,
    closed: bool,
    suspended: bool,
}

impl Model {
    fn new(settings: Settings) -> Self {
        let pool = support::pool(settings);
        let groups = [Some(0), pool.open_group(), pool.open_group()];
        Model {
            pool,
            host: Outbox::default(),
            now: 0,
            groups,
            loans: vec![],
            stale: vec![],
            permits: vec![],
            waiters: vec![],
            open: 0,
            closed: false,
            suspended: false,
        }
    }

    fn wish(&self, group: Group, wait: bool, create: bool) -> Wish {
        Wish { group, lane: 0, now: self.now, wait, create }
    }

    fn lent(&mut self, loan: Loan, vet: Vet) {
        assert!(!self.loans.contains(&loan) && !self.stale.contains(&loan), "{loan:?} was lent before");
        assert!(self.loans.iter().all(|other| other.slot != loan.slot), "slot {} was lent twice", loan.slot);
        if vet == Vet::Expired {
            self.stale.push(loan);
            let hand = self.pool.replace(loan, true).unwrap();
            return self.permit(hand, None);
        }
        self.loans.push(loan);
    }

    fn permit(&mut self, hand: Hand, ticket: Option<Ticket>) {
        if self.pool.stale_group(&hand).is_some() {
            self.pool.stale_closed(&self.host, &hand);
            self.open -= 1;
        }
        self.permits.push(Permit { hand, ticket, epoch: self.pool.connect_epoch() });
    }

    fn acquire(&mut self, group: Group, wait: bool, create: bool) {
        let before = self.pool.stats();
        let idle = before.idle > 0;
        match self.pool.acquire(&self.host, self.wish(group, wait, create)) {
            Acquired::Lent(loan, vet) => {
                assert!(idle && !self.closed && !self.suspended, "lent from {before:?}");
                assert_eq!(loan.group, group, "lent to another group");
                self.lent(loan, vet);
            }
            Acquired::Create(hand) => {
                assert!(create && !self.closed && !self.suspended, "a permit, with {before:?}");
                self.permit(hand, None);
            }
            Acquired::Wait(ticket, due) => {
                assert!(wait && !self.closed);
                assert!(due.is_none_or(|due| due > self.now && create));
                self.waiters.push(Waiter { ticket, creating: false });
            }
            Acquired::Nothing => assert!(!wait && !self.closed),
            Acquired::TooMany => {
                let most = self.pool.settings().max_waiting.expect("a limit") as usize;
                assert!(wait && self.waiters.len() >= most, "refused with {} of {most}", self.waiters.len());
            }
            Acquired::Closed => assert!(self.closed, "closed to group {group}"),
        }
    }

    fn polled(&mut self, waiter: Waiter, polled: Polled) {
        match polled {
            Polled::Asleep => self.waiters.push(waiter),
            Polled::Lent(loan, vet) => {
                assert!(!self.closed, "lent after close");
                assert_eq!(loan.group, waiter.ticket.group, "lent to another group");
                self.lent(loan, vet);
            }
            Polled::Create(hand) => {
                assert!(!waiter.creating, "a second create for one waiter");
                self.permit(hand, Some(waiter.ticket));
                let wish = self.wish(waiter.ticket.group, true, true);
                let polled = self.pool.rearm(&self.host, waiter.ticket, wish);
                self.polled(Waiter { creating: true, ..waiter }, polled);
            }
            Polled::Failed => assert!(waiter.creating, "failed, with no create under way"),
            Polled::Closed => {
                let ended = !self.groups.contains(&Some(waiter.ticket.group));
                assert!(self.closed || ended, "closed to {waiter:?}");
            }
        }
    }

    /// Deliver every wake-up, until there is none.
    fn deliver(&mut self) {
        loop {
            let wakes = self.host.wakes.take();
            let key = |waiter: &Waiter| (waiter.ticket.node, waiter.ticket.number);
            let Some(at) = self.waiters.iter().position(|waiter| wakes.contains(&key(waiter))) else {
                return;
            };
            let waiter = self.waiters.swap_remove(at);
            *self.host.wakes.borrow_mut() = wakes.into_iter().filter(|wake| *wake != key(&waiter)).collect();
            let polled = self.pool.poll(&self.host, waiter.ticket, 0, self.now, false);
            self.polled(waiter, polled);
        }
    }

    fn close_one(&mut self, which: usize) {
        let hand = {
            let mut closing = self.host.closing.borrow_mut();
            if closing.is_empty() {
                return;
            }
            let at = which % closing.len();
            closing.swap_remove(at)
        };
        self.pool.closed(&self.host, hand, self.now);
        self.open -= 1;
    }

    fn take_loan(&mut self, which: usize) -> Option<Loan> {
        let count = self.loans.len();
        (count > 0).then(|| {
            let loan = self.loans.swap_remove(which % count);
            self.stale.push(loan);
            loan
        })
    }

    fn take_permit(&mut self, which: usize) -> Option<Permit> {
        let count = self.permits.len();
        (count > 0).then(|| self.permits.swap_remove(which % count))
    }

    fn take_waiter(&mut self, which: usize) -> Option<Waiter> {
        let count = self.waiters.len();
        (count > 0).then(|| self.waiters.swap_remove(which % count))
    }

    fn step(&mut self, step: &Step) {
        let pool = self.pool.clone();
        match *step {
            Step::Acquire { group, wait, create } => {
                if let Some(group) = self.groups[group] {
                    self.acquire(group, wait, create);
                }
            }
            Step::Enlist { group } => {
                let Some(group) = self.groups[group] else { return };
                let hand = match pool.acquire(&self.host, self.wish(group, false, true)) {
                    Acquired::Create(hand) => hand,
                    Acquired::Lent(loan, vet) => return self.lent(loan, vet),
                    _ => return,
                };
                let enlisted = pool.enlist(&self.host, self.wish(group, true, true));
                let (ticket, polled) = enlisted.expect("open");
                self.permit(hand, Some(ticket));
                self.polled(Waiter { ticket, creating: true }, polled);
            }
            Step::Release(which) => {
                if let Some(loan) = self.take_loan(which) {
                    pool.release(&self.host, loan, 0, self.now).unwrap();
                }
            }
            Step::ReleaseStale(which) => {
                if let Some(loan) = self.stale.get(which % self.stale.len().max(1)).copied() {
                    let before = pool.stats();
                    assert!(!pool.is_current(loan));
                    pool.release(&self.host, loan, 0, self.now).unwrap_err();
                    pool.discard(&self.host, loan, self.now).unwrap_err();
                    pool.detach(&self.host, loan, self.now).unwrap_err();
                    pool.replace(loan, true).unwrap_err();
                    assert_eq!(pool.stats(), before, "a stale end changed something");
                }
            }
            Step::Discard(which) => {
                if let Some(loan) = self.take_loan(which) {
                    pool.discard(&self.host, loan, self.now).unwrap();
                }
            }
            Step::Detach(which) => {
                if let Some(loan) = self.take_loan(which) {
                    pool.detach(&self.host, loan, self.now).unwrap();
                    self.open -= 1;
                }
            }
            Step::Replace(which) => {
                if let Some(loan) = self.take_loan(which) {
                    let hand = pool.replace(loan, false).unwrap();
                    self.permit(hand, None);
                }
            }
            Step::Created(which) => {
                if let Some(permit) = self.take_permit(which) {
                    self.open += 1;
                    pool.created(&self.host, permit.hand, permit.ticket, permit.epoch, 20, self.now);
                }
            }
            Step::CreateFailed(which) => {
                if let Some(permit) = self.take_permit(which) {
                    pool.create_failed(&self.host, permit.hand, permit.ticket, self.now);
                }
            }
            Step::GiveUp(which) => {
                // Only where nobody counts on it.
                let free = |permit: &Permit| !self.waiters.iter().any(|waiter| Some(waiter.ticket) == permit.ticket);
                if let Some(at) = self.permits.iter().position(|permit| free(permit) && which < 8) {
                    let permit = self.permits.swap_remove(at);
                    pool.give_up(&self.host, permit.hand, self.now);
                }
            }
            Step::Closed(which) => self.close_one(which),
            Step::Poll { who, due } => {
                if let Some(waiter) = self.take_waiter(who) {
                    let polled = pool.poll(&self.host, waiter.ticket, 0, self.now, due);
                    self.polled(waiter, polled);
                }
            }
            Step::Leave(who) => {
                if let Some(waiter) = self.take_waiter(who) {
                    match pool.leave(&self.host, waiter.ticket, self.now) {
                        Polled::Asleep => {}
                        Polled::Create(_) => panic!("a leaver gets no permit"),
                        polled => self.polled(waiter, polled),
                    }
                }
            }
            Step::Cancel(who) => {
                if let Some(waiter) = self.take_waiter(who) {
                    assert!(pool.cancel(&self.host, waiter.ticket, self.now));
                    assert!(!pool.cancel(&self.host, waiter.ticket, self.now), "cancelled twice");
                }
            }
            Step::Resize { pool_size, max_overflow } => {
                if pool_size + max_overflow > 0 {
                    pool.resize(&self.host, pool_size, max_overflow);
                    let stats = pool.stats();
                    assert_eq!((stats.pool_size, stats.capacity), (pool_size, pool_size + max_overflow));
                }
            }
            Step::Suspend => {
                pool.suspend();
                self.suspended = true;
            }
            Step::Resume => {
                pool.resume(&self.host);
                self.suspended = false;
            }
            Step::Evict => {
                pool.evict(&self.host);
                assert_eq!(pool.stats().idle, 0, "idle after evict");
            }
            Step::Reap { least } => pool.reap(&self.host, self.now, least, Some(30)),
            Step::EndGroup(which) => {
                if let Some(group) = self.groups[which].take() {
                    pool.end_group(&self.host, group);
                    self.groups[which] = pool.open_group();
                    assert_ne!(self.groups[which], None);
                }
            }
            Step::Wait(time) => self.now += time,
            Step::Close => {
                assert_eq!(pool.close(&self.host), !self.closed);
                self.closed = true;
            }
        }
    }

    fn check(&self) {
        self.pool.audit().unwrap();
        let stats = self.pool.stats();
        let closing = self.host.closing.borrow().len();
        assert_eq!(stats.lent as usize, self.loans.len(), "{stats:?}");
        assert_eq!(stats.connecting as usize, self.permits.len(), "{stats:?}");
        assert_eq!(stats.closing as usize, closing, "{stats:?}");
        assert_eq!(stats.waiting as usize, self.waiters.len(), "{stats:?}");
        assert_eq!(i64::from(stats.lent + stats.idle + stats.closing), self.open, "{stats:?}");
        assert!(self.loans.iter().all(|loan| self.pool.is_current(*loan)));
        let over = self.pool.settings().linger || stats.lent + stats.connecting + stats.closing > 0;
        assert!(over || stats.idle <= stats.pool_size, "at rest beyond the pool's size: {stats:?}");
    }

    /// Everything comes back, and everybody is served or goes.
    fn finish(&mut self) {
        self.step(&Step::Resume);
        self.deliver();
        for round in 0.. {
            assert!(round < 1_000, "{} wait for ever", self.waiters.len());
            let held: Vec<Waiter> = std::mem::take(&mut self.waiters);
            for waiter in held {
                let polled = self.pool.poll(&self.host, waiter.ticket, 0, self.now, true);
                self.polled(waiter, polled);
            }
            self.step(&Step::Created(0));
            self.step(&Step::Closed(0));
            self.step(&Step::Release(0));
            self.deliver();
            self.check();
            let out = self.loans.len() + self.permits.len() + self.host.closing.borrow().len();
            if out == 0 && self.waiters.iter().all(|_| false) {
                break;
            }
            if out == 0 {
                // Only those who may not create are left, and nothing is open for them.
                self.step(&Step::Cancel(0));
            }
        }
    }
}

/// `POOLHOUSE_CASES` is the number of runs, of 60 steps on average; `PROPTEST_MAX_SHRINK_ITERS` bounds the search for a smaller
/// failure.
fn config() -> ProptestConfig {
    let number = |name, otherwise| {
        let said = std::env::var(name);
        said.map_or(otherwise, |said| said.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    ProptestConfig {
        cases: number("POOLHOUSE_CASES", 60_000),
        max_shrink_iters: number("PROPTEST_MAX_SHRINK_ITERS", 20_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_pool_follows_the_model(settings in plan(), steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new(settings);
        for step in &steps {
            model.step(step);
            model.deliver();
            model.check();
        }
        model.finish();
    }
}
