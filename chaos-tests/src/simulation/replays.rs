//! Users who count minutes again while the job runs and after it has ended: `weir replay` in a process of its own on a host of
//! its own, which may end and stand still like any other. A command that fails is given again.
//!
//! Whenever somebody looks, each minute and each list must be as it was, or right. At the end all is counted again, twice: the
//! second time must change nothing, and what is left is compared with the archive, too (`weir reconcile`).

use super::hosts::{Started, World};
use crate::{
    job::{JOB, JobConfig},
    oracle::{Expected, Rules, replayed},
    simulation::{plan::Plan, wrong::WrongPart},
    table::{self, Contents},
};
use anyhow::{Result, anyhow, ensure};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use weir_engine::{
    checkpoint::CheckpointStore,
    env::Env,
    error::{EngineError, ErrorKind},
    graph::JobGraph,
    task::StopSignal,
    wire,
};
use weir_jobs::{CompileOptions, recalculation::Recalculation};
use weir_local::{Settings, Submission};
use weir_operators::source::files::EventTimeRange;
use weir_recalculation::{
    ground::{Asked, Chosen},
    place::{Place, PlaceSettings},
    reconcile::{Comparison, reconcile},
    replay::Replay,
};

/// How often somebody who waits looks again.
const PAUSE: Duration = Duration::from_millis(50);
const MINUTE_MS: i64 = 60_000;

/// So many users count again.
pub const REPLAYERS: usize = 2;

/// The host of a user who counts again, from 1.
pub fn replayer(number: usize) -> String {
    format!("replay-{number}")
}

/// A replay that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedReplay {
    /// When.
    pub when: When,
    /// On which host, from 1.
    pub host: usize,
    /// The first minute, from the first one that there are clicks of; none: all from the beginning.
    pub from: Option<i64>,
    /// The first minute that is out; none: all to the end.
    pub to: Option<i64>,
    /// What somebody does to the tables just before.
    pub damage: Option<Damage>,
}

/// When a replay is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Then. If there is nothing yet that may be replaced, it is let be.
    At(Duration),
    /// When the job has ended.
    AtEnd,
}

/// What is done to the tables that nobody should do: to every third minute, from this one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Counts are changed.
    Changed(i64),
    /// Counts are removed.
    Removed(i64),
    /// There are counts of an ad that nobody clicked.
    Added(i64),
    /// The second places of lists are removed.
    Lists,
}

impl Damage {
    fn statement(self) -> String {
        let third = |minute: i64| format!("(click_minute / 60000) % 3 = {}", minute.rem_euclid(3));
        match self {
            Damage::Changed(minute) => format!("UPDATE ad_counts SET count = count + 1 WHERE {}", third(minute)),
            Damage::Removed(minute) => format!("DELETE FROM ad_counts WHERE {}", third(minute)),
            // Of minutes that are over: what is there with revision 0 says so.
            Damage::Added(minute) => format!(
                "INSERT OR IGNORE INTO ad_counts (click_minute, filter_id, ad_id, count, revision) \
                 SELECT DISTINCT click_minute, filter_id, 'nobody', 7, 0 FROM ad_counts WHERE revision >= 0 AND {}",
                third(minute)
            ),
            Damage::Lists => "DELETE FROM top_ads WHERE rank = 2".into(),
        }
    }
}

/// All that users who count again share. Cheap to clone.
#[derive(Clone)]
pub struct Replays(Arc<Shared>);

struct Shared {
    planned: Vec<PlannedReplay>,
    recalculation: Recalculation,
    rules: Rules,
    /// The folder of the database.
    output: PathBuf,
    /// What all input says.
    expected: Expected,
    begin_ms: i64,
    board: Mutex<Board>,
}

