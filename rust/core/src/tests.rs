//! Tests of the small parts: words, capacity, lifetime, growth.

use crate::capacity::{Capacity, MAX_CAPACITY};
use crate::growth::LastTwo;
use crate::pool::{Host, Pool, Settings};
use crate::slot::{Group, Hand, Loan, SlotWord, State, GENERATIONS, GROUPS};
use crate::waiter::{NodeWord, Verdict};
use crate::{Acquired, Polled, Vet, Wish};

/// An engine that closes at once.
struct Engine<'a>(&'a Pool<(), ()>);

impl Host for Engine<'_> {
    fn wake(&self, _: u32, _: u64) {}

    fn close(&self, hand: Hand) {
        self.0.closed(self, hand, 0);
    }
}

const WISH: Wish = Wish { group: 0, lane: 0, now: 0, wait: false, create: true };

/// A new connection of a pool, as a loan.
fn connect(pool: &Pool<(), ()>, took: u64, now: u64) -> Loan {
    let Acquired::Create(hand) = pool.acquire(&Engine(pool), Wish { now, ..WISH }) else { panic!("no permit") };
    pool.created_mine(&Engine(pool), hand, pool.connect_epoch(), took, now).unwrap().0
}

#[test]
fn a_slot_word_keeps_its_parts() {
    for (group, generation) in [(0, 0), (1, 7), (GROUPS as u32 - 1, GENERATIONS - 1)] {
        let word = SlotWord::new(State::Lent, group, generation);
        assert_eq!((word.group(), word.generation()), (group, generation));
        assert!(word.is(State::Lent) && !word.is(State::Closing) && !word.is_idle_of(group));
        let idle = word.to(State::Idle);
        assert!(idle.is_idle_of(group) && !idle.is_idle_of(group ^ 1));
        assert_eq!((idle.group(), idle.generation()), (group, generation));
    }
}

#[test]
fn a_node_word_keeps_its_parts() {
    let ticket = (1 << 45) - 1;
    for (creating, held) in [(false, false), (true, false), (false, true)] {
        let word = NodeWord::wait(ticket, GROUPS as u32 - 1, creating, held);
        assert!(word.waits() && word.kind() == Verdict::Wait && !word.nudged());
        assert_eq!((word.ticket(), word.group(), word.creating()), (ticket, GROUPS as u32 - 1, creating));
        assert_eq!(word.takes_permits(), !creating && !held);
        assert!(word.nudge().nudged() && word.nudge().calm() == word);
        assert_eq!(word.unheld().takes_permits(), !creating);
    }
    for verdict in [Verdict::Granted, Verdict::Create, Verdict::Failed, Verdict::Closed] {
        let word = NodeWord::verdict(verdict, MAX_CAPACITY);
        assert!(word.kind() == verdict && !word.waits() && word.ticket() == u64::from(MAX_CAPACITY));
    }
    for word in [NodeWord::owned(ticket), NodeWord::permitted(ticket)] {
        assert!(word.kind() == Verdict::Owned && word.ticket() == ticket && !word.nudged());
    }
    assert!(NodeWord::permitted(3).creating() && !NodeWord::owned(3).creating());
    assert!(NodeWord::permitted(3).awaits_connect(3) && !NodeWord::permitted(3).awaits_connect(4));
    assert!(!NodeWord::owned(3).awaits_connect(3) && NodeWord::wait(3, 1, true, false).awaits_connect(3));
}

