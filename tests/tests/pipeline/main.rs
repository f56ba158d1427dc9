//! The whole of maskline as a user sees it: five services, each a process of its own. Most
//! tests run twice, on the embedded queue, a folder and SQLite, and on RabbitMQ, S3 and
//! MongoDB.

mod busy_validator;
mod collections;
mod counts;
mod demo;
mod jaeger;
mod killed_validator;
mod manners;
mod models;
mod observability;
mod poison;
mod predecessors;
mod python;
mod real_halves;
mod redelivery;
mod removal;
mod secrets;
mod sources;
mod traces;
mod tuning;

macro_rules! everywhere {
    ($($area:ident::$test:ident),* $(,)?) => {
        mod embedded {
            use maskline_test_support::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$area::$test(&mut Environment::embedded()).await;
                }
            )*
        }

        mod servers {
            use maskline_test_support::environment::Environment;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let mut environment = Environment::servers().await;
                    crate::$area::$test(&mut environment).await;
                    environment.remove().await;
                }
            )*
        }
    };
}

everywhere! {
    collections::a_collection_grows_and_its_versions_can_be_compared,
    counts::a_list_of_urls_becomes_a_dataset_and_a_model_and_the_counts_are_right,
    counts::a_folder_of_classes_becomes_a_dataset_and_the_counts_are_right,
    counts::an_archive_of_classes_becomes_the_same_dataset_as_its_folder,
    predecessors::searches_a_page_a_folder_and_a_list_become_one_version_and_a_model,
    removal::a_source_leaves_the_collection_and_the_versions_say_so,
    removal::a_purged_image_leaves_no_byte_and_does_not_come_back,
    killed_validator::a_killed_validator_loses_nothing,
    busy_validator::a_validator_whose_workers_all_hang_answers_and_stops,
    busy_validator::all_services_in_one_process_answer_and_stop_while_its_workers_hang,
    models::a_model_is_asked_about_every_face_and_trained_from,
    manners::four_scrapers_together_keep_the_limits_of_a_host,
    poison::an_unreadable_message_is_dead_lettered_and_disturbs_nothing,
    real_halves::two_halves_of_real_photographs_become_one_collection,
    traces::every_image_is_one_trace_through_all_stages,
    tuning::two_trainers_of_which_one_is_killed_tune_as_one_does,
    sources::an_archive_a_compressed_list_and_a_crawl_become_one_version,
    sources::a_source_that_can_not_be_read_says_so_and_takes_nothing_away,
    redelivery::redelivered_and_shuffled_messages_and_two_replicas_give_the_same_dataset,
}