/// How far they have come.
#[derive(Default)]
struct Board {
    job_is_over: bool,
    /// Those that are over, whatever came of them.
    over: BTreeSet<usize>,
    /// Those whose tables were damaged.
    damaged: BTreeSet<usize>,
    /// Those at work.
    at_work: BTreeMap<usize, AtWork>,
    /// All that anybody has begun to replace.
    spans: Vec<replayed::Span>,
    seen: Seen,
    wrong: Option<String>,
}

/// A replay that is at work.
#[derive(Clone)]
struct AtWork {
    span: replayed::Span,
    /// What was there when it began.
    before: Contents,
    /// The first of the spans that others may replace meanwhile.
    since: usize,
}

/// What was seen of the tables at the end.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When the job was over.
    pub before: Contents,
    /// Spans that were replaced before that.
    pub spans: Vec<replayed::Span>,
    /// Each time that all was counted again.
    pub after: Vec<Contents>,
    /// How many replays before the end came to theirs.
    pub replays: usize,
}

impl Replays {
    /// For a plan with replays; the clicks are in `input`, the database is below `output`.
    ///
    /// # Errors
    /// When the definition is refused, or the input cannot be counted.
    pub fn new(plan: &Plan, config: &JobConfig, root: &Path, input: &Path, output: &Path) -> Result<Self> {
        // Whoever counts again has put right what was written wrong.
        let config = JobConfig { wrong_filter: false, ..config.clone() };
        let file = output.join("ad_click.toml");
        std::fs::create_dir_all(output)?;
        std::fs::write(&file, config.definition(&root.join("input"), &root.join("output")))?;
        let options = CompileOptions { parallelism: Some(config.parallelism), ..CompileOptions::default() };
        let recalculation = Recalculation::load(&file, &[], &options).map_err(|refusal| anyhow!("{refusal}"))?;
        let rules = config.rules();
        let expected = crate::oracle::recount(input, &rules)?;
        let (planned, output, begin_ms) = (plan.replays.clone(), output.to_owned(), plan.workload.begin_ms());
        let board = Mutex::default();
        Ok(Replays(Arc::new(Shared { planned, recalculation, rules, output, expected, begin_ms, board })))
    }

