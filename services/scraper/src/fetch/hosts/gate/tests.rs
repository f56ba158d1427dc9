use futures::FutureExt;
use maskline_messages::JobId;
use maskline_storage::records::ShareLimit;

use super::{
    super::site::{IDLE, LONGEST_AWAY},
    *,
};

const IN_HAND: usize = 16;

/// A gate with its time, which the catalog gives whatever is asked for.
struct Scene {
    gate: Gate,
    now: Instant,
    job: JobId,
}

impl Scene {
    fn new() -> Self {
        Self {
            gate: Gate::new(IN_HAND, RetryPolicy::DEFAULT),
            now: Instant::now(),
            job: JobId::draw(),
        }
    }

    fn asker(&self, site: &str, job: Option<JobId>) -> Asker {
        Asker {
            site: site.to_owned(),
            limit: ShareLimit {
                at_a_time: 4,
                interval: Duration::from_millis(1),
            },
            server: format!("{site}:80"),
            job,
            ignores_health: false,
            patient_until: self.now + MOMENT,
        }
    }

    fn step(&mut self, asker: &Asker, ticket: &mut Option<Ticket>) -> Step {
        self.gate.step(asker, ticket, self.now)
    }

    /// The catalog answers, and a moment passes.
    fn give(&mut self, site: &str) {
        let share = Share {
            places: 4,
            turns: 64,
            first: Duration::ZERO,
            processes: 1,
            away_elsewhere: 0,
        };
        self.gate
            .given(site, Ok(share), (4, 64), self.now, self.now);
        self.now += Duration::from_millis(100);
    }

    /// A first asker comes, waits for the catalog and goes.
    fn first(&mut self, site: &str) -> (Asker, Trial) {
        let (asker, mut ticket) = (self.asker(site, Some(self.job)), None);
        assert!(matches!(self.step(&asker, &mut ticket), Step::Wait(_)));
        self.give(site);
        let Step::Go { trial: Some(trial) } = self.step(&asker, &mut ticket) else {
            panic!("it is a trial");
        };
        (asker, trial)
    }

    /// A site that has given a whole answer.
    fn trusted(&mut self, site: &str) {
        let (asker, trial) = self.first(site);
        self.gate
            .succeeded(&asker, Duration::from_millis(10), self.now);
        self.gate.end(&asker, Some(&trial), self.now);
    }
}

#[test]
fn a_trusted_host_has_as_many_at_a_time_as_its_limit_says() {
    let mut scene = Scene::new();
    scene.trusted("a");
    scene.give("a");
    let asker = scene.asker("a", None);
    for _ in 0..4 {
        let step = scene.step(&asker, &mut None);
        assert!(matches!(step, Step::Go { trial: None }));
    }
    assert!(matches!(scene.step(&asker, &mut None), Step::Wait(_)));
}

#[test]
fn hosts_that_have_not_answered_yet_have_half_of_what_is_in_hand() {
    let mut scene = Scene::new();
    let first: Vec<_> = (0..IN_HAND / 2)
        .map(|host| scene.first(&format!("new-{host}")))
        .collect();
    scene.give("one-more");
    let (asker, mut ticket) = (scene.asker("one-more", Some(scene.job)), None);
    assert!(matches!(scene.step(&asker, &mut ticket), Step::Away(_)));
    let (asker, trial) = &first[0];
    scene.gate.end(asker, Some(trial), scene.now);
    let (asker, mut ticket) = (scene.asker("one-more", None), None);
    scene.step(&asker, &mut ticket);
    scene.give("one-more");
    assert!(matches!(scene.step(&asker, &mut ticket), Step::Go { .. }));
}

#[test]
fn a_new_host_takes_the_place_of_one_that_takes_long() {
    let mut scene = Scene::new();
    let silent: Vec<_> = (0..IN_HAND / 2)
        .map(|host| scene.first(&format!("silent-{host}")))
        .collect();
    scene.now += Duration::from_secs(2);
    let (asker, mut ticket) = (scene.asker("good", Some(JobId::draw())), None);
    assert!(matches!(scene.step(&asker, &mut ticket), Step::Wait(_)));
    let leaves = |trial: &Trial| trial.leaves.notified().now_or_never().is_some();
    let leaving: Vec<_> = silent.iter().filter(|(_, trial)| leaves(trial)).collect();
    let [(silent, trial)] = leaving[..] else {
        panic!("{} give way to one", leaving.len());
    };
    scene.gate.end(silent, Some(trial), scene.now);
    scene.give("good");
    assert!(matches!(
        scene.step(&asker, &mut ticket),
        Step::Go { trial: Some(_) }
    ));
}

#[test]
fn who_waits_for_a_slow_host_is_sent_away_and_comes_one_after_the_other() {
    let mut scene = Scene::new();
    scene.first("slow");
    scene.now += Duration::from_secs(5);
    let mut last = Duration::ZERO;
    for _ in 0..100 {
        let asker = scene.asker("slow", None);
        let Step::Away(after) = scene.step(&asker, &mut None) else {
            panic!("it has a seat, although the host takes 5 s");
        };
        assert!(after > last || after >= LONGEST_AWAY / 2, "{after:?}");
        last = after;
    }
}

