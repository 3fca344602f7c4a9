//! Random sequences of calls against a simple model of what must be kept: whatever the order of
//! creates, drops, compactions, restores, crashes and runs of the collector, no file that
//! something needs is ever deleted, every other one goes in the end, no half state stays, and
//! the usage figures are those of the files.

mod check;
mod restores;
mod run;
mod snapshots;
mod steps;
mod world;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use run::run;
use steps::{Step, steps};

/// Runs cases; the first that fails is made as short as it can be and printed.
fn cases(number: u32, rng: TestRng, sequences: impl Strategy<Value = Vec<Step>>) {
    let config = Config {
        cases: number,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let outcome =
        TestRunner::new_with_rng(config, rng).run(&sequences, |steps| runtime.block_on(run(&steps)).map_err(TestCaseError::fail));
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("{why}\nin\n{steps:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// The same sequences in every run, so that it fails for the change that broke something.
#[test]
fn whatever_happens_nothing_needed_goes_and_everything_else_does() {
    cases(12, TestRng::deterministic_rng(RngAlgorithm::ChaCha), steps(40..60));
}

/// Other sequences in every run.
#[test]
#[ignore = "takes minutes: make test-long"]
fn whatever_happens_in_many_random_sequences() {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    println!("seed {seed:?}");
    let number = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    cases(
        number.unwrap_or(200),
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed),
        steps(30..100),
    );
}
