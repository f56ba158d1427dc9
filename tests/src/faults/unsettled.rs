//! Services that are killed after their messages are confirmed and before they acknowledge
//! the delivery that caused them.
//!
//! A [`FrameFilter`] withholds the acknowledgement, which a service sends only after all
//! confirmations. Two messages are caused by no delivery: a dataset is ready, and a model is
//! trained. For them the filter withholds RabbitMQ's confirmation instead, and the service is
//! killed before it receives that.

use maskline_messages::Queue;
use maskline_test_support::{
    environment::{Environment, Server},
    wait::within,
};

use super::{
    checks::check_and_remove,
    frame_filter::{FrameFilter, Withheld},
    job_under_test::JobUnderTest,
    replicas::Replicas,
    trial::Trial,
};
use crate::process::SERVICES;

/// A service, and the frame before which it is killed.
type Kill = (&'static str, Withheld);

/// How many acknowledgements of a queue with many messages come through at most.
const BEFORE: usize = 30;

fn acknowledgement(queue: Queue, nth: u32) -> Withheld {
    Withheld::Acknowledgement { queue, nth }
}

/// Kills a service at every hop. A job can have one kill of each service, so that there are
/// three jobs.
pub async fn at_every_hop(trial: &mut Trial) {
    for _ in 0..trial.amount.faults {
        let mut any = || u32::try_from(trial.random_index(BEFORE) + 1).expect("a small number");
        let jobs: [Vec<Kill>; 3] = [
            vec![
                ("scraper", acknowledgement(Queue::ScraperSources, 1)),
                ("validator", acknowledgement(Queue::ValidatorImages, any())),
                ("labeler", acknowledgement(Queue::LabelerImages, any())),
                ("storer", acknowledgement(Queue::StorerImages, any())),
                ("trainer", acknowledgement(Queue::TrainerRequests, 1)),
            ],
            vec![
                ("scraper", acknowledgement(Queue::ScraperCandidates, any())),
                ("storer", acknowledgement(Queue::StorerJobs, 1)),
                (
                    "trainer",
                    Withheld::Confirmation {
                        key: "model.trained",
                    },
                ),
            ],
            vec![(
                "storer",
                Withheld::Confirmation {
                    key: "dataset.ready",
                },
            )],
        ];
        for kills in jobs {
            one_job(trial, &kills).await;
        }
    }
}

async fn one_job(trial: &mut Trial, kills: &[Kill]) {
    let environment = Environment::servers().await;
    let is_killed = |service: &str| kills.iter().any(|(killed, _)| *killed == service);
    let others = SERVICES.into_iter();
    let others: Vec<&str> = others.filter(|service| !is_killed(service)).collect();
    let mut replicas = Replicas::start(&environment, &others).await;
    let mut filters = vec![];
    for &(service, withheld) in kills {
        let filter = FrameFilter::to(environment.host_and_port(Server::Broker), withheld).await;
        let variable = environment.variable_through(filter.address, Server::Broker);
        replicas.add(&environment, service, vec![variable]).await;
        filters.push((service, withheld, filter));
    }
    // Every job has a trainer, so that it asks for a model.
    let mut job = JobUnderTest::enqueue(trial, environment, replicas).await;
    for (service, withheld, filter) in filters {
        within(service, filter.withheld()).await;
        let replicas = &mut job.replicas;
        replicas
            .kill_and_restart_plain(&job.environment, service)
            .await;
        trial.record_fault(format_args!("kill -9 of the {service} before {withheld:?}"));
    }
    check_and_remove(job, trial).await;
}
