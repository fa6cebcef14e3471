//! The whole cluster, simulated.

use weir_chaos_tests::simulation::{Outcome, Plan, run};

fn right(plan: &Plan) -> Outcome {
    let outcome = run(plan);
    if let Err(error) = &outcome.verdict {
        panic!("{plan}\n{}\n{error:#}", outcome.story.join("\n"));
    }
    outcome
}

#[test]
fn a_calm_run_is_right() {
    let outcome = right(&Plan::calm(1));
    println!("{}\ntook {:?}", outcome.story.join("\n"), outcome.took);
}