#[test]
fn of_a_sites_pace_a_process_has_the_part_that_it_has_of_all_messages_away() {
    let interval = Duration::from_millis(100);
    // What this one of four processes has away, and what the others have.
    let cases = [
        (90, 10, interval * 100 / 90),
        (10, 90, interval * 4),
        (25, 75, interval * 4),
        (100, 0, interval),
    ];
    for (own, away_elsewhere, spacing) in cases {
        let mut scene = Scene::new();
        let mut asker = scene.asker("a", Some(scene.job));
        asker.limit.interval = interval;
        scene.gate.needs_keeper(&asker, scene.now);
        let share = Share {
            places: 1,
            turns: 0,
            first: Duration::ZERO,
            processes: 4,
            away_elsewhere,
        };
        scene
            .gate
            .given("a", Ok(share), (1, 0), scene.now, scene.now);
        let waits = (0..own).map(|_| scene.gate.away(&asker, scene.now));
        let waits: Vec<_> = waits.collect();
        let [.., before, last] = waits[..] else {
            panic!("{} were sent away", waits.len());
        };
        let case = format!("{own} here, {away_elsewhere} elsewhere");
        assert_eq!(last - before, spacing, "{case}");
    }
}

#[test]
fn a_question_to_the_catalog_says_how_many_messages_are_away() {
    let mut scene = Scene::new();
    let asker = scene.asker("a", Some(scene.job));
    for _ in 0..3 {
        scene.gate.away(&asker, scene.now);
    }
    let asks = scene.gate.upkeep("a", scene.now);
    assert!(matches!(asks, Upkeep::Ask { away: 3, .. }));
    scene.now += IDLE / 2;
    let asks = scene.gate.upkeep("a", scene.now);
    assert!(matches!(asks, Upkeep::Ask { away: 0, .. }));
}

#[test]
fn if_too_many_wait_the_last_of_the_longest_queue_has_to_leave() {
    let mut scene = Scene::new();
    scene.first("crowded");
    let mut tickets = vec![];
    for _ in 0..IN_HAND / 2 {
        let (asker, mut ticket) = (scene.asker("crowded", None), None);
        assert!(matches!(scene.step(&asker, &mut ticket), Step::Wait(_)));
        tickets.push(ticket);
    }
    let crowded = scene.asker("crowded", None);
    assert!(matches!(scene.step(&crowded, &mut None), Step::Away(_)));
    let (other, mut ticket) = (scene.asker("other", None), None);
    assert!(matches!(scene.step(&other, &mut ticket), Step::Wait(_)));
    let last = tickets.last_mut().unwrap();
    assert!(matches!(scene.step(&crowded, last), Step::Away(_)));
    let first = tickets.first_mut().unwrap();
    assert!(matches!(scene.step(&crowded, first), Step::Wait(_)));
}

#[test]
fn jobs_take_turns_at_a_host() {
    let mut scene = Scene::new();
    scene.trusted("a");
    let (large, small) = (Some(JobId::draw()), Some(JobId::draw()));
    let jobs = [large, large, large, large, small, small];
    let mut waiting: Vec<_> = jobs
        .map(|job| (scene.asker("a", job), None))
        .into_iter()
        .collect();
    // Its turns of before were too long ago.
    scene.now += Duration::from_millis(500);
    for (asker, ticket) in &mut waiting {
        assert!(matches!(
            scene.gate.step(asker, ticket, scene.now),
            Step::Wait(_)
        ));
    }
    scene.give("a");
    let mut order = vec![];
    while !waiting.is_empty() {
        let before = waiting.len();
        for at in 0..waiting.len() {
            let (asker, ticket) = &mut waiting[at];
            if let Step::Go { .. } = scene.gate.step(asker, ticket, scene.now) {
                scene.gate.end(asker, None, scene.now);
                order.push(waiting.remove(at).0.job);
                break;
            }
        }
        assert!(waiting.len() < before, "nobody goes");
    }
    assert_eq!(order, [large, small, large, small, large, large]);
}

#[test]
fn a_keeper_ends_when_nobody_needs_the_site_and_gives_its_places_back() {
    let mut scene = Scene::new();
    let asker = scene.asker("a", None);
    assert!(scene.gate.needs_keeper(&asker, scene.now));
    assert!(!scene.gate.needs_keeper(&asker, scene.now), "it has one");
    scene.trusted("a");
    scene.now += IDLE;
    let gives_back = scene.gate.upkeep("a", scene.now);
    assert!(matches!(gives_back, Upkeep::Ask { places: 0, .. }));
    let none = Share {
        places: 0,
        turns: 0,
        first: Duration::ZERO,
        processes: 1,
        away_elsewhere: 0,
    };
    scene
        .gate
        .given("a", Ok(none), (0, 0), scene.now, scene.now);
    assert!(matches!(scene.gate.upkeep("a", scene.now), Upkeep::End));
    assert!(
        scene.gate.needs_keeper(&asker, scene.now),
        "and another begins"
    );
}
