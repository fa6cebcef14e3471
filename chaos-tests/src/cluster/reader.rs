//! A reader of running counts, who asks the query service again and again while everything around it is killed.
//!
//! Invariant: of clicks that were committed none is taken back, so a count over a fixed range never falls; and it is never
//! more than the recount says at the end.

use super::{serving::ask, waiting::pause};
use crate::oracle::CountKey;
use anyhow::{Context, Result, anyhow, ensure};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

const MINUTE_MS: i64 = 60_000;
/// A little, so that the reader does not take the processor from those who count.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(15);

/// A question whose answer only grows: an ad's clicks that match a filter, from a minute to another, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// The ad.
    pub ad: &'static str,
    /// The filter.
    pub filter: &'static str,
    /// Start of the first minute.
    pub from_ms: i64,
    /// End of the last minute.
    pub to_ms: i64,
}

impl Question {
    /// A few about the clicks of [`crate::cluster::clicks`], of all times and of their first minutes. The last is about an ad
    /// that nobody clicks.
    pub fn some() -> Vec<Question> {
        const START_MS: i64 = 1_646_352_000_000;
        const DAY_MS: i64 = 86_400_000;
        let always = |ad, filter| Question { ad, filter, from_ms: START_MS - DAY_MS, to_ms: START_MS + 10 * DAY_MS };
        let begins = |ad, filter| Question { ad, filter, from_ms: START_MS, to_ms: START_MS + 12 * MINUTE_MS };
        vec![
            always("ad000", "all"),
            always("ad001", "usa"),
            always("ad004", "first"),
            begins("ad000", "all"),
            begins("ad002", "usa"),
            always("ad999", "all"),
        ]
    }

    fn path(&self) -> String {
        let Question { ad, filter, from_ms, to_ms } = self;
        format!("/v1/ads/{ad}/aggregated_count?from={}&to={}&filter={filter}", from_ms / 1000, to_ms / 1000)
    }

    /// What the recount answers.
    pub fn recounted(&self, counts: &BTreeMap<CountKey, i64>) -> i64 {
        let asked = counts.iter().filter(|((ad, minute, filter), _)| {
            ad == self.ad && filter == self.filter && (self.from_ms..self.to_ms).contains(minute)
        });
        asked.map(|(_, count)| count).sum()
    }

    /// What the query service answers, if it can now.
    ///
    /// # Errors
    /// When it answers with something else.
    pub fn ask(&self, address: &str) -> Result<Option<i64>> {
        let Some(answer) = ask(address, &self.path())? else { return Ok(None) };
        let count = answer["count"].as_i64();
        Ok(Some(count.with_context(|| format!("{}: no count in {answer}", self.path()))?))
    }
}

/// What a reader has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Answers.
    pub answers: u64,
    /// Questions that nobody could answer then.
    pub unanswered: u64,
    /// Answers that were more than the ones before.
    pub rises: u64,
    /// The newest answers.
    pub newest: BTreeMap<Question, i64>,
}

impl Seen {
    /// Compares with what the recount says at the end.
    ///
    /// # Errors
    /// When more was seen than was clicked.
    pub fn check(&self, counts: &BTreeMap<CountKey, i64>) -> Result<()> {
        for (question, seen) in &self.newest {
            let recounted = question.recounted(counts);
            ensure!(*seen <= recounted, "{question:?}: a reader saw {seen}, the recount says {recounted}");
        }
        Ok(())
    }
}

/// Reads from a thread of its own until it is told to finish.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Seen>>>,
}

impl Reader {
    /// Begins.
    pub fn begin(address: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (questions, mut seen) = (Question::some(), Seen::default());
            while !stopped.load(Ordering::SeqCst) {
                for question in &questions {
                    read(question, &address, &mut seen)?;
                    pause(BETWEEN_QUESTIONS);
                }
            }
            Ok(seen)
        });
        Reader { stop, thread: Some(thread) }
    }

    /// Ends it, and takes what it has seen.
    ///
    /// # Errors
    /// When a count fell, or the query service answered with nonsense.
    pub fn finish(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("it was finished before")?;
        thread.join().map_err(|_| anyhow!("the reader panicked"))?
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // The test has failed already.
            let _ = thread.join();
        }
    }
}

fn read(question: &Question, address: &str, seen: &mut Seen) -> Result<()> {
    let Some(count) = question.ask(address)? else {
        seen.unanswered += 1;
        return Ok(());
    };
    seen.answers += 1;
    let before = seen.newest.insert(question.clone(), count).unwrap_or(0);
    ensure!(count >= before, "{question:?}: a reader saw {before}, and then {count}");
    seen.rises += u64::from(count > before);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recount_of_a_question_is_of_its_ad_filter_and_minutes() {
        let question = Question { ad: "a", filter: "all", from_ms: MINUTE_MS, to_ms: 3 * MINUTE_MS };
        let key = |ad: &str, minute, filter: &str| (ad.to_string(), minute * MINUTE_MS, filter.to_string());
        let counts: BTreeMap<_, _> = [
            (key("a", 0, "all"), 1),
            (key("a", 1, "all"), 10),
            (key("a", 2, "all"), 100),
            (key("a", 2, "usa"), 1_000),
            (key("a", 3, "all"), 10_000),
            (key("b", 2, "all"), 100_000),
        ]
        .into();
        assert_eq!(question.recounted(&counts), 110);
        let seen = |count| Seen { newest: [(question.clone(), count)].into(), ..Seen::default() };
        assert!(seen(110).check(&counts).is_ok() && seen(111).check(&counts).is_err());
    }
}
