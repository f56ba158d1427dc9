//! The kinds of fault.

use super::{
    clock, disk, embedded, frozen_twice, network, poison, replayed, restarted, signals, training,
    trial::{Amount, Kind},
    unsettled,
};

/// The number of faces in a job that a smoke test draws and runs once.
const SMOKE_FACES: u64 = 40;

const fn few(faults: u32) -> Option<Amount> {
    Some(Amount {
        faults,
        faces: SMOKE_FACES,
    })
}

/// For a fault that takes its time: the job is longer, so that the fault meets it.
const fn slow(faults: u32) -> Option<Amount> {
    Some(many(faults, 4 * SMOKE_FACES))
}

const fn many(faults: u32, faces: u64) -> Amount {
    Amount { faults, faces }
}

/// All kinds of fault, in the order in which they are executed.
pub const KINDS: [Kind; 17] = [
    Kind {
        name: "kill",
        what: "kill -9 of a random service at a random moment",
        smoke: few(4),
        full: many(100, 1_300),
        run: |trial| Box::pin(signals::kill(trial)),
    },
    Kind {
        name: "term",
        what: "SIGTERM of a random service: it drains, exits 0, and begins no message twice",
        smoke: few(3),
        full: many(50, 1_300),
        run: |trial| Box::pin(signals::terminate(trial)),
    },
    Kind {
        name: "rabbitmq",
        what: "RabbitMQ stopped and started with messages in flight",
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
        what: "bodies that are no message, several on each queue",
        smoke: few(1),
        full: many(1, 200),
        run: |trial| Box::pin(poison::on_each_queue(trial)),
    },
    Kind {
        name: "replay",
        what: "messages of each queue dead-lettered, and replayed when the cause is gone",
        smoke: few(1),
        full: many(3, 40),
        run: |trial| Box::pin(replayed::replayed(trial)),
    },
    Kind {
        name: "unsettled",
        what: "a service killed between its confirmed messages and its acknowledgement, every hop",
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
        what: "no fault: the other kinds are compared with it",
        smoke: few(1),
        full: many(1, 1_300),
        run: |trial| Box::pin(signals::none(trial)),
    },
];
