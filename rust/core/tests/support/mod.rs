//! One actor's engine, for tests that never block: it does at once what the core asks for, keeps what cannot be decided yet, and
//! checks at each loan that nobody else has the connection (I2).
#![allow(dead_code, missing_docs, reason = "each test uses its part")]

use poolhouse_core::{Acquired, Group, Hand, Host, Loan, Polled, Pool, Settings, Ticket, Wish};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// What the tests keep for each slot: whether somebody has the connection, and the connection, which only the pool keeps two
/// threads from using at the same time. Loom and ThreadSanitizer watch the latter.
#[derive(Default)]
pub struct Seat {
    taken: AtomicU64,
    connection: Connection,
}

impl Seat {
    pub fn take(&self) {
        // Relaxed: it must order nothing, or it would hide what the pool fails to order.
        assert_eq!(self.taken.swap(1, Ordering::Relaxed), 0, "a connection was lent twice");
        self.connection.used();
    }

    pub fn leave(&self) {
        self.connection.used();
        assert_eq!(self.taken.swap(0, Ordering::Relaxed), 1, "a connection was given back twice");
    }
}

/// Plain memory, as a driver's object is.
#[derive(Default)]
struct Connection {
    #[cfg(loom)]
    uses: loom::cell::UnsafeCell<u64>,
    #[cfg(not(loom))]
    uses: std::cell::UnsafeCell<u64>,
}

// SAFETY: none but the checked claim that the pool lends it to one borrower at a time.
unsafe impl Sync for Connection {}

impl Connection {
    fn used(&self) {
        // SAFETY: as above; a checker says where it does not hold.
        #[cfg(loom)]
        self.uses.with_mut(|uses| unsafe { *uses += 1 });
        // SAFETY: as above.
        #[cfg(not(loom))]
        unsafe {
            *self.uses.get() += 1;
        }
    }
}

pub type Core = Pool<Seat, ()>;

/// A pool with this many kept and overflow connections, where nobody is too young and nothing held back.
pub fn settings(pool_size: u32, max_overflow: u32) -> Settings {
    Settings { pool_size, max_overflow, fair_after: 0, hold_back: false, ..Settings::default() }
}

pub fn pool(settings: Settings) -> Arc<Core> {
    Arc::new(Core::new(settings))
}

/// Somebody who waits: polls when woken, and at the due time.
#[derive(Debug)]
pub struct Sleeper {
    pub ticket: Ticket,
    pub due: Option<u64>,
    pub creating: bool,
}

/// How a wish ended.
#[derive(Debug)]
pub enum End {
    Lent(Loan),
    Sleeps(Sleeper),
    /// Closed, failed, refused, or nothing at once.
    Nothing,
}

impl End {
    pub fn lent(self) -> Loan {
        match self {
            End::Lent(loan) => loan,
            other => panic!("not lent: {other:?}"),
        }
    }

    pub fn sleeps(self) -> Sleeper {
        match self {
            End::Sleeps(sleeper) => sleeper,
            other => panic!("does not sleep: {other:?}"),
        }
    }
}

/// One actor.
pub struct Engine {
    pub pool: Arc<Core>,
    pub group: Group,
    pub lane: usize,
    pub now: Cell<u64>,
    /// Connects fail.
    pub broken: Cell<bool>,
    /// Wake-ups that the core asked this actor for; sticky, and keyed by the wait.
    pub wakes: RefCell<Vec<(u32, u64)>>,
    closing: RefCell<Vec<Hand>>,
}

impl Host for Engine {
    fn wake(&self, node: u32, ticket: u64) {
        self.wakes.borrow_mut().push((node, ticket));
    }

    fn close(&self, hand: Hand) {
        self.closing.borrow_mut().push(hand);
    }
}

impl Engine {
    pub fn new(pool: &Arc<Core>, group: Group) -> Self {
        Engine {
            pool: pool.clone(),
            group,
            lane: group as usize,
            now: Cell::new(0),
            broken: Cell::new(false),
            wakes: RefCell::default(),
            closing: RefCell::default(),
        }
    }

    pub fn wish(&self) -> Wish {
        Wish { group: self.group, lane: self.lane, now: self.now.get(), wait: true, create: true }
    }

    /// Shut down what the core gave up.
    pub fn close_all(&self) {
        loop {
            let Some(hand) = self.closing.borrow_mut().pop() else {
                return;
            };
            self.pool.closed(self, hand, self.now.get());
        }
    }

    fn seated(&self, loan: Loan) -> End {
        self.pool.data(loan.slot).take();
        End::Lent(loan)
    }

    /// Borrow, and connect by myself where that is what it takes.
    pub fn acquire(&self) -> End {
        if let Some((loan, _)) = self.pool.try_acquire(self.group, self.lane, self.now.get()) {
            return self.seated(loan);
        }
        let end = match self.pool.acquire(self, self.wish()) {
            Acquired::Lent(loan, _) => self.seated(loan),
            Acquired::Create(hand) => self.connect(hand),
            Acquired::Wait(ticket, due) => End::Sleeps(Sleeper { ticket, due, creating: false }),
            Acquired::Nothing | Acquired::TooMany | Acquired::Closed => End::Nothing,
        };
        self.close_all();
        end
    }

    /// A permit that is not used yet.
    pub fn permit(&self) -> Hand {
        match self.pool.acquire(self, Wish { wait: false, ..self.wish() }) {
            Acquired::Create(hand) => hand,
            other => panic!("no permit: {other:?}"),
        }
    }

    fn connect(&self, hand: Hand) -> End {
        self.pool.stale_closed(self, &hand);
        if self.broken.get() {
            self.pool.create_failed(self, hand, None, self.now.get());
            return End::Nothing;
        }
        let epoch = self.pool.connect_epoch();
        match self.pool.created_mine(self, hand, epoch, 1, self.now.get()) {
            Some((loan, _)) => self.seated(loan),
            None => End::Nothing,
        }
    }

