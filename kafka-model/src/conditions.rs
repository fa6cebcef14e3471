//! How the brokers and the way to them are at present.

use std::time::Duration;

/// How it is for everybody. All of it by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The longest that a request takes to come, its answer to come back, and a marker to be written.
    pub slowest: Duration,
    /// Whether the brokers are away: what comes is lost, what they had to do waits.
    pub is_down: bool,
    /// Whether the brokers stand still, as by `SIGSTOP`: what comes waits, and is done when they go on, whoever waits for it still.
    pub is_frozen: bool,
    /// One in so many requests is lost, and does nothing; 0: none.
    pub lose_one_in: u32,
    /// One in so many is done, and its answer is lost; 0: none.
    pub lose_answer_one_in: u32,
    /// One in so many that change something is done up to `latest` after its sender has given it up; 0: none.
    pub late_one_in: u32,
    /// How much later.
    pub latest: Duration,
    /// One in so many that change something is overtaken: its sender asks again, as librdkafka does within one call, has its answer,
    /// and the first request comes up to `latest` after that; 0: none.
    pub overtaken_one_in: u32,
}

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            slowest: Duration::from_millis(4),
            is_down: false,
            is_frozen: false,
            lose_one_in: 0,
            lose_answer_one_in: 0,
            late_one_in: 0,
            latest: Duration::ZERO,
            overtaken_one_in: 0,
        }
    }
}

/// How a client waits, and how much it does at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long for an answer, before it asks again.
    pub request: Duration,
    /// How long altogether, before it gives up.
    pub call: Duration,
    /// Between two tries.
    pub pause: Duration,
    /// Between two looks for new records.
    pub poll: Duration,
    /// So many records of a partition are sent together.
    pub batch: usize,
    /// At most so many are fetched at once.
    pub fetch: usize,
    /// As long as so many are fetched and not taken, nothing more is.
    pub ahead: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            request: Duration::from_millis(400),
            call: Duration::from_millis(1_500),
            pause: Duration::from_millis(20),
            poll: Duration::from_millis(25),
            batch: 1,
            fetch: 64,
            ahead: 256,
        }
    }
}
