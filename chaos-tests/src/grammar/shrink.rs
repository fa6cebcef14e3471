//! Makes a case that fails smaller as long as it still fails: fewer sinks and what leads to them alone, fewer calls, fewer rows.

use super::{
    draw::Case,
    job::{Body, Job},
};

/// How often a case is tried again at most.
const MOST_TRIALS: usize = 80;

/// The smallest case found that fails like this one.
pub async fn shrink(case: Case, mut fails: impl AsyncFnMut(&Case) -> bool) -> Case {
    let mut smallest = case;
    let mut trials = 0;
    'again: loop {
        for smaller in candidates(&smallest) {
            if trials == MOST_TRIALS {
                return smallest;
            }
            trials += 1;
            if fails(&smaller).await {
                smallest = smaller;
                continue 'again;
            }
        }
        return smallest;
    }
}

/// What is a little smaller, the largest steps first.
fn candidates(case: &Case) -> Vec<Case> {
    let with_job = |job: Job| Case { job: pruned(job), ..case.clone() };
    let mut all = Vec::new();
    if case.job.sinks.len() > 1 {
        // Half of the sinks, and all but one.
        let half = case.job.sinks.len() / 2;
        for sinks in [&case.job.sinks[..half], &case.job.sinks[half..]] {
            all.push(with_job(Job { sinks: sinks.to_vec(), ..case.job.clone() }));
        }
        for at in 0..case.job.sinks.len() {
            let mut job = case.job.clone();
            job.sinks.remove(at);
            all.push(with_job(job));
        }
    }
    for (source, files) in case.input.sources.iter().enumerate() {
        for (file, rows) in files.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let half = rows.len() / 2;
            for kept in [&rows[..half], &rows[half..]].into_iter().filter(|kept| kept.len() < rows.len()) {
                let mut smaller = case.clone();
                smaller.input.sources[source][file] = kept.to_vec();
                all.push(smaller);
            }
        }
    }
    for (at, node) in case.job.nodes.iter().enumerate() {
        let Body::Aggregate { calls, .. } = &node.body else { continue };
        // The first counts rows.
        for call in 1..calls.len() {
            let mut job = case.job.clone();
            let name = calls[call].name.clone();
            if let Body::Aggregate { calls, .. } = &mut job.nodes[at].body {
                calls.remove(call);
            }
            job.nodes[at].columns.retain(|column| column.name != name);
            all.push(with_job(job));
        }
    }
    all
}

/// Without nodes that lead to no sink.
fn pruned(mut job: Job) -> Job {
    loop {
        let leads_on =
            |name: &str| job.readers(name).next().is_some() || job.sinks.iter().any(|sink| sink.node == name);
        let kept: Vec<_> = job.nodes.iter().filter(|node| leads_on(&node.name)).cloned().collect();
        if kept.len() == job.nodes.len() {
            break;
        }
        job.nodes = kept;
    }
    let reads = |name: &str| {
        job.nodes.iter().any(|node| match &node.body {
            Body::Aggregate { key, .. } => key.iter().any(|column| column == name),
            _ => false,
        })
    };
    if !reads("filter_id") {
        job.filters.clear();
    }
    job
}
