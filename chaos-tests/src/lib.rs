//! Faults, and the oracle that checks what they leave behind.
//!
//! A [`workload`] is written as click logs, JSON lines or Parquet; the ad-click [`job`] counts it, whole and in one process
//! ([`bench`]), while it is crashed ([`crash`]), its storage fails, or it is frozen and replaced ([`faults`]). At the end what its sinks
//! have made visible ([`results`]) is compared ([`check`]) with a recount of the same files by code that shares nothing
//! with it ([`oracle`]).
//!
//! | Property | Pitfall | Test |
//! |---|---|---|
//! | A replaced run cannot complete a checkpoint, and what it still does is not seen | zombies; garbage collection against restore | `tests/faults/zombies.rs` |
//! | A commit that is repeated, half done or whose answer is lost changes nothing | re-commit on restore; commit notification lost; 412 after one's own success | `tests/crashes.rs`, `tests/faults/storage.rs` |
//! | A crash between any two steps of the run, the checkpoint, the commit and the recovery changes nothing | coordinator dies after the manifest, before the commit, before the mark | `tests/crashes.rs` |
//! | State and uncommitted results survive any rescale | rescale with open intents | `tests/crashes.rs` (every run has its own parallelism) |
//! | Every row of a join's left side is answered once, with all rows of the right side that fit, whichever barrier came first | alignment of several inputs; state that is read twice | `tests/faults/joins.rs` |
//! | What a join of results has put out is what the newest revisions of both sides give, each revision of it once | corrections and withdrawals of either side; what was put out, over a restore | `tests/faults/joins.rs`, `tests/simulation.rs` |
//! | The last rows of bounded input are committed | bounded sources, last data | every test: the recount is of all input |
//! | What is late does not depend on restarts, parallelism or batches | watermark after restore | `tests/faults/whole_jobs.rs`, `tests/crashes.rs` |
//! | A record has one id in every attempt, and no revision twice | non-deterministic replay | [`results`], in every test |
//! | Duplicates are dropped exactly, across files and crashes | upstream duplicates | every test: a tenth of all clicks are duplicates |
//! | Broken lines are dead letters, once each, and spoil nothing | poison records | every test, `tests/faults/bad_input.rs` |
//! | A row that an expression fails on is a dead letter, once, and in no count | poison records | every test: some users are made for that |
//! | Damaged state is refused by name, and nothing is guessed | silent state corruption | `tests/faults/storage.rs` |
//! | Clicks of files that were silent while windows closed are late, once, with all columns | (idle splits) | `tests/faults/follow.rs` |
//! | A followed file may grow, be rotated, shrink or vanish | (log watcher) | `tests/faults/follow.rs`, `tests/faults/bad_input.rs` |
//! | A cluster survives crashes, power cuts, cuts and delays of the network, failing storage and wrong clocks, and goes on when they are over | all of the above; connection loss mistaken for the end; clock skew | `tests/simulation.rs` |
//! | A simulated process that stands still, hardly or so long that it is replaced, changes nothing when it goes on | zombies | `tests/simulation.rs` |
//! | A request that storage serves long after it was given up changes nothing | a delayed write of an attempt that was fenced | `tests/simulation.rs` |
//! | Topics of Kafka hold every result once, also where brokers are away, slow or stand still, and requests and answers are lost or late | a delayed Produce or EndTxn; progress read wrongly | `tests/faults/kafka_simulation.rs` |
//! | Tables in a database that is slow, down or loses answers hold every result once | re-commit on restore | `tests/simulation.rs` |
//! | A webhook that is down or loses requests and answers gets every revision at least once, the earlier ones first | commit notification lost | `tests/simulation.rs` |
//! | Aggregates of results hold what the newest results say, also of those that come and go | a correction that leaves what it corrects | `tests/crashes.rs`, `tests/simulation.rs` |
//! | Logs that grow, are renamed, copied, truncated, written anew and removed while processes end and stand still are counted once | identity of a followed file | `tests/simulation.rs` |
//! | While minutes are counted again each is as it was or right, also where the tables were wrong; at the end all are right, and once more changes nothing | (recalculation) | `tests/simulation.rs` |
//! | A job that is started over forgets what was before | | `tests/simulation.rs` |
//! | What was said to last on a local disk is there after a power cut, and the job goes on from it | partial upload | `tests/faults/power_cuts.rs` |
//! | Jobs drawn from a grammar of all nodes, crashed and continued at another parallelism, write what DuckDB says of the same rows; with a mistake in them they are refused, with a place | | `tests/faults/grammar.rs` |
//! | One seed gives one run of the simulated cluster | | `tests/simulation.rs` |
//! | The tests notice what is wrong | | `tests/faults/mutants.rs`, `tests/faults/joins.rs`, `tests/simulation.rs`, `tests/faults/kafka_simulation.rs` |
//!
//! The same on real processes ([`cluster`]), which are killed and frozen while input arrives:
//!
//! | Property | Pitfall | Test |
//! |---|---|---|
//! | Workers and coordinators killed at random moments, also while the job is drained, change nothing | | `tests/cluster/kills.rs` |
//! | A process that thaws after it was replaced changes nothing | zombies | `tests/cluster/kills.rs` |
//! | Topics of Kafka hold every result once, also where workers and broker are well, and nothing or only half of it gets through between them | a delayed Produce or EndTxn | `tests/cluster/kafka.rs` |
//! | Whoever is cut off from whom, loses packets or has no room on his disk, results come again and are right | connection loss mistaken for the end; disk full | `tests/cluster/chaos.rs` |
//!
//! The long run, until it is stopped or the time is over, prints the seeds that fail; `--replay` runs one of them again:
//!
//! ```text
//! cargo run --release -p weir-chaos-tests --bin soak -- --seconds 3600 --seed 1
//! cargo run --release -p weir-chaos-tests --bin soak -- --replay 4711
//! cargo run --release -p weir-chaos-tests --bin kill -- --minutes 30 --seed 7    # real processes
//! cargo run --release -p weir-chaos-tests --bin chaos -- --seed 1 --faults 1000 --timeline chaos.html    # in network namespaces
//! cargo run --release -p weir-chaos-tests --bin simulate -- --seeds 10000 --from 1        # the simulated cluster, on all cores
//! cargo run --release -p weir-chaos-tests --bin simulate -- --seed 4711 --verbose          # one of them again, line by line
//! cargo run --release -p weir-chaos-tests --bin simulate -- --seeds 1000 --replays         # those with replays
//! cargo run --release -p weir-chaos-tests --bin simulate -- --seeds 1000 --kafka           # those with topics of Kafka
//! cargo run --release -p weir-chaos-tests --bin grammar -- --jobs 1000 --seed 1            # drawn jobs, against DuckDB
//! cargo run --release -p weir-chaos-tests --bin grammar -- --replay 4711                   # one of them again; what fails is kept
//! WEIR_CHAOS_ALL=1 cargo test --release -p weir-chaos-tests --test crashes      # all pairs of crash points
//! ```

pub mod bench;
pub mod check;
pub mod cluster;
pub mod crash;
pub mod ending;
pub mod faults;
pub mod grammar;
pub mod job;
pub mod joins;
pub mod oracle;
pub mod results;
pub mod simulation;
pub mod table;
pub mod topics;
pub mod workload;
