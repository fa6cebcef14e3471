//! What people do with the ads of two regions, and what of it is sent where: views and clicks to the events of their region, each
//! click once more to the clicks, and orders.
//!
//! Event time goes much faster than the clock, so that minutes end. Of everything a seed decides how late it comes, whether it comes
//! twice, and whether it is nonsense.

use crate::cluster::kafka::producing::{Feed, Produced};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{cmp::Reverse, collections::BinaryHeap};
use weir_engine::env::Env;

/// Partitions of each topic.
pub const PARTITIONS: i32 = 2;
/// The regions.
pub const REGIONS: [&str; 2] = ["east", "west"];
/// The topic of all clicks.
pub const CLICKS: &str = "clicks";
/// The topic of orders.
pub const ORDERS: &str = "orders";
/// Ads that people see.
pub const ADS: u32 = 12;

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
/// Event time that goes by with a tick.
const STEP: i64 = 1_800;
/// How far back the first events are: with what comes late after them, still within a day.
const BEGIN: i64 = 20 * 60 * MINUTE;
/// Ticks in which everything is in order, so that every partition's time has begun before something is late.
const ORDERLY_TICKS: u64 = 60;
const USERS: u32 = 400;

/// The topic of the events of a region.
pub fn events_of(region: &str) -> String {
    format!("events-{region}")
}

/// The business of a seed.
#[derive(Debug)]
pub struct Business {
    dice: StdRng,
    now: i64,
    ticks: u64,
    number: u64,
    /// Orders that people will place: when, and who.
    orders: BinaryHeap<Reverse<(i64, u32)>>,
    /// Records to send once more.
    again: Vec<Produced>,
}

impl Business {
    /// It begins hours ago.
    pub fn new(seed: u64) -> Self {
        let now = Env::default().wall_clock_ms() - BEGIN;
        let dice = StdRng::seed_from_u64(seed ^ 0xb5);
        Business { dice, now, ticks: 0, number: 0, orders: BinaryHeap::new(), again: Vec::new() }
    }

    fn one_in(&mut self, many: u32) -> bool {
        self.dice.random_range(0..many) == 0
    }

    /// When something happened that is sent now: mostly just now, now and then long ago.
    fn moment(&mut self) -> i64 {
        let ago = match self.dice.random_range(0..100) {
            _ if self.ticks < ORDERLY_TICKS => 0,
            0..70 => self.dice.random_range(0..14_000),
            70..94 => self.dice.random_range(0..2 * MINUTE),
            94..98 => self.dice.random_range(0..13 * MINUTE),
            _ => self.dice.random_range(10 * MINUTE..80 * MINUTE),
        };
        self.now - ago
    }

    fn send(&mut self, records: &mut Vec<Produced>, topic: &str, value: &Value) {
        let partition = self.dice.random_range(0..PARTITIONS);
        let value = match self.one_in(150) {
            true => format!("{{{value}").into_bytes(),
            false => value.to_string().into_bytes(),
        };
        let record = Produced { topic: topic.into(), partition, value };
        if self.one_in(20) {
            // Another server may be the one that is told again.
            self.again.push(Produced { partition: self.dice.random_range(0..PARTITIONS), ..record.clone() });
        }
        records.push(record);
    }

    fn see(&mut self, records: &mut Vec<Produced>, region: &str) {
        self.number += 1;
        let user = self.dice.random_range(0..USERS);
        let at = self.moment();
        let mut event = json!({
            "event_id": format!("{region} {}", self.number),
            "event_type": if self.one_in(3) { "click" } else { "impression" },
            "ad_id": format!("ad{}", self.dice.random_range(0..ADS) * self.dice.random_range(0..ADS) / ADS),
            "user_id": format!("user {user}"),
            "country": if self.one_in(2) { "USA" } else { "KOR" },
            "event_at": at,
        });
        match self.dice.random_range(0..60) {
            0 => event["event_type"] = "hover".into(),
            1 => event["ad_id"] = Value::Null,
            2 if self.ticks >= ORDERLY_TICKS => event["event_at"] = (at - 2 * DAY).into(),
            3 => event["user_id"] = Value::Null,
            _ => {}
        }
        self.send(records, &events_of(region), &event);
        if event["event_type"] == "click" {
            let click = json!({ "ad_id": event["ad_id"], "click_timestamp": at, "user_id": event["user_id"] });
            self.send(records, CLICKS, &click);
            if self.one_in(3) {
                let when = at + self.dice.random_range(0..20 * MINUTE);
                self.orders.push(Reverse((when, user)));
            }
        }
    }

    fn order(&mut self, records: &mut Vec<Produced>, user: u32, at: i64) {
        self.number += 1;
        let user = if self.one_in(40) { Value::Null } else { format!("user {user}").into() };
        let amount = format!("{}.{:02}", self.dice.random_range(1..90), self.dice.random_range(0..100));
        let id = format!("order {}", self.number);
        self.send(records, ORDERS, &json!({ "order_id": id, "user_id": user, "ordered_at": at, "amount": amount }));
    }
}

impl Feed for Business {
    fn next(&mut self) -> Vec<Produced> {
        self.ticks += 1;
        self.now = (self.now + STEP).min(Env::default().wall_clock_ms());
        let mut records = std::mem::take(&mut self.again);
        for region in REGIONS {
            for _ in 0..self.dice.random_range(1..5) {
                self.see(&mut records, region);
            }
        }
        while self.orders.peek().is_some_and(|Reverse((at, _))| *at <= self.now) {
            let Some(Reverse((at, user))) = self.orders.pop() else { break };
            self.order(&mut records, user, at);
        }
        // Some buy without a click; their orders may come late, too.
        if self.one_in(3) {
            let (user, at) = (self.dice.random_range(0..2 * USERS), self.moment());
            self.order(&mut records, user, at);
        }
        records
    }

    fn rest(&mut self) -> Vec<Produced> {
        std::mem::take(&mut self.again)
    }
}
