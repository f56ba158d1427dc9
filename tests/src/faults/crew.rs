//! The services' processes, any of which may be ended and started again.

use futures::future::join_all;

use super::proxy::Proxy;
use crate::{
    place::{Place, Server},
    process::Process,
};

/// Every service: where one is missing, what is meant for it stays in its queue.
pub const FIVE: [&str; 5] = ["scraper", "validator", "labeler", "storer", "trainer"];

/// Every service twice.
pub const FIVE_TWICE: [&str; 10] = [
    "scraper",
    "validator",
    "labeler",
    "storer",
    "trainer",
    "scraper",
    "validator",
    "labeler",
    "storer",
    "trainer",
];

/// One replica of a service.
pub struct Member {
    pub service: &'static str,
    /// Counted from 1 among those of the service.
    number: usize,
    pub process: Process,
    /// Where its process is started with other variables than the place's.
    variables: Vec<(String, String)>,
    /// Its ways to the servers, where they can break.
    pub ways: Option<Ways>,
}

/// A replica's ways to the servers.
pub struct Ways([Proxy; 3]);

impl Ways {
    async fn of(place: &Place) -> Self {
        let proxies = Server::ALL.map(|server| Proxy::to(place.listens(server)));
        let proxies = join_all(proxies).await.try_into();
        Self(proxies.unwrap_or_else(|_| unreachable!("as many as there are servers")))
    }

    pub fn to(&self, server: Server) -> &Proxy {
        &self.0[server as usize]
    }

    fn variables(&self, place: &Place) -> Vec<(String, String)> {
        let ways = Server::ALL.map(|server| place.by_way_of(self.to(server).address, server));
        ways.into()
    }
}

impl Member {
    /// Such as `storer 2`.
    pub fn title(&self) -> String {
        format!("{} {}", self.service, self.number)
    }

    /// Whether the service talks to the server while a job is on its way.
    pub fn uses(&self, server: Server) -> bool {
        match server {
            Server::Broker => true,
            Server::Objects => self.service != "labeler",
            Server::Catalog => self.service != "validator",
        }
    }
}

/// The replicas that work on a job.
pub struct Crew {
    pub members: Vec<Member>,
}

impl Crew {
    /// Starts a replica for each name, in order; a name that comes again is another
    /// replica.
    pub async fn start(place: &Place, services: &[&'static str]) -> Self {
        Self::start_all(place, services, false).await
    }

    /// The same, each with ways of its own to the servers.
    pub async fn start_with_ways(place: &Place, services: &[&'static str]) -> Self {
        Self::start_all(place, services, true).await
    }

    async fn start_all(place: &Place, services: &[&'static str], ways: bool) -> Self {
        let starting = services.iter().enumerate().map(async |(n, service)| {
            let number = services[..=n].iter().filter(|other| *other == service);
            let ways = match ways {
                true => Some(Ways::of(place).await),
                false => None,
            };
            let variables = ways.as_ref().map(|ways| ways.variables(place));
            let variables = variables.unwrap_or_default();
            Member {
                service,
                number: number.count(),
                process: Process::start_with(place, service, &variables).await,
                variables,
                ways,
            }
        });
        Self {
            members: join_all(starting).await,
        }
    }

    /// Adds a replica whose process is started with further variables.
    pub async fn join(
        &mut self,
        place: &Place,
        service: &'static str,
        variables: Vec<(String, String)>,
    ) {
        let others = self.members.iter().filter(|other| other.service == service);
        let number = others.count() + 1;
        self.members.push(Member {
            service,
            number,
            process: Process::start_with(place, service, &variables).await,
            variables,
            ways: None,
        });
    }

    /// Kills the replica at `index` and starts another in its stead.
    pub async fn kill(&mut self, place: &Place, index: usize) {
        let member = &mut self.members[index];
        member.process.kill().await;
        let next = Process::start_with(place, member.service, &member.variables);
        member.process = next.await;
    }

    /// Kills the replica at `index`, for good.
    pub async fn lose(&mut self, index: usize) {
        self.members.remove(index).process.kill().await;
    }

    /// Kills the replica that `dies` is true of, and starts one in its stead that
    /// reaches the servers as the others do.
    pub async fn succeed(&mut self, place: &Place, dies: impl Fn(&Member) -> bool) {
        let member = self.members.iter_mut().find(|member| dies(member));
        let member = member.expect("there is such a replica");
        member.process.kill().await;
        member.variables.clear();
        member.process = Process::start(place, member.service).await;
    }

    /// Asks the replica at `index` to stop, and starts another in its stead. Says
    /// what is wrong with how it ended.
    pub async fn replace(&mut self, place: &Place, index: usize) -> Result<(), String> {
        let member = &mut self.members[index];
        let end = member.process.stop().await;
        let title = member.title();
        let next = Process::start_with(place, member.service, &member.variables);
        member.process = next.await;
        match end.success() {
            true => Ok(()),
            false => Err(format!("{title} was asked to stop and ended with {end}")),
        }
    }

    /// Messages that they have in hand now.
    pub async fn in_hand(&self) -> f64 {
        let asking = self.members.iter();
        let asking = asking.map(|member| member.process.metric("maskline_messages_in_flight"));
        join_all(asking).await.into_iter().sum()
    }

    /// Those that ended by themselves, and how.
    pub fn deserters(&mut self) -> Vec<String> {
        let ended = self.members.iter_mut().filter_map(|member| {
            let end = member.process.ended()?;
            Some(format!("{} ended by itself with {end}", member.title()))
        });
        ended.collect()
    }

    /// Asks all to stop. Says what is wrong with how they ended.
    pub async fn stop(mut self) -> Vec<String> {
        let stopping = self.members.iter_mut().map(async |member| {
            let end = member.process.stop().await;
            (member.title(), end)
        });
        let ends = join_all(stopping).await.into_iter();
        let bad = ends.filter(|(_, end)| !end.success());
        bad.map(|(title, end)| format!("{title} was asked to stop and ended with {end}"))
            .collect()
    }
}
