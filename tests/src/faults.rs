//! The pipeline while everything around it breaks.
//!
//! A [`Kind`] of fault is done so often to five services, each in two processes, that
//! work on a job whose right answer is known. Whatever was done, in the end the
//! [`verdict`] looks at the catalog, the object store and the broker from outside and
//! finds what an undisturbed run would have left ([`truth`]), or says what it does not.
//!
//! * [`trial`]: one kind being done: its chances, its log and its count.
//! * [`round`]: one job with its services; [`crew`]: their processes.
//! * [`proxy`]: a way to a server that can break; [`gate`]: one to RabbitMQ that lets
//!   through all but one frame; [`node`]: a RabbitMQ to stop and start.
//! * the kinds: [`ended`], [`network`], [`restarted`], [`disk`], [`embedded`],
//!   [`poison`], [`mended`], [`unsettled`], [`frozen_twice`], [`training`], [`clock`].

pub mod clock;
pub mod crew;
pub mod disk;
pub mod embedded;
pub mod ended;
pub mod frozen_twice;
pub mod gate;
pub mod mended;
pub mod network;
pub mod node;
pub mod poison;
pub mod proxy;
pub mod restarted;
pub mod round;
pub mod training;
pub mod trial;
pub mod truth;
pub mod unsettled;
pub mod verdict;

use futures::future::LocalBoxFuture;

pub use trial::{Outcome, Trial};

/// How much of a kind is done.
#[derive(Debug, Clone, Copy)]
pub struct Dose {
    /// Of each of its targets, where it has several.
    pub faults: u32,
    /// Faces of each class in a job.
    pub faces: u64,
}

/// A kind of fault.
pub struct Kind {
    pub name: &'static str,
    pub what: &'static str,
    /// `None`: it takes longer than a smoke test may.
    pub smoke: Option<Dose>,
    pub full: Dose,
    pub run: for<'a> fn(&'a mut Trial) -> LocalBoxFuture<'a, ()>,
}

/// Small enough that a smoke test draws and runs it once.
const SMOKE_FACES: u64 = 40;

const fn few(faults: u32) -> Option<Dose> {
    Some(Dose {
        faults,
        faces: SMOKE_FACES,
    })
}

/// Of a job that lasts long enough to be met by a fault that takes its time.
const fn slow(faults: u32) -> Option<Dose> {
    Some(many(faults, 4 * SMOKE_FACES))
}

const fn many(faults: u32, faces: u64) -> Dose {
    Dose { faults, faces }
}

/// All of them, in the order in which they are done.
pub const KINDS: [Kind; 17] = [
    Kind {
        name: "kill",
        what: "kill -9 of a random service at a random moment",
        smoke: few(4),
        full: many(100, 1_300),
        run: |trial| Box::pin(ended::by_kill(trial)),
    },
    Kind {
        name: "term",
        what: "SIGTERM of a random service: drains, exits 0, nothing begun comes again",
        smoke: few(3),
        full: many(50, 1_300),
        run: |trial| Box::pin(ended::by_term(trial)),
    },
    Kind {
        name: "rabbitmq",
        what: "RabbitMQ ended and started with messages in flight",
        smoke: slow(1),
        full: many(10, 1_300),
        run: |trial| Box::pin(restarted::rabbitmq(trial)),
    },
    Kind {
        name: "reset",
        what: "connections between a service and each server reset",
        smoke: slow(1),
        full: many(10, 500),
        run: |trial| Box::pin(network::reset(trial)),
    },
    Kind {
        name: "frozen",
        what: "connections between a service and each server fall silent for good",
        smoke: None,
        full: many(10, 1_300),
        run: |trial| Box::pin(network::frozen(trial)),
    },
    Kind {
        name: "latency",
        what: "500 ms more between a service and each server, for a while",
        smoke: few(1),
        full: many(10, 500),
        run: |trial| Box::pin(network::latency(trial)),
    },
    Kind {
        name: "s3-away",
        what: "S3 away for 30 s",
        smoke: None,
        full: many(5, 1_000),
        run: |trial| Box::pin(network::objects_away(trial)),
    },
    Kind {
        name: "mongodb-away",
        what: "MongoDB away for 30 s",
        smoke: None,
        full: many(5, 1_000),
        run: |trial| Box::pin(network::catalog_away(trial)),
    },
    Kind {
        name: "disk",
        what: "the object folder's disk full, freed later",
        smoke: slow(1),
        full: many(3, 500),
        run: |trial| Box::pin(disk::full(trial)),
    },
    Kind {
        name: "embedded",
        what: "kill -9 of the one process with everything embedded",
        smoke: few(5),
        full: many(100, 500),
        run: |trial| Box::pin(embedded::killed(trial)),
    },
    Kind {
        name: "poison",
        what: "what is no message, of each sort on each queue",
        smoke: few(1),
        full: many(1, 200),
        run: |trial| Box::pin(poison::on_each_queue(trial)),
    },
    Kind {
        name: "replay",
        what: "messages given up on each queue, replayed after what was wrong is mended",
        smoke: few(1),
        full: many(3, 40),
        run: |trial| Box::pin(mended::replayed(trial)),
    },
    Kind {
        name: "unsettled",
        what: "killed after what follows is confirmed and before the acknowledgement, every hop",
        smoke: few(1),
        full: many(3, 100),
        run: |trial| Box::pin(unsettled::at_every_hop(trial)),
    },
    Kind {
        name: "freeze",
        what: "two storers freeze the same job at the same moment",
        smoke: few(2),
        full: many(20, 100),
        run: |trial| Box::pin(frozen_twice::raced(trial)),
    },
    Kind {
        name: "training",
        what: "the trainer killed in an epoch; the same metrics in the end",
        smoke: few(1),
        full: many(10, SMOKE_FACES),
        run: |trial| Box::pin(training::killed(trial)),
    },
    Kind {
        name: "clock",
        what: "a replica's clock ten minutes off: leases are neither stolen nor kept for ever",
        smoke: None,
        full: many(3, SMOKE_FACES),
        run: |trial| Box::pin(clock::off(trial)),
    },
    Kind {
        name: "none",
        what: "no fault: what the others are compared with",
        smoke: few(1),
        full: many(1, 1_300),
        run: |trial| Box::pin(ended::by_itself(trial)),
    },
];
