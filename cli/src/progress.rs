//! Progress of a running job, on standard error: an updating line on a terminal, a log line now and then elsewhere.

use crate::text;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{collections::BTreeSet, io::IsTerminal, time::Duration};
use tokio::sync::mpsc::UnboundedReceiver;
use weir_engine::{
    env::{Env, Moment},
    graph::{JobGraph, NodeRole},
    ids::Attempt,
    operator::Wait,
    rate::Rate,
    task::Observers,
};
use weir_operators::{Extensions, source::Total};

/// How often the line moves.
const REDRAW: Duration = Duration::from_millis(125);
/// How often it is said that the job still waits.
const TELL_OF_WAIT_EVERY: Duration = Duration::from_secs(600);
/// How often a log line comes where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Whether and how progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    None,
    /// One line that moves.
    Bar,
    /// Lines that stay.
    Lines,
}

impl Style {
    /// A bar where standard error is a terminal that nothing else is printed to.
    pub fn fitting(quiet: bool, prints_rows: bool) -> Self {
        let shares_terminal = prints_rows && std::io::stdout().is_terminal();
        match quiet {
            true => Style::None,
            false if std::io::stderr().is_terminal() && !shares_terminal => Style::Bar,
            false => Style::Lines,
        }
    }
}

/// Shows a run until it is dropped.
pub struct Progress {
    job: String,
    style: Style,
    observers: Observers,
    /// Sinks that were said to wait.
    waiting: BTreeSet<String>,
    env: Env,
    /// What there is to read; none: no end, or nobody knows.
    total: Option<Total>,
    bar: ProgressBar,
    started: Moment,
    /// The attempt whose beginning was told.
    told: Option<Attempt>,
    rate: Rate,
    next_log: Moment,
    /// Lines of others, to be shown once.
    notices: UnboundedReceiver<String>,
    /// What the job waits for.
    waiting_for: Box<dyn Fn() -> Option<String> + Send>,
    /// When that is reported again, if it was.
    next_wait: Option<Moment>,
}

impl Progress {
    /// For a run that starts now. `notices` are shown as they come, and what the job waits for.
    pub fn new(
        graph: &JobGraph,
        extensions: &Extensions,
        style: Style,
        observers: Observers,
        notices: UnboundedReceiver<String>,
        waiting_for: impl Fn() -> Option<String> + Send + 'static,
        env: Env,
    ) -> Self {
        // Where nothing is shown, nobody need look at every file for it.
        let total = if style == Style::None { None } else { total(graph, extensions) };
        let target = if style == Style::Bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let length = total.map(|total| match total {
            Total::Events(length) | Total::Bytes(length) => length,
        });
        let bar = ProgressBar::with_draw_target(length, target);
        let template = if length.is_some() { "{bar:24} {percent:>3} %  {wide_msg}" } else { "{spinner} {wide_msg}" };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let now = env.now();
        Progress {
            job: graph.name.clone(),
            style,
            observers,
            env,
            total,
            bar,
            started: now,
            told: None,
            rate: Rate::default(),
            next_log: now + LOG_EVERY,
            notices,
            waiting: BTreeSet::new(),
            waiting_for: Box::new(waiting_for),
            next_wait: None,
        }
    }

    /// Shows until the future is dropped.
    pub async fn show(mut self) -> std::convert::Infallible {
        loop {
            self.env.sleep(REDRAW).await;
            self.tell_of_waits();
            while let Ok(notice) = self.notices.try_recv() {
                self.tell(&format!("{}: {notice}", self.job));
            }
            self.tell_of_the_jobs_wait();
            if self.style != Style::None {
                self.step();
            }
        }
    }