#[test]
fn capacity_is_never_exceeded() {
    let capacity = Capacity::new(2);
    assert!(capacity.take() && capacity.take() && !capacity.take());
    assert!(!capacity.take_closing(None) && capacity.take_closing(Some(1)) && !capacity.take_closing(Some(1)));
    assert_eq!((capacity.read().size(), capacity.read().closing(), capacity.read().staying()), (2, 1, 1));
    assert!(!capacity.take(), "what is closing still counts");
    capacity.end_closing_and_give();
    assert_eq!((capacity.read().size(), capacity.read().closing(), capacity.read().free()), (1, 0, 1));
    capacity.set(MAX_CAPACITY);
    assert_eq!(capacity.read().free(), MAX_CAPACITY - 1);
    capacity.set(0);
    assert!(capacity.take_closing(None) && capacity.read().free() == 0);
    capacity.end_closing();
    capacity.give();
    assert_eq!((capacity.read().size(), capacity.read().closing()), (0, 0));
}

/// A thousand connections made at the same moment with a life of 1,000 s: they die between 800 s and 1,000 s, at most 100 of them in any one second.
#[test]
fn lives_are_spread_over_the_last_fifth() {
    const SECOND: u64 = 1_000_000_000;
    for seed in [0, 1, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
        let pool = Pool::<(), ()>::new(Settings { lifetime: Some(1_000 * SECOND), seed, ..Settings::default() });
        let mut deaths = vec![0; 1_001];
        for number in 0..1_000 {
            let expires = pool.expiry(5, number) - 5;
            assert!((800 * SECOND..=1_000 * SECOND).contains(&expires), "{expires}");
            deaths[(expires / SECOND) as usize] += 1;
        }
        assert!(deaths.iter().all(|&deaths| deaths <= 100), "{deaths:?}");
        assert!(deaths[800..900].iter().sum::<i32>() > 350 && deaths[900..].iter().sum::<i32>() > 350);
    }
    let endless = Pool::<(), ()>::new(Settings::default());
    assert_eq!(endless.expiry(7, 0), u64::MAX);
}

/// LIFE03: asked every second, each of a thousand idle connections made together is closed once, in the last fifth of its life.
#[test]
fn life03_connections_made_together_die_one_by_one() {
    const SECOND: u64 = 1_000_000_000;
    let settings = Settings { pool_size: 1_000, lifetime: Some(1_000 * SECOND), seed: 7, ..Settings::default() };
    let pool = Pool::<(), ()>::new(settings);
    let loans: Vec<_> = (0..1_000).map(|_| connect(&pool, 1, 5)).collect();
    for loan in loans {
        pool.release(&Engine(&pool), loan, 0, 5).unwrap();
    }
    let mut gone = 0;
    for second in 1..=1_001 {
        pool.reap(&Engine(&pool), second * SECOND, 0, None);
        let stats = pool.stats();
        assert_eq!(u64::from(stats.idle) + stats.closes, 1_000);
        assert!(stats.closes >= gone && stats.closes - gone <= 100, "{} in one second", stats.closes - gone);
        assert!(second > 800 || stats.closes == 0);
        gone = stats.closes;
    }
    assert_eq!((gone, pool.stats().idle, pool.stats().expired), (1_000, 0, 1_000));
    assert!(pool.try_acquire(0, 0, 1_002 * SECOND).is_none());
}

/// Idle for less than the bypass: fresh; longer: check; an alarm: check; beyond the idle time: expired; beyond its life: closed at the return.
#[test]
fn a_connection_is_vetted_by_its_times() {
    let settings = Settings { check_bypass: Some(100), max_idle: Some(1_000), ..Settings::default() };
    let pool = Pool::<(), ()>::new(settings);
    let engine = Engine(&pool);
    let mut loan = connect(&pool, 1, 0);
    for (idle, vet) in [(99, Vet::Fresh), (100, Vet::Check), (999, Vet::Check), (1_000, Vet::Expired)] {
        pool.release(&engine, loan, 0, 0).unwrap();
        let (next, found) = pool.try_acquire(0, 0, idle).unwrap();
        assert_eq!(found, vet, "idle for {idle}");
        loan = next;
    }
    pool.release(&engine, loan, 0, 0).unwrap();
    pool.suspect();
    assert_eq!(pool.try_acquire(0, 0, 1).map(|(_, vet)| vet), Some(Vet::Check));
    assert!(pool.max_idle.lower(500) && !pool.max_idle.lower(500));

    let short = Pool::<(), ()>::new(Settings { lifetime: Some(1_000), ..Settings::default() });
    let loan = connect(&short, 1, 0);
    short.release(&Engine(&short), loan, 0, 1_000).unwrap();
    assert_eq!((short.stats().idle, short.stats().expired, short.stats().closes), (0, 1, 1));
}

