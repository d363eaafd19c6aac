//! Many borrowers at once, who sleep and are woken as those of a real engine: by threads of shuttle, or of the system.
//!
//! Connects and closes are done by the borrower itself or by one helper thread. A wake-up that is lost shows as a deadlock: shuttle finds
//! it at once, threads after [`PATIENCE`].
#![allow(dead_code, missing_docs, reason = "each test uses its part")]

use crate::support::{Core, Seat};
use poolhouse_core::{Acquired, Group, Hand, Host, Loan, Polled, Pool, Settings, Ticket, Vet, Wish};
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

// Not the locks of std: those are compiled without ThreadSanitizer, which would see races where there are none.
#[cfg(not(feature = "shuttle"))]
pub use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(feature = "shuttle")]
pub use shuttle::{sync::Condvar, sync::Mutex, sync::MutexGuard, thread};
#[cfg(not(feature = "shuttle"))]
pub use std::thread;

/// Longer than any wait of a healthy run.
#[cfg(not(feature = "shuttle"))]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// What the borrowers do, and what is done to them.
#[derive(Clone, Debug)]
pub struct Plan {
    pub settings: Settings,
    /// Borrowers; the last *foreign* of them are of a group of their own each.
    pub borrowers: usize,
    pub foreign: usize,
    /// Wishes of each.
    pub cycles: usize,
    /// Of 100 connects so many fail; of 100 loans so many end broken; of 100 waits so many are given up.
    pub failing: u32,
    pub broken: u32,
    pub leaving: u32,
    /// Of 100 wishes so many are not to wait.
    pub hasty: u32,
    /// The whole-pool calls of one more thread, one after the other.
    pub director: &'static [Order],
}

#[derive(Clone, Copy, Debug)]
pub enum Order {
    Close,
    Resize(u32, u32),
    Suspend,
    Evict,
    Reap,
    /// Open one connection ahead of need.
    Grow,
    /// Believe a server that closes what idles for longer than this.
    LowerMaxIdle(u64),
    /// End the group of the last borrower, whatever that one does.
    EndGroup,
}

enum Job {
    Connect(Hand, Option<Ticket>),
    Close(Hand),
}

#[derive(Default)]
struct Board {
    wakes: HashSet<(u32, u64)>,
    jobs: Vec<Job>,
    over: bool,
}

/// What all of them share.
pub struct Crowd {
    pub pool: Core,
    plan: Plan,
    board: Mutex<Board>,
    bell: Condvar,
    clock: AtomicU64,
    pub served: AtomicU64,
    detached: AtomicU64,
    seed: AtomicU64,
}

/// One of them.
pub struct Worker {
    crowd: Arc<Crowd>,
    group: Group,
    closing: RefCell<Vec<Hand>>,
    random: RefCell<u64>,
}

impl Host for Worker {
    fn wake(&self, node: u32, ticket: u64) {
        self.crowd.board().wakes.insert((node, ticket));
        self.crowd.bell.notify_all();
    }

    fn close(&self, hand: Hand) {
        self.closing.borrow_mut().push(hand);
    }
}

impl Worker {
    fn new(crowd: &Arc<Crowd>, group: Group) -> Self {
        let seed = crowd.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        Worker { crowd: crowd.clone(), group, closing: RefCell::default(), random: RefCell::new(seed | 1) }
    }

    #[cfg(feature = "shuttle")]
    fn below(&self, bound: u32) -> u32 {
        use shuttle::rand::Rng;
        shuttle::rand::thread_rng().gen_range(0..bound)
    }

    #[cfg(not(feature = "shuttle"))]
    fn below(&self, bound: u32) -> u32 {
        // Xorshift (Marsaglia 2003).
        let mut x = self.random.borrow_mut();
        *x ^= *x << 13;
        *x ^= *x >> 7;
        *x ^= *x << 17;
        (*x >> 32) as u32 % bound
    }

    fn chance(&self, percent: u32) -> bool {
        percent > 0 && self.below(100) < percent
    }