    /// Connect for a waiter.
    pub fn connect_for(&self, hand: Hand, ticket: Option<Ticket>) {
        self.pool.stale_closed(self, &hand);
        if self.broken.get() {
            self.pool.create_failed(self, hand, ticket, self.now.get());
        } else {
            self.pool.created(self, hand, ticket, self.pool.connect_epoch(), 1, self.now.get());
        }
        self.close_all();
    }

    fn polled(&self, sleeper: Sleeper, polled: Polled) -> End {
        let end = match polled {
            Polled::Asleep => End::Sleeps(sleeper),
            Polled::Lent(loan, _) => self.seated(loan),
            Polled::Create(hand) => {
                self.pool.resign(self, sleeper.ticket);
                self.connect(hand)
            }
            Polled::Failed | Polled::Closed => End::Nothing,
        };
        self.close_all();
        end
    }

    pub fn poll(&self, sleeper: Sleeper, due: bool) -> End {
        let polled = self.pool.poll(self, sleeper.ticket, self.lane, self.now.get(), due);
        let due = if due { None } else { sleeper.due };
        self.polled(Sleeper { due, ..sleeper }, polled)
    }

    /// Wait for a connect of my own that somebody else makes.
    pub fn enlist(&self) -> End {
        let end = match self.pool.enlist(self, self.wish()) {
            Some((ticket, polled)) => self.polled(Sleeper { ticket, due: None, creating: true }, polled),
            None => End::Nothing,
        };
        self.close_all();
        end
    }

    pub fn rearm(&self, ticket: Ticket) -> End {
        let polled = self.pool.rearm(self, ticket, self.wish());
        self.polled(Sleeper { ticket, due: None, creating: true }, polled)
    }

    /// Give up at the end of the time; a late grant is kept.
    pub fn leave(&self, sleeper: Sleeper) -> End {
        let end = match self.pool.leave(self, sleeper.ticket, self.now.get()) {
            Polled::Lent(loan, _) => self.seated(loan),
            Polled::Create(_) => unreachable!("a leaver gets no permit"),
            Polled::Asleep | Polled::Failed | Polled::Closed => End::Nothing,
        };
        self.close_all();
        end
    }

    pub fn cancel(&self, sleeper: Sleeper) {
        assert!(self.pool.cancel(self, sleeper.ticket, self.now.get()), "the wait was over already");
        self.close_all();
    }

    pub fn release(&self, loan: Loan) {
        self.pool.data(loan.slot).leave();
        self.pool.release(self, loan, self.lane, self.now.get()).expect("the loan lasts");
        self.close_all();
    }

    pub fn discard(&self, loan: Loan) {
        self.pool.data(loan.slot).leave();
        self.pool.discard(self, loan, self.now.get()).expect("the loan lasts");
        self.close_all();
    }

    /// Acquire, and release if that came at once.
    pub fn cycle(&self) -> End {
        match self.acquire() {
            End::Lent(loan) => {
                self.release(loan);
                End::Nothing
            }
            end => end,
        }
    }
}

/// The end of an execution: deliver all wake-ups and poll whoever got one until all is quiet; then nobody is asleep beside something
/// for it (I4), and the books agree (I1, I3, I5, I7). Only then those who were lent something give it back, and so on, until nothing
/// is lent. Returns who sleeps even then.
pub fn settle(engines: &[&Engine], ends: Vec<(usize, End)>) -> Vec<(usize, End)> {
    let mut wakes = Vec::new();
    let mut ends = ends;
    loop {
        for engine in engines {
            engine.close_all();
            wakes.append(&mut engine.wakes.borrow_mut());
        }
        let woken = |end: &End| match end {
            End::Sleeps(Sleeper { ticket, .. }) => wakes.iter().position(|wake| *wake == (ticket.node, ticket.number)),
            _ => None,
        };
        if let Some((at, wake)) = ends.iter().enumerate().find_map(|(at, (_, end))| Some((at, woken(end)?))) {
            wakes.swap_remove(wake);
            let (who, end) = ends.swap_remove(at);
            ends.push((who, engines[who].poll(end.sleeps(), false)));
            continue;
        }
        let pool = &engines[0].pool;
        if let Err(why) = pool.audit() {
            panic!("{why}; {:?}", pool.stats());
        }
        ends.retain(|(_, end)| !matches!(end, End::Nothing));
        let Some(at) = ends.iter().position(|(_, end)| matches!(end, End::Lent(_))) else {
            return ends;
        };
        let (who, end) = ends.swap_remove(at);
        engines[who].release(end.lent());
    }
}

/// As [`settle`], where everybody must have been served.
pub fn settle_all(engines: &[&Engine], ends: Vec<(usize, End)>) {
    let left = settle(engines, ends);
    assert!(left.is_empty(), "nobody wakes {left:?}");
}

/// *engine*, at this time from now on.
pub fn at(engine: &Engine, now: u64) -> &Engine {
    engine.now.set(now);
    engine
}

/// Whom these have woken since they were asked last.
pub fn woken(engines: &[&Engine]) -> Vec<(u32, u64)> {
    engines.iter().flat_map(|engine| engine.wakes.take()).collect()
}

/// What `woken` calls this sleeper.
pub fn key(sleeper: &Sleeper) -> (u32, u64) {
    (sleeper.ticket.node, sleeper.ticket.number)
}

/// Four actors, all threads.
pub fn four(pool: &Arc<Core>) -> [Engine; 4] {
    [(); 4].map(|()| Engine::new(pool, 0))
}
