//! The scenarios of the large schedules.
#![allow(missing_docs, reason = "a test")]

use crate::crowd::{Order, Plan};
use poolhouse_core::Settings;

fn plan(pool_size: u32, max_overflow: u32, fair_after: u64) -> Plan {
    Plan {
        settings: Settings { fair_after, hold_back: false, ..super::support::settings(pool_size, max_overflow) },
        borrowers: 5,
        foreign: 0,
        cycles: 3,
        failing: 0,
        broken: 0,
        leaving: 0,
        hasty: 0,
        director: &[],
    }
}

/// (name, what happens).
pub fn plans() -> Vec<(&'static str, Plan)> {
    let with = |plan: Plan, change: fn(&mut Plan)| {
        let mut plan = plan;
        change(&mut plan);
        plan
    };
    vec![
        ("strict", with(plan(2, 0, 0), |_| ())),
        ("nudges", with(plan(1, 1, u64::MAX), |plan| plan.leaving = 20)),
        (
            "brief",
            with(plan(1, 1, 20), |plan| {
                plan.settings.brief = 10;
                (plan.foreign, plan.leaving) = (1, 20);
            }),
        ),
        (
            "failures",
            with(plan(2, 0, 20), |plan| {
                (plan.failing, plan.broken, plan.leaving) = (30, 30, 20);
            }),
        ),
        (
            "groups",
            with(plan(1, 1, 20), |plan| {
                (plan.foreign, plan.failing, plan.broken, plan.leaving) = (3, 10, 10, 20);
            }),
        ),
        (
            "held",
            with(plan(1, 2, 20), |plan| {
                plan.settings.hold_back = true;
                (plan.foreign, plan.failing, plan.broken, plan.leaving) = (2, 20, 20, 10);
            }),
        ),
        (
            "resizes",
            with(plan(2, 1, 20), |plan| {
                plan.settings.lifo = false;
                (plan.broken, plan.leaving) = (10, 10);
                plan.director = &[Order::Resize(1, 0), Order::Resize(1, 2), Order::Resize(2, 0), Order::Resize(1, 0)];
            }),
        ),
        (
            "orders",
            with(plan(1, 2, 20), |plan| {
                plan.settings.linger = true;
                (plan.foreign, plan.failing, plan.broken, plan.leaving) = (2, 10, 10, 10);
                plan.director =
                    &[Order::Suspend, Order::Evict, Order::Resize(1, 0), Order::EndGroup, Order::Reap, Order::Suspend];
            }),
        ),
        (
            "everything",
            with(plan(2, 1, 20), |plan| {
                plan.settings = Settings {
                    brief: 10,
                    strict: true,
                    hold_back: true,
                    lifetime: Some(90),
                    check_bypass: Some(15),
                    max_idle: Some(50),
                    max_waiting: Some(3),
                    ..plan.settings.clone()
                };
                (plan.borrowers, plan.foreign, plan.failing, plan.broken) = (6, 2, 10, 20);
                (plan.leaving, plan.hasty) = (10, 10);
                plan.director = &[
                    Order::Grow,
                    Order::LowerMaxIdle(40),
                    Order::Resize(1, 0),
                    Order::Evict,
                    Order::Suspend,
                    Order::EndGroup,
                    Order::Resize(1, 2),
                    Order::Reap,
                ];
            }),
        ),
        (
            "close",
            with(plan(1, 1, 20), |plan| {
                plan.settings.hold_back = true;
                (plan.foreign, plan.failing, plan.broken, plan.leaving) = (2, 10, 10, 10);
                plan.director = &[Order::Suspend, Order::EndGroup, Order::Close];
            }),
        ),
    ]
}