/// What was kept alive is no older for the server's limit, and as idle as before for the pool's own; and it counts as no loan.
#[test]
fn a_connection_that_is_kept_alive_idles_on() {
    let settings =
        Settings { check_bypass: Some(100), max_idle: Some(1_000), lifetime: Some(10_000), ..Settings::default() };
    let pool = Pool::<(), ()>::new(settings);
    let engine = Engine(&pool);
    let loan = connect(&pool, 1, 0);
    pool.release(&engine, loan, 0, 0).unwrap();
    pool.lower_max_idle(400);
    assert!(pool.claim_silent(0, 300, 299).is_none() && pool.claim_silent(1, 0, 300).is_none());
    let silent = pool.claim_silent(0, 300, 300).unwrap();
    assert_eq!((pool.idle_time(silent, 300), pool.stats().lent), (300, 1));
    assert!(pool.claim_silent(0, 0, 300).is_none());
    pool.keep(&engine, silent, 300).unwrap();
    assert_eq!((pool.idle_time(silent, 350), pool.stats().idle, pool.stats().loans), (50, 1, 1));
    assert_eq!(pool.keep(&engine, Loan { generation: silent.generation + 1, ..silent }, 300), Err(crate::Stale));
    pool.reap(&engine, 699, 0, None);
    assert_eq!(pool.stats().idle, 1);
    let (loan, vet) = pool.try_acquire(0, 0, 399).unwrap();
    assert_eq!((vet, loan), (Vet::Fresh, silent));
    pool.release(&engine, loan, 0, 400).unwrap();

    // Kept again and again, and yet not for ever.
    for now in [700, 1_000, 1_300] {
        let silent = pool.claim_silent(0, 300, now).unwrap();
        pool.keep(&engine, silent, now).unwrap();
    }
    pool.reap(&engine, 1_399, 0, None);
    assert_eq!(pool.stats().idle, 1);
    let (loan, vet) = pool.try_acquire(0, 0, 1_400).unwrap();
    assert_eq!(vet, Vet::Expired);
    pool.release(&engine, loan, 0, 1_400).unwrap();
    for now in [1_700, 2_000, 2_300] {
        let silent = pool.claim_silent(0, 300, now).unwrap();
        pool.keep(&engine, silent, now).unwrap();
    }
    pool.reap(&engine, 2_400, 0, None);
    assert_eq!((pool.stats().idle, pool.stats().closes), (0, 1));
    pool.audit().unwrap();
}

/// A connection is not taken for a ping while anything unusual goes on; and what became of the pool meanwhile is done when it is laid down.
#[test]
fn a_ping_gives_way() {
    let pool =
        Pool::<(), ()>::new(Settings { pool_size: 1, max_overflow: 0, lifetime: Some(10_000), ..Settings::default() });
    let engine = Engine(&pool);
    let loan = connect(&pool, 1, 0);
    pool.release(&engine, loan, 0, 0).unwrap();
    pool.suspend();
    assert!(pool.claim_silent(0, 1, 100).is_none());
    pool.resume(&engine);
    let silent = pool.claim_silent(0, 1, 100).unwrap();
    let wish = Wish { group: 0, lane: 0, now: 100, wait: true, create: true };
    let Acquired::Wait(ticket, _) = pool.acquire(&engine, wish) else { panic!("it must wait for the ping") };
    pool.keep(&engine, silent, 110).unwrap();
    let Polled::Lent(loan, _) = pool.poll(&engine, ticket, 0, 120, false) else { panic!("the ping is over") };
    pool.release(&engine, loan, 0, 130).unwrap();
    let silent = pool.claim_silent(0, 1, 200).unwrap();
    pool.evict(&engine);
    pool.keep(&engine, silent, 210).unwrap();
    assert_eq!((pool.stats().idle, pool.stats().expired, pool.stats().closes), (0, 1, 1));
    let loan = connect(&pool, 1, 300);
    pool.release(&engine, loan, 0, 300).unwrap();
    let silent = pool.claim_silent(0, 1, 400).unwrap();
    pool.close(&engine);
    pool.keep(&engine, silent, 410).unwrap();
    assert_eq!((pool.stats().lent, pool.stats().idle, pool.stats().closes), (0, 0, 2));
    pool.audit().unwrap();
}