    fn now(&self) -> u64 {
        self.crowd.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn post(&self, job: Job) {
        self.crowd.board().jobs.push(job);
        self.crowd.bell.notify_all();
    }

    /// Do what the core asked for, or leave it to the helper.
    fn close_all(&self) {
        loop {
            let Some(hand) = self.closing.borrow_mut().pop() else {
                return;
            };
            if self.chance(50) {
                self.post(Job::Close(hand));
            } else {
                self.crowd.pool.closed(self, hand, self.now());
            }
        }
    }

    fn seated(&self, loan: Loan, vet: Vet) -> Option<Loan> {
        let pool = &self.crowd.pool;
        if vet == Vet::Fresh || (vet == Vet::Check && self.chance(50)) {
            pool.data(loan.slot).take();
            return Some(loan);
        }
        let hand = pool.replace(loan, vet == Vet::Expired).expect("the loan lasts");
        self.connect(hand)
    }

    fn connect(&self, hand: Hand) -> Option<Loan> {
        let pool = &self.crowd.pool;
        let epoch = pool.connect_epoch();
        pool.stale_closed(self, &hand);
        if self.chance(self.crowd.plan.failing) {
            pool.create_failed(self, hand, None, self.now());
            return None;
        }
        let (loan, _) = pool.created_mine(self, hand, epoch, 3, self.now())?;
        pool.data(loan.slot).take();
        Some(loan)
    }

    fn work(&self, job: Job) {
        let pool = &self.crowd.pool;
        match job {
            Job::Close(hand) => pool.closed(self, hand, self.now()),
            Job::Connect(hand, ticket) => {
                let epoch = pool.connect_epoch();
                pool.stale_closed(self, &hand);
                if self.chance(self.crowd.plan.failing) {
                    pool.create_failed(self, hand, ticket, self.now());
                } else {
                    pool.created(self, hand, ticket, epoch, 3, self.now());
                }
            }
        }
        self.close_all();
    }

    fn wish(&self) -> Wish {
        Wish { group: self.group, lane: self.group as usize, now: self.now(), wait: true, create: true }
    }

    fn borrow(&self) -> Option<Loan> {
        let pool = &self.crowd.pool;
        if let Some((loan, vet)) = pool.try_acquire(self.group, 0, self.now()) {
            return self.seated(loan, vet);
        }
        let wait = !self.chance(self.crowd.plan.hasty);
        match pool.acquire(self, Wish { wait, ..self.wish() }) {
            Acquired::Lent(loan, vet) => self.seated(loan, vet),
            Acquired::Create(hand) if self.chance(50) => self.connect(hand),
            Acquired::Create(hand) => match pool.enlist(self, self.wish()) {
                Some((ticket, polled)) => {
                    self.post(Job::Connect(hand, Some(ticket)));
                    self.wait(ticket, false, polled)
                }
                None => {
                    pool.give_up(self, hand, self.now());
                    None
                }
            },
            Acquired::Wait(ticket, due) => self.wait(ticket, due.is_some(), Polled::Asleep),
            Acquired::Nothing | Acquired::TooMany | Acquired::Closed => None,
        }
    }

    fn wait(&self, ticket: Ticket, mut held: bool, first: Polled) -> Option<Loan> {
        let pool = &self.crowd.pool;
        let mut polled = first;
        loop {
            match polled {
                Polled::Lent(loan, vet) => return self.seated(loan, vet),
                Polled::Failed | Polled::Closed => return None,
                Polled::Create(hand) if self.chance(50) => {
                    pool.resign(self, ticket);
                    return self.connect(hand);
                }
                Polled::Create(hand) => {
                    // Before the waiter re-arms: the connect may end first.
                    self.post(Job::Connect(hand, Some(ticket)));
                    polled = pool.rearm(self, ticket, self.wish());
                    continue;
                }
                Polled::Asleep => {}
            }
            if self.chance(self.crowd.plan.leaving) {
                if self.chance(50) {
                    assert!(pool.cancel(self, ticket, self.now()), "nobody else ends this wait");
                    return None;
                }
                return match pool.leave(self, ticket, self.now()) {
                    Polled::Lent(loan, vet) => self.seated(loan, vet),
                    Polled::Create(_) => unreachable!("a leaver gets no permit"),
                    _ => None,
                };
            }
            if !held {
                self.sleep(ticket);
            }
            polled = pool.poll(self, ticket, 0, self.now(), std::mem::take(&mut held));
        }
    }

    fn sleep(&self, ticket: Ticket) {
        self.close_all();
        let key = (ticket.node, ticket.number);
        let mut board = self.crowd.board();
        while !board.wakes.remove(&key) {
            board = self.crowd.listen(board, || format!("{ticket:?} sleeps; {:?}", self.crowd.pool.stats()));
        }
    }

    fn give_back(&self, loan: Loan) {
        let pool = &self.crowd.pool;
        pool.data(loan.slot).leave();
        if !self.chance(self.crowd.plan.broken) {
            pool.release(self, loan, 0, self.now()).expect("the loan lasts");
        } else {
            match self.below(3) {
                0 => pool.discard(self, loan, self.now()).expect("the loan lasts"),
                1 => {
                    self.crowd.detached.fetch_add(1, Ordering::Relaxed);
                    pool.detach(self, loan, self.now()).expect("the loan lasts");
                }
                _ => {
                    let hand = pool.replace(loan, false).expect("the loan lasts");
                    if let Some(loan) = self.connect(hand) {
                        pool.data(loan.slot).leave();
                        pool.release(self, loan, 0, self.now()).expect("the loan lasts");
                    }
                }
            }
        }
        assert!(pool.release(self, loan, 0, self.now()).is_err(), "a loan ended twice");
    }

    fn live(&self) {
        for _ in 0..self.crowd.plan.cycles {
            if let Some(loan) = self.borrow() {
                self.crowd.served.fetch_add(1, Ordering::Relaxed);
                if self.below(4) == 0 {
                    thread::yield_now();
                }
                self.give_back(loan);
            }
            self.close_all();
        }
    }

    fn help(&self) {
        loop {
            let mut board = self.crowd.board();
            let job = loop {
                if let Some(job) = board.jobs.pop() {
                    break job;
                }
                if board.over {
                    return;
                }
                board = self.crowd.listen(board, || "the helper waits".into());
            };
            drop(board);
            self.work(job);
        }
    }

    fn direct(&self, order: Order, last: Group) {
        let pool = &self.crowd.pool;
        match order {
            Order::Close => {
                pool.close(self);
            }
            Order::Resize(pool_size, max_overflow) => pool.resize(self, pool_size, max_overflow),
            Order::Suspend => {
                pool.suspend();
                thread::yield_now();
                pool.resume(self);
            }
            Order::Evict => pool.evict(self),
            Order::Reap => pool.reap(self, self.now(), 0, None),
            Order::Grow => {
                if let Some(hand) = pool.grow(0) {
                    self.post(Job::Connect(hand, None));
                }
            }
            Order::LowerMaxIdle(limit) => pool.lower_max_idle(limit),
            Order::EndGroup => pool.end_group(self, last),
        }
        self.close_all();
    }
}

impl Crowd {
    #[cfg(feature = "shuttle")]
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap()
    }

