//! Services that are killed between the confirmation of what follows from a message and
//! its acknowledgement.
//!
//! A [`Gate`] withholds the acknowledgement, which a service sends only after all
//! confirmations. The two messages that no delivery causes (a dataset is ready, a model
//! is trained) are withheld the other way round: RabbitMQ has confirmed them, and the
//! service is killed before it can do anything with it.

use maskline_messages::Queue;

use super::{
    Trial,
    crew::{Crew, FIVE, Member},
    gate::{Gate, Withheld},
    round::Round,
};
use crate::{
    place::{Place, Server},
    within,
};

/// A service, and where it is killed.
type Hop = (&'static str, Withheld);

/// Acknowledgements of a queue with many messages that come through before, at most.
const BEFORE: usize = 30;

fn acknowledgement(queue: Queue, nth: u32) -> Withheld {
    Withheld::Acknowledgement { queue, nth }
}

/// Every hop; each job takes one of each service, in the order in which they come.
pub async fn at_every_hop(trial: &mut Trial) {
    for _ in 0..trial.dose.faults {
        let mut any = || u32::try_from(trial.pick(BEFORE) + 1).expect("a small number");
        let jobs: [Vec<Hop>; 3] = [
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
        for hops in jobs {
            job(trial, &hops).await;
        }
    }
}

async fn job(trial: &mut Trial, hops: &[Hop]) {
    let place = Place::servers().await;
    let gated = |service: &str| hops.iter().any(|(gated, _)| *gated == service);
    let others: Vec<&str> = FIVE.into_iter().filter(|service| !gated(service)).collect();
    let mut crew = Crew::start(&place, &others).await;
    let mut gates = vec![];
    for &(service, withheld) in hops {
        let gate = Gate::to(place.listens(Server::Broker), withheld).await;
        let way = place.by_way_of(gate.address, Server::Broker);
        crew.join(&place, service, vec![way]).await;
        gates.push((service, withheld, gate));
    }
    // A trainer is among them in every job, so that there is a model.
    let mut round = Round::begin(trial, place, crew).await;
    for (service, withheld, gate) in gates {
        within(service, gate.shut()).await;
        let dies = |member: &Member| member.service == service;
        round.crew.succeed(&round.place, dies).await;
        trial.struck(format_args!("kill -9 of the {service} before {withheld:?}"));
    }
    round.end(trial).await;
}