/// A pool on which *connections* were opened in *took* each, and given back after the loan of each in *lasted*, all at the time 0 on.
fn warm(took: u64, lasted: &[u64]) -> Pool<(), ()> {
    let pool = Pool::<(), ()>::new(Settings { max_overflow: 50, ..Settings::default() });
    let loans: Vec<Loan> = lasted.iter().map(|_| connect(&pool, took, 0)).collect();
    for (loan, lasted) in loans.into_iter().zip(lasted) {
        pool.release(&Engine(&pool), loan, 0, *lasted).unwrap();
    }
    pool
}

const MS: u64 = 1_000_000;

/// Cold, each borrower creates. Warm, a create that costs more than the expected wait is held back for three quarters of what it takes; an
/// overdue loan is not counted on.
#[test]
fn a_create_is_held_back_while_a_return_is_expected() {
    const CONNECT: u64 = 150 * MS;
    const USE: u64 = 2 * MS;
    let pool = Pool::<(), ()>::new(Settings { max_overflow: 50, ..Settings::default() });
    let engine = Engine(&pool);
    assert_eq!(pool.held_until(0, 0), None, "no connect is known");
    let loan = connect(&pool, CONNECT, 0);
    let held = |now| Some(now + CONNECT / 4 * 3);
    assert_eq!(
        [pool.held_until(0, CONNECT), pool.held_until(0, CONNECT + 1)],
        [held(CONNECT), None],
        "no loan is known"
    );
    pool.release(&engine, loan, 0, USE).unwrap();
    let now = 2 * USE;
    assert_eq!(pool.held_until(0, now), None, "nothing is lent");
    pool.try_acquire(0, 0, now).unwrap();
    assert_eq!(pool.held_until(0, now), held(now));
    assert_eq!(pool.held_until(1, now), None, "no loan of that group is out");
    let last = now + 4 * USE + CONNECT / 2;
    assert_eq!([pool.held_until(0, last), pool.held_until(0, last + 1)], [held(last), None], "the loan is overdue");
    let never = Pool::<(), ()>::new(Settings { hold_back: false, ..Settings::default() });
    connect(&never, CONNECT, 0);
    assert_eq!(never.held_until(0, 5), None);
}

/// The grace of a brief connect is 10 ms, and a connect as brief as the way to a sleeper is not worth a wait.
#[test]
fn a_brief_connect_is_held_back_less() {
    let pool = warm(8 * MS, &[MS]);
    pool.try_acquire(0, 0, 0).unwrap();
    let last = 4 * MS + 10 * MS;
    assert_eq!([pool.held_until(0, last), pool.held_until(0, last + 1)], [Some(last + 6 * MS), None]);
    let pool = Pool::<(), ()>::new(Settings { brief: 50_000, ..Settings::default() });
    connect(&pool, 50_000, 0);
    assert_eq!(pool.held_until(0, 0), None);
}