    #[cfg(not(feature = "shuttle"))]
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock()
    }

    #[cfg(feature = "shuttle")]
    fn listen<'a>(&self, board: MutexGuard<'a, Board>, _: impl Fn() -> String) -> MutexGuard<'a, Board> {
        self.bell.wait(board).unwrap()
    }

    #[cfg(not(feature = "shuttle"))]
    fn listen<'a>(&self, mut board: MutexGuard<'a, Board>, who: impl Fn() -> String) -> MutexGuard<'a, Board> {
        let late = self.bell.wait_for(&mut board, PATIENCE).timed_out();
        assert!(!late, "a wake-up was lost: {}", who());
        board
    }

    /// Run a plan to its end and audit the pool; returns how many loans there were.
    pub fn run(plan: &Plan, seed: u64) -> u64 {
        let crowd = Arc::new(Crowd {
            pool: Pool::<Seat, ()>::new(plan.settings.clone()),
            plan: plan.clone(),
            board: Mutex::new(Board::default()),
            bell: Condvar::new(),
            clock: AtomicU64::new(1),
            served: AtomicU64::new(0),
            detached: AtomicU64::new(0),
            seed: AtomicU64::new(seed),
        });
        let mut last = 0;
        let mut live = Vec::new();
        for index in 0..plan.borrowers {
            let foreign = index >= plan.borrowers - plan.foreign;
            let group = if foreign { crowd.pool.open_group().unwrap() } else { 0 };
            last = group;
            let worker = Worker::new(&crowd, group);
            live.push(thread::spawn(move || {
                worker.live();
                if foreign {
                    worker.crowd.pool.end_group(&worker, group);
                    worker.close_all();
                }
            }));
        }
        let helper = Worker::new(&crowd, 0);
        let helper = thread::spawn(move || helper.help());
        let director = Worker::new(&crowd, 0);
        for order in plan.director {
            director.direct(*order, last);
        }
        live.into_iter().for_each(|thread| thread.join().unwrap());
        crowd.board().over = true;
        crowd.bell.notify_all();
        helper.join().unwrap();
        if let Err(why) = crowd.pool.audit() {
            panic!("{why}; {:?}", crowd.pool.stats());
        }
        let room = crowd.pool.room_for_waiters();
        assert!(room <= 16, "room for {room} waiters, where {} borrow", plan.borrowers);
        let stats = crowd.pool.stats();
        let at_rest = stats.lent + stats.connecting + stats.closing + stats.waiting == 0;
        assert!(at_rest, "something was lost: {stats:?}");
        let detached = crowd.detached.load(Ordering::Relaxed);
        assert_eq!(stats.connects, stats.closes + detached + u64::from(stats.idle), "{stats:?}, {detached} detached");
        crowd.served.load(Ordering::Relaxed)
    }
}
