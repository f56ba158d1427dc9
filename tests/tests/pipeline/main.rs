//! The whole of maskline as a person sees it: five services, each a process of
//! its own, on the embedded queue, a folder and SQLite, and again on RabbitMQ, S3
//! and MongoDB.

mod books;
mod jaeger;
mod killed;
mod observability;
mod poison;
mod secrets;
mod traces;
mod twice;

macro_rules! everywhere {
    ($($area:ident::$test:ident),* $(,)?) => {
        mod embedded {
            use maskline_tests::place::Place;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    crate::$area::$test(&mut Place::embedded()).await;
                }
            )*
        }

        mod servers {
            use maskline_tests::place::Place;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let mut place = Place::servers().await;
                    crate::$area::$test(&mut place).await;
                    place.remove().await;
                }
            )*
        }
    };
}

everywhere! {
    books::a_list_of_urls_ends_in_books_a_dataset_and_a_model_that_learnt,
    books::a_folder_of_classes_ends_in_books_and_a_dataset,
    killed::a_killed_validator_loses_nothing,
    poison::what_is_no_message_goes_to_the_dead_letters_and_the_rest_flows_on,
    traces::every_image_is_one_trace_through_all_stages,
    twice::twice_shuffled_and_by_two_replicas_gives_the_same_dataset,
}