/// The expected wait is what loans last over the number of those due, times those ahead; at the cost of a connect it is worth it.
#[test]
fn the_expected_wait_is_exact() {
    let pool = warm(10 * MS, &[8 * MS, 9 * MS, 30 * MS]);
    let now = 40 * MS;
    for _ in 0..2 {
        pool.try_acquire(0, 0, now).unwrap();
    }
    let held = Some(now + 10 * MS / 4 * 3);
    assert_eq!(pool.held_until(0, now), held, "two are out, so 4 ms");
    pool.gate.enter();
    assert_eq!(pool.held_until(0, now), held, "one is ahead, so 8 ms");
    pool.gate.enter();
    assert_eq!(pool.held_until(0, now), None, "two are ahead, so 12 ms");
    let own = pool.grow(0).unwrap();
    assert_eq!(pool.held_until(0, now), held, "one of them has a connect of its own");
    pool.give_up(&Engine(&pool), own, 0);
    pool.gate.leave();
    pool.gate.leave();
}

/// L15: the briefest of the recent loans counts, whatever those of other slots, of earlier times and of another group lasted.
#[test]
fn l15_one_loan_does_not_stand_for_all() {
    let hour = 3_600_000 * MS;
    let held = |lasted: &[u64], now: u64| {
        let pool = warm(150 * MS, lasted);
        for _ in 0..5 {
            pool.try_acquire(0, 0, now);
        }
        for _ in 0..40 {
            pool.gate.enter();
        }
        let held = pool.held_until(0, now);
        for _ in 0..40 {
            pool.gate.leave();
        }
        held.is_some()
    };
    let now = 700 * MS;
    assert!(held(&[600 * MS, 450 * MS, 300 * MS, 150 * MS, 2 * MS], now), "opened one by one");
    assert!(held(&[0; 5], now), "opened ahead");
    assert!(!held(&[600 * MS; 5], now), "all of them last long");
    assert!(held(&[600 * MS; 5], now + hour), "that was an hour ago");
    let pool = warm(150 * MS, &[600 * MS]);
    for lasted in [2 * MS, 500 * MS] {
        let loan = pool.try_acquire(0, 0, now).unwrap().0;
        pool.release(&Engine(&pool), loan, 0, now + lasted).unwrap();
    }
    pool.try_acquire(0, 0, now).unwrap();
    assert!(pool.held_until(0, now).is_some(), "one of the last two was brief");
    assert_eq!(pool.loans_last(1, now), None, "another group");
}

/// Two are kept, and told apart from none; what takes longer than 4.3 s counts as that.
#[test]
fn the_last_two_are_kept() {
    let two = LastTwo::default();
    assert_eq!(two.briefest(), None);
    let seen = [5, 7, 9, u64::MAX, u64::MAX, 0].map(|took| {
        two.note(took);
        two.briefest().unwrap()
    });
    assert_eq!(seen, [5, 5, 7, 9, u64::from(u32::MAX) - 1, 0]);
    two.forget();
    assert_eq!(two.briefest(), None);
}

/// The lives of the first connections, from their seed: SplitMix64 of the number, over a fifth of the lifetime.
#[test]
fn lives_are_repeatable() {
    let lives = |seed| {
        let pool = Pool::<(), ()>::new(Settings { lifetime: Some(3_600_000_000_000_000), seed, ..Settings::default() });
        [0, 1, 2].map(|number| pool.expiry(0, number))
    };
    assert_eq!(lives(0), [2_964_016_218_086_178, 3_289_299_842_125_073, 3_580_967_684_453_330]);
    assert_eq!(lives(7), [3_044_486_479_441_272, 3_474_815_136_509_029, 3_364_325_449_762_950]);
}