    fn step(&mut self) {
        let counters = self.observers.counters();
        if counters.is_empty() {
            // Not deployed yet: what it was restored from is not known either.
            return;
        }
        let sum = |name: &str| counters.values().filter_map(|values| values.get(name)).sum::<u64>();
        let events = sum("events_in");
        let now = self.env.now();
        let status = self.observers.status();
        if self.told != status.attempt {
            self.told = status.attempt;
            self.rate = Rate::default();
            if let Some(checkpoint) = status.restored {
                self.tell(&format!("{}: resuming from checkpoint {checkpoint}", self.job));
            }
        }
        self.rate.read(now, events);
        let message = self.message(events, sum("bytes_in"));
        match self.style {
            Style::Bar => {
                match self.total {
                    None => {}
                    Some(Total::Events(_)) => self.bar.set_position(events),
                    Some(Total::Bytes(_)) => self.bar.set_position(sum("bytes_in")),
                }
                self.bar.set_message(message);
                self.bar.tick();
            }
            Style::Lines if now >= self.next_log => {
                eprintln!("{}: {message}", self.job);
                self.next_log = now + LOG_EVERY;
            }
            _ => {}
        }
    }

    /// Says once that a node waits for its target, or a checkpoint for storage, and once that it does no more.
    fn tell_of_waits(&mut self) {
        let now = self.observers.waits().now();
        for (sink, wait) in now.iter().filter(|(sink, _)| !self.waiting.contains(*sink)) {
            let told = Wait::tell(sink, "", &wait.cause);
            self.tell(&format!("{}: {told}; nothing is lost meanwhile", self.job));
        }
        for sink in self.waiting.iter().filter(|sink| !now.contains_key(*sink)) {
            self.tell(&format!("{}: '{sink}' is no longer waiting", self.job));
        }
        self.waiting = now.into_keys().collect();
    }

    /// Says once that the job waits, then every few minutes, and once that it no longer does; without progress, too: users have to
    /// know of this, too.
    fn tell_of_the_jobs_wait(&mut self) {
        let (waiting, now) = ((self.waiting_for)(), self.env.now());
        match waiting {
            Some(what) if self.next_wait.is_none_or(|next| now >= next) => {
                self.next_wait = Some(now + TELL_OF_WAIT_EVERY);
                self.tell_anybody(&format!("{}: {what}; nothing is lost meanwhile", self.job));
            }
            None if self.next_wait.take().is_some() => self.tell_anybody(&format!("{}: no longer waiting", self.job)),
            _ => {}
        }
    }

    fn tell_anybody(&self, line: &str) {
        match self.style {
            Style::None => eprintln!("{line}"),
            _ => self.tell(line),
        }
    }

    fn tell(&self, line: &str) {
        match self.style {
            Style::Bar => self.bar.println(line),
            Style::Lines => eprintln!("{line}"),
            Style::None => {}
        }
    }

    fn message(&self, events: u64, bytes: u64) -> String {
        let status = self.observers.status();
        let restored = self.observers.restored();
        if restored.is_under_way() {
            return text::restoring(restored.restored_bytes, restored.bytes);
        }
        let rate = self.rate.per_second().round() as u64;
        let mut message = format!("{} events, {} events/s", text::number(events), text::number(rate));
        if let Some(Total::Bytes(total)) = self.total {
            message.push_str(&format!(", {} of {}", text::bytes(bytes.min(total)), text::bytes(total)));
        }
        if self.next_wait.is_some() {
            message.push_str(", waits");
        } else if let Some(sink) = self.waiting.first() {
            message.push_str(&format!(", '{sink}' waits"));
        }
        if let Some(checkpoint) = status.committed {
            message.push_str(&format!(", checkpoint {checkpoint} committed"));
        }
        message.push_str(&format!(", {} s", (self.env.now() - self.started).as_secs()));
        message
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The sum over the sources, if all have an end that is known.
fn total(graph: &JobGraph, extensions: &Extensions) -> Option<Total> {
    let sources = graph.nodes.iter().filter(|node| node.role == NodeRole::Source);
    let mut totals = sources.map(|source| extensions.stored_source(source).ok()?.total());
    let first = totals.next()??;
    totals.try_fold(first, |sum, total| match (sum, total?) {
        (Total::Events(sum), Total::Events(more)) => Some(Total::Events(sum + more)),
        (Total::Bytes(sum), Total::Bytes(more)) => Some(Total::Bytes(sum + more)),
        _ => None,
    })
}
