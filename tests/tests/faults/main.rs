//! A few faults of each quick kind. The program `tests/faults` executes all kinds, and many
//! more faults of each.

mod checks;

use maskline_tests::faults::kinds::KINDS;

/// The seed of all random choices and pictures.
const SEED: u64 = 1;

async fn smoke(name: &str) {
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let kind = kind.expect("there is such a kind");
    let amount = kind.smoke.expect("the kind is quick enough");
    let outcome = kind.execute(amount, SEED).await;
    assert!(outcome.is_good(), "{:#?}", outcome.problems);
    let done = outcome.skipped.is_some() || outcome.faults >= amount.faults;
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
    killed_services_lose_nothing: "kill",
    terminated_services_begin_no_message_twice: "term",
    services_wait_for_a_restarted_rabbitmq: "rabbitmq",
    services_reconnect_after_a_reset: "reset",
    services_wait_for_room_on_a_full_disk: "disk",
    a_killed_process_with_everything_embedded_loses_nothing: "embedded",
    poison_is_dead_lettered_and_disturbs_nothing: "poison",
    dead_letters_are_replayed_when_their_cause_is_gone: "replay",
    a_message_that_is_handled_twice_has_no_second_effect: "unsettled",
    two_storers_that_freeze_the_same_job_make_one_dataset: "freeze",
    a_trainer_resumes_the_run_of_a_killed_one: "training",
}
