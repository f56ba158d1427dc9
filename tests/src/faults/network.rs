//! Faults of the network between a service and a server.

use std::{ops::Range, time::Duration};

use maskline_test_support::environment::{Environment, Server};
use tokio::time::sleep;

use super::{
    checks::check_and_remove,
    job_under_test::JobUnderTest,
    replicas::{Replicas, TWO_OF_EACH},
    trial::Trial,
};

/// The additional latency of a slow connection.
const LATENCY: Duration = Duration::from_millis(500);
/// For how many seconds the connection is slow.
const SLOW: Range<f64> = 2.0..5.0;

/// How long a server is away.
const AWAY: Duration = Duration::from_secs(30);

/// Resets all connections of one service to one server.
pub async fn reset(trial: &mut Trial) {
    for server in Server::ALL {
        cause_faults(trial, server, 0.2..2.0, async |trial, job, index| {
            let replica = &job.replicas.all[index];
            let proxy = replica.proxy(server);
            let connections = proxy.connections();
            if connections > 0 {
                proxy.reset();
                trial.record_fault(format_args!(
                    "{connections} connections of {} to {} reset",
                    replica.title(),
                    server.name()
                ));
            }
        })
        .await;
    }
}

/// Silences all connections of one service to one server, without closing them. The service
/// has to find out by itself.
pub async fn frozen(trial: &mut Trial) {
    for server in Server::ALL {
        cause_faults(trial, server, 0.3..3.0, async |trial, job, index| {
            let replica = &job.replicas.all[index];
            let proxy = replica.proxy(server);
            let connections = proxy.connections();
            if connections > 0 {
                proxy.silence();
                trial.record_fault(format_args!(
                    "{connections} connections of {} to {} fell silent",
                    replica.title(),
                    server.name()
                ));
            }
        })
        .await;
    }
}

/// Delays the answers of one server to one service for a while.
pub async fn latency(trial: &mut Trial) {
    for server in Server::ALL {
        cause_faults(trial, server, 0.2..2.0, async |trial, job, index| {
            let replica = &job.replicas.all[index];
            let proxy = replica.proxy(server);
            proxy.set_latency(LATENCY);
            trial.random_pause(SLOW).await;
            proxy.set_latency(Duration::ZERO);
            trial.record_fault(format_args!(
                "{} received {}'s answers {LATENCY:?} late for a while",
                replica.title(),
                server.name()
            ));
        })
        .await;
    }
}

/// Calls `cause` with the index of a random replica that uses the server, until the trial's
/// number of faults is reached. Before each call it waits for a random number of seconds
/// within `pause`.
async fn cause_faults(
    trial: &mut Trial,
    server: Server,
    pause: Range<f64>,
    cause: impl AsyncFn(&mut Trial, &JobUnderTest, usize),
) {
    let wanted = trial.faults() + trial.amount.faults;
    while trial.needs_another_job(wanted) {
        let job = enqueue(trial).await;
        while trial.faults() < wanted {
            trial.random_pause(pause.clone()).await;
            if job.is_over().await {
                break;
            }
            let users = job.replicas.all.iter().enumerate();
            let users = users.filter(|(_, replica)| replica.uses(server));
            let users: Vec<usize> = users.map(|(index, _)| index).collect();
            let index = users[trial.random_index(users.len())];
            cause(trial, &job, index).await;
        }
        check_and_remove(job, trial).await;
    }
}

pub async fn objects_away(trial: &mut Trial) {
    away(trial, Server::Objects).await;
}

pub async fn catalog_away(trial: &mut Trial) {
    away(trial, Server::Catalog).await;
}

/// Cuts all services off from one server at once, and lets them come back to it.
async fn away(trial: &mut Trial, server: Server) {
    while trial.needs_another_job(trial.amount.faults) {
        let job = enqueue(trial).await;
        while trial.faults() < trial.amount.faults {
            trial.random_pause(0.2..4.0).await;
            let in_flight = job.in_flight().await;
            if in_flight == 0 {
                break;
            }
            set_away(&job, server, true);
            sleep(AWAY).await;
            set_away(&job, server, false);
            trial.record_fault(format_args!(
                "{} away for {AWAY:?} with {in_flight} candidates in flight",
                server.name()
            ));
        }
        check_and_remove(job, trial).await;
    }
}

fn set_away(job: &JobUnderTest, server: Server, away: bool) {
    for replica in &job.replicas.all {
        replica.proxy(server).set_away(away);
    }
}

async fn enqueue(trial: &Trial) -> JobUnderTest {
    let environment = Environment::servers().await;
    let replicas = Replicas::start_behind_proxies(&environment, &TWO_OF_EACH).await;
    JobUnderTest::enqueue(trial, environment, replicas).await
}