/// Each of three reasons alone ends the life of a connection, and an unused one is lent however old it is.
#[test]
fn each_limit_counts_alone() {
    let plain = Settings { check_bypass: None, ..Settings::default() };
    let vetted = |settings: Settings, used: bool, now: u64, evict: bool| {
        let pool = Pool::<(), ()>::new(settings);
        let engine = Engine(&pool);
        let loan = connect(&pool, 1, 0);
        pool.release(&engine, loan, 0, 0).unwrap();
        if !used {
            pool.slot(loan.slot).uses.set(0);
        }
        if evict {
            pool.epoch.fetch_add(1, crate::sync::RMW);
            pool.suspect();
        }
        pool.try_acquire(0, 0, now).map(|(_, vet)| vet)
    };
    let mortal = Settings { lifetime: Some(1_000), ..plain.clone() };
    let idler = Settings { max_idle: Some(1_000), ..plain.clone() };
    assert_eq!(vetted(plain.clone(), true, 1 << 40, false), Some(Vet::Fresh));
    assert_eq!(vetted(mortal.clone(), true, 1_000, false), Some(Vet::Expired));
    assert_eq!(vetted(idler, true, 1_000, false), Some(Vet::Expired));
    assert_eq!(vetted(plain.clone(), true, 5, true), Some(Vet::Expired));
    assert_eq!(vetted(mortal, false, 1_000, false), Some(Vet::Fresh));
    let checked = Settings { lifetime: Some(1_000), check_bypass: Some(5_000), ..plain.clone() };
    assert_eq!(vetted(checked, false, 1_000, false), Some(Vet::Fresh), "old, but neither used nor idle for long");
    let checks = Settings { check_bypass: Some(u64::MAX), ..plain };
    let pool = Pool::<(), ()>::new(checks);
    let loan = connect(&pool, 1, 0);
    pool.release(&Engine(&pool), loan, 0, 0).unwrap();
    pool.suspect();
    assert_eq!(pool.try_acquire(0, 0, 1).map(|(_, vet)| vet), Some(Vet::Check), "an alarm alone");
}

/// A pool whose connections and waiters are of group 0 and of one more: (connections, waiters) of each. The last move was at 1,000,000.
fn shared_by(first: (u32, u32), second: (u32, u32)) -> (Pool<(), ()>, Group) {
    let pool = Pool::<(), ()>::new(Settings { pool_size: 40, fair_after: 10, ..Settings::default() });
    let group = pool.open_group().unwrap();
    (0..40).for_each(|_| assert!(pool.capacity.take()));
    let states = [State::Lent, State::Connecting, State::Idle];
    for (index, of) in (0..first.0).map(|_| 0).chain((0..second.0).map(|_| group)).enumerate() {
        let slot = pool.take_free_slot(of).slot();
        pool.slot(slot).put(SlotWord::new(states[index % 3], of, 1));
    }
    // Of no group, whatever their words say.
    for state in [State::Closing, State::Free] {
        let last = pool.take_free_slot(group).slot();
        pool.groups.release(group);
        pool.slot(last).put(SlotWord::new(state, group, 1));
    }
    (0..first.1).for_each(|_| pool.groups.retain(0));
    (0..second.1).for_each(|_| pool.groups.retain(group));
    pool.moved.set(1_000_000);
    (pool, group)
}

/// A connection goes over for a lead of the margin, and the next one after `2w² / nd`, or `w / 2` where that is sooner.
#[test]
fn the_pace_of_moves_is_exact() {
    let (pool, group) = shared_by((20, 0), (20, 0));
    pool.connect_time.set(5);
    // The margin of one who has waited for 1,000: the bound, two connects and a 32nd of that.
    let leads = [50, 51].map(|lead| pool.goes_over(0, group, 1_000, 1_000 - lead, 1_000_000 * lead));
    assert_eq!(leads, [false, true]);
    // 2 * 1,000² / (40 * 500) = 100; what does not go over does not count.
    let later = |lead: u64, times: [u64; 2]| {
        pool.moved.set(2_000_000);
        times.map(|later| pool.goes_over(0, group, 1_000, 1_000 - lead, 2_000_000 + later))
    };
    assert_eq!(later(500, [99, 100]), [false, true]);
    assert_eq!(later(250, [199, 200]), [false, true]);
    assert_eq!(later(1_000, [49, 50]), [false, true]);
    assert_eq!(later(60, [499, 500]), [false, true], "no later than after half of the wait");
    assert_eq!(later(500, [100, 199]), [true, false], "counted from the last one");
    assert!(!pool.goes_over(0, group, 10, 20, 9_000_000), "no lead at all");
}

