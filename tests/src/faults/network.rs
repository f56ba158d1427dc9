//! What can happen between a service and a server.

use std::{ops::Range, time::Duration};

use tokio::time::sleep;

use super::{
    Trial,
    crew::{Crew, FIVE_TWICE},
    round::Round,
};
use crate::place::{Place, Server};

/// As much more as a bad line takes.
const LATENCY: Duration = Duration::from_millis(500);
/// Seconds that it lasts.
const SLOW: Range<f64> = 2.0..5.0;

const AWAY: Duration = Duration::from_secs(30);

/// All connections of one service to one server are reset.
pub async fn reset(trial: &mut Trial) {
    for server in Server::ALL {
        struck_often(trial, server, 0.2..2.0, async |trial, round, index| {
            let member = &round.crew.members[index];
            let way = member.ways.as_ref().expect("each has its ways").to(server);
            let connections = way.connections();
            if connections > 0 {
                way.reset();
                trial.struck(format_args!(
                    "{connections} connections of {} to {} reset",
                    member.title(),
                    server.name()
                ));
            }
        })
        .await;
    }
}

/// Nothing comes any more through the connections of one service to one server, and
/// none of them is closed: it has to find out by itself.
pub async fn frozen(trial: &mut Trial) {
    for server in Server::ALL {
        struck_often(trial, server, 0.3..3.0, async |trial, round, index| {
            let member = &round.crew.members[index];
            let way = member.ways.as_ref().expect("each has its ways").to(server);
            let connections = way.connections();
            if connections > 0 {
                way.silence();
                trial.struck(format_args!(
                    "{connections} connections of {} to {} fell silent",
                    member.title(),
                    server.name()
                ));
            }
        })
        .await;
    }
}

/// What a server says comes late to one service, for a while.
pub async fn latency(trial: &mut Trial) {
    for server in Server::ALL {
        struck_often(trial, server, 0.2..2.0, async |trial, round, index| {
            let member = &round.crew.members[index];
            let way = member.ways.as_ref().expect("each has its ways").to(server);
            way.set_latency(LATENCY);
            trial.moment(SLOW).await;
            way.set_latency(Duration::ZERO);
            trial.struck(format_args!(
                "{} heard {} {LATENCY:?} late for a while",
                member.title(),
                server.name()
            ));
        })
        .await;
    }
}

/// As many faults as the dose says at random services that use the server, with a
/// pause of so many seconds before each.
async fn struck_often(
    trial: &mut Trial,
    server: Server,
    pause: Range<f64>,
    strike: impl AsyncFn(&mut Trial, &Round, usize),
) {
    let most = trial.faults() + trial.dose.faults;
    while trial.goes_on(most) {
        let round = begin(trial).await;
        while trial.faults() < most {
            trial.moment(pause.clone()).await;
            if round.is_over().await {
                break;
            }
            let users = round.crew.members.iter().enumerate();
            let users = users.filter(|(_, member)| member.uses(server));
            let users: Vec<usize> = users.map(|(index, _)| index).collect();
            let index = users[trial.pick(users.len())];
            strike(trial, &round, index).await;
        }
        round.end(trial).await;
    }
}

pub async fn objects_away(trial: &mut Trial) {
    away(trial, Server::Objects).await;
}

pub async fn catalog_away(trial: &mut Trial) {
    away(trial, Server::Catalog).await;
}

/// The server is away from all services at once, and comes back.
async fn away(trial: &mut Trial, server: Server) {
    while trial.goes_on(trial.dose.faults) {
        let round = begin(trial).await;
        while trial.faults() < trial.dose.faults {
            trial.moment(0.2..4.0).await;
            let flying = round.in_flight().await;
            if flying == 0 {
                break;
            }
            set_away(&round, server, true);
            sleep(AWAY).await;
            set_away(&round, server, false);
            trial.struck(format_args!(
                "{} away for {AWAY:?} with {flying} candidates in flight",
                server.name()
            ));
        }
        round.end(trial).await;
    }
}

fn set_away(round: &Round, server: Server, away: bool) {
    let ways = round
        .crew
        .members
        .iter()
        .filter_map(|member| member.ways.as_ref());
    ways.for_each(|ways| ways.to(server).set_away(away));
}

async fn begin(trial: &Trial) -> Round {
    let place = Place::servers().await;
    let crew = Crew::start_with_ways(&place, &FIVE_TWICE).await;
    Round::begin(trial, place, crew).await
}
