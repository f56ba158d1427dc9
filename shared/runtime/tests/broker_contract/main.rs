//! The contract between every broker and its callers, and what RabbitMQ's connections promise
//! besides.
//!
//! RabbitMQ is the server at `MASKLINE_TEST_RABBITMQ`, with its management API at
//! `MASKLINE_TEST_RABBITMQ_HTTP`. Every test has a virtual host of its own there and deletes it.

mod connection;
mod consuming;
mod dead_letters;
mod messages;
mod publishing;
mod retrying;

use maskline_test_support::environment::Environment;

/// The variable that only a test's child process has. Its value is the broker's address.
const CHILD: &str = "MASKLINE_TEST_CHILD";

/// An environment on RabbitMQ. A child process uses its parent's broker, and needs none.
async fn rabbitmq() -> Environment {
    let environment = Environment::embedded();
    match std::env::var_os(CHILD) {
        Some(_) => environment,
        None => environment.on_rabbitmq().await,
    }
}

macro_rules! tests {
    ($environment:expr => $($group:ident::$test:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $environment.run_test($crate::$group::$test).await;
            }
        )*
    };
}

macro_rules! contract {
    ($($group:ident::$test:ident),* $(,)?) => {
        mod embedded {
            tests!(crate::Environment::embedded() => $($group::$test),*);
        }

        mod rabbitmq {
            tests!(crate::rabbitmq().await => $($group::$test),*);
        }
    };
}

contract! {
    publishing::a_message_comes_as_it_was_sent,
    publishing::a_published_message_outlives_the_connection,
    publishing::a_message_goes_to_the_queue_of_its_key,
    publishing::a_key_without_a_queue_is_an_error,
    publishing::messages_come_in_the_order_they_were_published,
    publishing::a_body_that_is_too_large_is_refused,
    publishing::a_full_queue_refuses_and_drops_nothing,
    publishing::it_answers_a_ping,
    publishing::depths_count_the_messages_that_wait,
    consuming::an_acknowledged_message_is_forgotten,
    consuming::a_dropped_delivery_comes_again,
    consuming::a_released_message_comes_again_as_it_was,
    consuming::no_more_than_the_prefetch_is_in_hand,
    consuming::two_consumers_share_a_queue,
    consuming::a_waiting_consumer_is_notified,
    consuming::a_closed_consumer_gives_back_what_it_did_not_return,
    consuming::a_dropped_consumer_gives_back_what_it_did_not_return,
    consuming::a_closed_broker_gives_back_what_is_unsettled,
    consuming::a_killed_process_loses_nothing,
    retrying::a_retried_message_comes_later_with_one_more_attempt,
    retrying::attempts_add_up,
    retrying::a_postponed_message_comes_later_with_the_same_attempts,
    retrying::a_short_wait_is_not_held_up_by_a_long_one,
    retrying::a_retry_outlives_the_connection,
    retrying::a_retry_keeps_the_key,
    dead_letters::a_dead_letter_has_its_queue_its_reason_and_its_attempts,
    dead_letters::dead_letters_are_listed_oldest_first_and_left_there,
    dead_letters::a_replayed_message_begins_anew,
    dead_letters::all_dead_letters_are_replayed_at_once,
    dead_letters::dropped_dead_letters_are_gone,
    dead_letters::unknown_ids_change_nothing,
}

mod rabbitmq_only {
    tests!(crate::rabbitmq().await =>
        connection::publishing_and_consuming_survive_lost_connections,
        connection::a_delivery_of_a_lost_connection_is_stale_and_comes_again,
        connection::a_node_that_is_away_is_passed_over,
        connection::a_node_that_falls_silent_is_left_for_another,
        connection::depths_can_be_asked_for_any_number_of_times,
        connection::a_retry_waits_until_the_delay_queue_has_room,
        connection::a_retry_goes_past_a_delay_queue_that_takes_nothing,
        connection::a_delayed_message_waits_for_room_in_its_queue,
        connection::a_silent_broker_is_given_up_and_come_back_to,
        connection::a_deleted_queue_is_an_error_once_and_made_again,
        connection::a_message_that_nobody_settles_ends_in_the_dead_letters,
        connection::headers_of_other_types_are_kept,
        connection::a_wrong_address_is_explained_without_its_password,
        connection::queues_with_other_arguments_are_a_misconfiguration,
    );
}