/// In its turn a connection goes over for more than half of what it changes, in the share that it changes more.
#[test]
fn shares_come_to_the_nearest() {
    let goes = |first: u32, second: u32, own: u64| {
        let (pool, group) = shared_by((first, 0), (second, 0));
        pool.goes_over(0, group, 1_000, own, 2_000_000)
    };
    assert_eq!([499, 500].map(|own| goes(1, 9, own)), [true, false]);
    assert_eq!([749, 750].map(|own| goes(2, 9, own)), [true, false]);
    assert_eq!([749, 750].map(|own| goes(9, 1, own)), [true, false]);
    assert_eq!([899, 900].map(|own| goes(5, 4, own)), [true, false]);
    assert_eq!([499, 500].map(|own| goes(0, 9, own)), [true, false], "gone meanwhile");
    // A look in its turn counts, even where it finds that all may stay.
    let (pool, group) = shared_by((2, 0), (9, 0));
    assert!(!pool.goes_over(0, group, 1_000, 750, 2_000_000));
    assert_eq!([198, 199].map(|later| pool.goes_over(0, group, 1_000, 749, 2_000_000 + later)), [false, true]);
}

/// Where one has waited more than twice as long as the other, a connection goes over out of turn, as long as its new group has fewer for each
/// who wants one even then.
#[test]
fn a_group_that_is_far_behind_need_not_wait_for_its_turn() {
    let goes = |from: (u32, u32), to: (u32, u32), own: u64| {
        let (pool, group) = shared_by(from, to);
        pool.goes_over(0, group, 1_000, own, 1_000_000)
    };
    // 9 for 10 + 9 who want one. The other group's 2nd for 1 + 5, 4, 3 or 2.
    assert_eq!([5, 4, 3, 2].map(|waiters| goes((9, 10), (1, waiters), 0)), [true, true, false, false]);
    // 2 / 20 to 2 / 20; 2 / 20 to 2 / 21.
    assert_eq!([19, 20].map(|waiters| goes((2, 18), (1, waiters), 0)), [false, true]);
    assert_eq!([499, 500].map(|own| goes((9, 10), (0, 9), own)), [true, false]);
    assert!(!goes((0, 10), (0, 10), 0), "neither has one");
}

#[test]
fn a_connect_that_an_evict_overtook_is_not_lent_as_it_is() {
    let pool: Pool<(), ()> = Pool::new(Settings::default());
    let engine = Engine(&pool);
    let Acquired::Create(hand) = pool.acquire(&engine, WISH) else { panic!("no permit") };
    let epoch = pool.connect_epoch();
    pool.evict(&engine);
    pool.created(&engine, hand, None, epoch, 1, 1);
    let (_, vet) = pool.try_acquire(0, 0, 1).expect("it is idle");
    assert_eq!(vet, Vet::Expired);
}

#[test]
fn a_connection_that_was_granted_is_out_since_then() {
    let pool: Pool<(), ()> =
        Pool::new(Settings { pool_size: 1, max_overflow: 0, fair_after: 0, ..Settings::default() });
    let engine = Engine(&pool);
    let loan = connect(&pool, 1, 5);
    assert_eq!(pool.slot(loan.slot).since.get(), 5);
    let Acquired::Wait(..) = pool.acquire(&engine, Wish { now: 10, wait: true, ..WISH }) else { panic!("no wait") };
    // The waiter has not come for it yet.
    pool.release(&engine, loan, 0, 90).unwrap();
    assert_eq!(pool.slot(loan.slot).since.get(), 90);
}