    /// The rules that are right.
    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock()
    }

    /// The job is over. What is in the tables is remembered.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn set_job_over(&self) -> Result<()> {
        if self.board().job_is_over {
            return Ok(());
        }
        let contents = table::contents(&self.0.output)?;
        let mut board = self.board();
        board.job_is_over = true;
        board.seen.before = contents;
        board.seen.spans = board.spans.clone();
        Ok(())
    }

    /// Whether nobody wants to replace anything any more.
    pub fn are_over(&self) -> bool {
        self.board().over.len() == self.0.planned.len()
    }

    /// What was seen at the end.
    pub fn seen(&self) -> Seen {
        self.board().seen.clone()
    }

    /// Looks at the tables, if somebody is replacing something.
    ///
    /// # Errors
    /// When a minute or a list is neither as it was nor right, now or at the end of a replay.
    pub fn look(&self) -> Result<()> {
        let at_work: Vec<_> = {
            let board = self.board();
            if let Some(wrong) = &board.wrong {
                return Err(anyhow!("{wrong}"));
            }
            board.at_work.values().cloned().collect()
        };
        if at_work.is_empty() {
            return Ok(());
        }
        let now = shown(&table::contents(&self.0.output)?);
        let right = replayed::Shown::right(&self.0.expected);
        for AtWork { span, before, .. } in at_work {
            let wrong = replayed::wrong_meanwhile(&now, &shown(&before), &right, span, &self.0.rules);
            ensure!(wrong.is_empty(), "while {span:?} is replaced: {}", wrong.join("\n"));
        }
        Ok(())
    }

    /// What a host does next; none: nothing yet.
    fn due(&self, host: usize, elapsed: Duration) -> Option<usize> {
        let board = self.board();
        let mut own = self.0.planned.iter().enumerate().filter(|(_, planned)| planned.host == host);
        let (index, next) = own.find(|(index, _)| !board.over.contains(index))?;
        let is_due = match next.when {
            When::At(at) => at <= elapsed,
            // All others have had their turn.
            When::AtEnd => board.job_is_over && self.earlier(index).all(|earlier| board.over.contains(&earlier)),
        };
        is_due.then_some(index)
    }

    fn earlier(&self, index: usize) -> impl Iterator<Item = usize> {
        0..index
    }

    /// Whether the tables are damaged as planned, if they are to be.
    fn damage(&self, index: usize) -> Result<bool> {
        let Some(damage) = self.0.planned[index].damage.filter(|_| !self.board().damaged.contains(&index)) else {
            return Ok(true);
        };
        if !table::change(&self.0.output, damage.statement())? {
            return Ok(false);
        }
        let mut board = self.board();
        board.damaged.insert(index);
        // What others compare with is not what was there before any more.
        board.at_work.clear();
        Ok(true)
    }

    fn begins(&self, index: usize, range: EventTimeRange) -> Result<()> {
        let contents = table::contents(&self.0.output)?;
        let mut board = self.board();
        let span = (range.from_ms, range.to_ms);
        let since = board.at_work.values().map(|other| other.since).min().unwrap_or(board.spans.len());
        board.spans.push(span);
        board.at_work.insert(index, AtWork { span, before: contents, since });
        Ok(())
    }

    fn is_through(&self, index: usize) -> Result<()> {
        let contents = table::contents(&self.0.output)?;
        let right = replayed::Shown::right(&self.0.expected);
        let mut board = self.board();
        board.over.insert(index);
        let is_last = self.0.planned[index].when == When::AtEnd;
        if is_last {
            board.seen.after.push(contents.clone());
        } else {
            board.seen.replays += 1;
        }
        if let Some(AtWork { span, since, .. }) = board.at_work.remove(&index)
            && !is_last
        {
            let spans = &board.spans[since..];
            let wrong = replayed::wrong_after(&shown(&contents), &right, span, spans, &self.0.rules);
            if !wrong.is_empty() {
                board.wrong = Some(format!("after {span:?} was replaced: {}", wrong.join("\n")));
            }
        }
        Ok(())
    }

    fn is_let_be(&self, index: usize) {
        let mut board = self.board();
        board.over.insert(index);
        board.at_work.remove(&index);
    }
}

impl Shared {
    /// From the first minute that there are clicks of to the last one.
    fn all(&self) -> EventTimeRange {
        let last = self.expected.counts.keys().map(|(_, minute, _)| *minute).max().unwrap_or(self.begin_ms);
        EventTimeRange { from_ms: self.begin_ms, to_ms: last + MINUTE_MS }
    }
}

/// As somebody sees it who asks for counts.
pub fn shown(contents: &Contents) -> replayed::Shown {
    let counts = contents.counts.iter().map(|(key, (count, _))| (key.clone(), *count));
    let lists = contents.lists.iter().map(|(key, (ad, count, _))| (key.clone(), (ad.clone(), *count)));
    replayed::Shown { counts: counts.collect(), lists: lists.collect() }
}

/// A process that gives one command.
pub async fn run_replayer(world: World, number: usize) -> turmoil::Result {
    let started = world.boot(&replayer(number));
    let env = started.env.clone();
    let software = give_command(&world, &started, number, &env);
    world.live(started.clone(), software).await;
    Ok(())
}

