//! One process with all services, the queue, the objects and the catalog on its disk.

use super::{Trial, crew::Crew, round::Round};
use crate::place::Place;

/// Kills in one job.
const IN_A_JOB: u32 = 20;

/// `kill -9` of `maskline run` at a random moment; another goes on.
pub async fn killed(trial: &mut Trial) {
    while trial.goes_on(trial.dose.faults) {
        let place = Place::embedded();
        let crew = Crew::start(&place, &["run"]).await;
        let mut round = Round::begin(trial, place, crew).await;
        let most = trial.dose.faults.min(trial.faults() + IN_A_JOB);
        while trial.faults() < most {
            trial.moment(0.0..1.5).await;
            if round.is_over().await {
                break;
            }
            let flying = round.in_flight().await;
            round.crew.kill(&round.place, 0).await;
            trial.struck(format_args!(
                "kill -9 of the one process with {flying} candidates in flight"
            ));
        }
        round.end(trial).await;
    }
}
