//! What breaks costs nothing: a few faults of each quick kind. `tests/faults` does all
//! of them, as often as they should hold.

mod verdict;

use maskline_tests::faults::KINDS;

/// Of every choice and every picture.
const SEED: u64 = 1;

async fn smoke(name: &str) {
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let kind = kind.expect("there is such a kind");
    let dose = kind.smoke.expect("it is quick enough");
    let outcome = kind.try_it(dose, SEED).await;
    assert!(outcome.is_good(), "{:#?}", outcome.problems);
    let done = outcome.skipped.is_some() || outcome.faults >= dose.faults;
    assert!(done, "only {} faults were done", outcome.faults);
}

macro_rules! smoke {
    ($($test:ident: $kind:literal),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                smoke($kind).await;
            }
        )*
    };
}

smoke! {
    services_that_are_killed_lose_nothing: "kill",
    services_that_are_asked_to_stop_begin_nothing_twice: "term",
    a_rabbitmq_that_is_restarted_is_waited_for: "rabbitmq",
    connections_that_are_reset_are_made_anew: "reset",
    a_full_disk_is_waited_for: "disk",
    one_process_with_everything_is_killed_and_loses_nothing: "embedded",
    poison_is_put_aside_and_the_rest_flows_on: "poison",
    what_was_given_up_is_replayed_when_its_cause_is_mended: "replay",
    what_is_done_and_not_settled_is_done_again_to_no_effect: "unsettled",
    two_storers_that_freeze_at_once_make_one_dataset: "freeze",
    a_trainer_goes_on_where_another_was_killed: "training",
}