async fn give_command(world: &World, started: &Started, number: usize, env: &Env) -> Result<()> {
    let Some(replays) = &world.replays else { return Ok(()) };
    let index = loop {
        match replays.due(number, world.trace.elapsed()) {
            Some(index) if replays.damage(index)? => break index,
            _ => env.sleep(PAUSE).await,
        }
    };
    let planned = &replays.0.planned[index];
    started.process.tell(format_args!("replay {index}: {planned:?}"));
    match replay(world, replays, index, env).await {
        Ok(()) => {
            world.trace.note(format!("{}: replay {index} is through", replayer(number)));
            replays.is_through(index)
        }
        Err(error) if error.kind == ErrorKind::Definition && planned.when != When::AtEnd => {
            world.trace.note(format!("{}: replay {index} is refused: {error}", replayer(number)));
            replays.is_let_be(index);
            Ok(())
        }
        Err(error) if error.kind == ErrorKind::Fenced && planned.when != When::AtEnd => {
            world.trace.note(format!("{}: replay {index} is replaced: {error}", replayer(number)));
            replays.is_let_be(index);
            Ok(())
        }
        Err(error) => Err(anyhow!("replay {index}: {:?}: {error}", error.kind)),
    }
}

/// The command.
async fn replay(world: &World, replays: &Replays, index: usize, env: &Env) -> Result<(), EngineError> {
    let (shared, planned) = (&replays.0, &replays.0.planned[index]);
    let storage = world.storage.clone();
    let settings = PlaceSettings {
        store: None,
        archive: None,
        checkpoints: "simulated".into(),
        open_checkpoints: Arc::new(move |_, job| Ok(CheckpointStore::over(storage.clone(), job))),
        patience: None,
    };
    let place = Place::open(shared.recalculation.clone(), settings, env).await?;
    let (_, ground) = place.look(env, |_| {}).await?;
    let at = |minute: Option<i64>| minute.map(|minute| shared.begin_ms + minute * MINUTE_MS);
    let asked = Asked { from_ms: at(planned.from), to_ms: at(planned.to) };
    let chosen = match world.wrong {
        Some(WrongPart::ReplayReplacesWhatIsOpen) => Chosen { range: shared.all(), widened: false, final_until: None },
        _ => ground.choose(asked)?,
    };
    let range = chosen.range;
    replays.begins(index, range).map_err(internal)?;
    let replay = Replay::begin(&place, env, chosen, fingerprint).await?;
    world.trace.note(format!("replay {} of {range:?} begins or goes on", replay.record().number));
    let job = replay.job()?;
    let store = place.checkpoints(&job.graph.name)?;
    let submission = Submission::new(fingerprint(&job.graph));
    let settings = Settings::new(job.graph, store, env.clone(), world.factory.clone());
    let settings = Settings { channel_bytes: world.plan.job.channel_bytes, ..settings };
    let outcome = weir_local::run(settings, submission, StopSignal::default()).await?;
    if !outcome.manifest.last {
        return Err(EngineError::internal("the replay's job ended before its input"));
    }
    match world.wrong {
        Some(wrong) if wrong.is_of_replays() => wrong.replace(&place, &replay, env).await?,
        _ => replay.replace(|_| {}).await?,
    }
    replay.finish().await?;
    let is_second_at_the_end = planned.when == When::AtEnd && !replays.board().seen.after.is_empty();
    if is_second_at_the_end { compare(&place, env).await } else { Ok(()) }
}

/// `weir reconcile`, when all is over.
async fn compare(place: &Place, env: &Env) -> Result<(), EngineError> {
    let (parts, ground) = place.look(env, |_| {}).await?;
    let comparison = Comparison {
        job: JOB,
        tables: &place.tables,
        archive: &place.archive,
        parts: &parts,
        range: ground.choose(Asked::default())?.range,
        most_differences: 5,
    };
    let report = reconcile(&place.store, &comparison).await?;
    match report.agrees() && report.matching > 0 {
        true => Ok(()),
        false => Err(EngineError::internal(format!("store and archive differ: {report:?}"))),
    }
}

fn fingerprint(graph: &JobGraph) -> String {
    let mut hasher = DefaultHasher::new();
    if let Ok(bytes) = wire::to_json(graph) {
        bytes.hash(&mut hasher);
    }
    hasher.finish().to_string()
}

fn internal(error: anyhow::Error) -> EngineError {
    EngineError::internal(format!("{error:#}"))
}
