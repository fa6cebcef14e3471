//! Chaos on real processes in network namespaces, for as many faults as wanted. Needs root, and prints every fault, what was compared
//! with the recount, and how long each kind of fault was felt; ends with an error when a result is wrong or none comes any more.
//!
//! ```text
//! cargo run --release -p weir-chaos-tests --bin chaos -- --seed 7 --faults 100 --timeline chaos.html
//! cargo run --release -p weir-chaos-tests --bin chaos -- --seed 7 --faults 100 --schedule        # only says what would happen
//! cargo run --release -p weir-chaos-tests --bin chaos -- --faults 20 --only 'worker killed' --json
//! ```

use anyhow::{Context, Result, bail};
use std::{path::PathBuf, time::Duration};
use weir_chaos_tests::cluster::chaos::{ChaosRun, timeline};

const USAGE: &str = "use --seed N, --faults N, --only KIND (as 'worker killed' or 'storage cut off for a minute'), \
                     --heartbeat-timeout-ms N, --interval-ms N, --timeline FILE.html, --json, or --schedule, which only says what would happen";

fn main() -> Result<()> {
    let mut run = ChaosRun::long(1, 100);
    let mut page: Option<PathBuf> = None;
    let (mut is_json, mut only_says) = (false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--json" => is_json = true,
            "--schedule" => only_says = true,
            "--timeline" => page = Some(arguments.next().context("--timeline needs a file")?.into()),
            "--only" => run.only = Some(arguments.next().context("--only needs a kind of fault")?),
            "--seed" | "--faults" | "--heartbeat-timeout-ms" | "--interval-ms" => {
                let value = arguments.next().with_context(|| format!("{name} needs a number"))?;
                let number: u64 = value.parse().with_context(|| format!("{name} {value}: not a number"))?;
                match name.as_str() {
                    "--seed" => run.seed = number,
                    "--faults" => run.faults = number as usize,
                    "--interval-ms" => run.checkpoint_interval = Duration::from_millis(number.max(1)),
                    _ => run.heartbeat_timeout = Duration::from_millis(number),
                }
            }
            _ => bail!("there is no {name}; {USAGE}"),
        }
    }
    if only_says {
        for step in run.schedule() {
            println!("{step}");
        }
        return Ok(());
    }
    println!("seed {}", run.seed);
    let report = run.run()?.context("it cannot run here")?;
    if let Some(page) = page {
        std::fs::write(&page, timeline::page(&report)).with_context(|| format!("cannot write {}", page.display()))?;
    }
    println!("{report}");
    if is_json {
        println!("{:#}", report.json());
    }
    Ok(())
}
