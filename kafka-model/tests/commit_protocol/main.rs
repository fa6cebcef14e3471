//! The commit protocol on the model: built right it puts out each row once, whatever befalls it, and each way to build it wrong is
//! noticed. So the model can do the harm that the protocol is there to prevent.

mod scenario;
mod sink;

use scenario::run;
use sink::Wrong;

const SEEDS: u64 = 60;
/// The ways to build it wrong are looked for in so many.
const WRONG_SEEDS: u64 = 300;

#[test]
fn built_right_each_row_is_there_once() {
    for seed in 0..SEEDS {
        if let Err(error) = run(seed, None) {
            panic!("seed {seed}: {error}");
        }
    }
}

#[test]
fn each_way_to_build_it_wrong_is_noticed() {
    let mut unnoticed = Vec::new();
    for wrong in Wrong::ALL {
        match (0..WRONG_SEEDS).find_map(|seed| Some((seed, run(seed, Some(wrong)).err()?))) {
            Some((seed, how)) => println!("{wrong:?}: noticed after {} seeds: {how}", seed + 1),
            None => unnoticed.push(wrong),
        }
    }
    assert!(unnoticed.is_empty(), "not noticed within {WRONG_SEEDS} seeds: {unnoticed:?}");
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [3, 4] {
        assert_eq!(scenario::story(seed, None), scenario::story(seed, None), "seed {seed}");
    }
    assert_ne!(scenario::story(3, None), scenario::story(4, None));
}
