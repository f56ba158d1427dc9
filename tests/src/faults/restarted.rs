//! RabbitMQ ended and started while messages are on their way.

use super::{
    Trial,
    crew::{Crew, FIVE_TWICE},
    node::{Node, Signal},
    round::Round,
};

/// Seconds that it is up and away in turn.
const UP: std::ops::Range<f64> = 0.2..4.0;
const AWAY: std::ops::Range<f64> = 0.5..4.0;

/// Restarts in one job.
const IN_A_JOB: u32 = 5;

/// In turn it is asked to stop and killed.
pub async fn rabbitmq(trial: &mut Trial) {
    let node = match Node::start().await {
        Ok(node) => node,
        Err(why) => return trial.skip(why),
    };
    while trial.goes_on(trial.dose.faults) {
        let place = node.place().await;
        let crew = Crew::start(&place, &FIVE_TWICE).await;
        let round = Round::begin(trial, place, crew).await;
        let most = trial.dose.faults.min(trial.faults() + IN_A_JOB);
        while trial.faults() < most {
            trial.moment(UP).await;
            let flying = round.in_flight().await;
            if flying == 0 {
                break;
            }
            let signal = [Signal::Term, Signal::Kill][trial.faults() as usize % 2];
            node.end(signal).await;
            trial.moment(AWAY).await;
            node.again().await;
            trial.struck(format_args!(
                "RabbitMQ ended by {signal:?} with {flying} candidates in flight, and started"
            ));
        }
        round.end(trial).await;
    }
}
