//! The services' processes, any of which can be stopped and started again.

use futures::future::join_all;
use maskline_test_support::{
    environment::{Environment, Server},
    proxy::Proxy,
};

use crate::process::Process;

/// Every service twice.
pub const TWO_OF_EACH: [&str; 10] = [
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

type Variables = Vec<(String, String)>;

/// One replica of a service.
pub struct Replica {
    pub service: &'static str,
    /// Its number among the replicas of the service, counted from 1.
    number: usize,
    pub process: Process,
    /// The variables that its process has beside the environment's.
    variables: Variables,
    /// The proxies between it and the servers, where there are some.
    proxies: Option<Proxies>,
}

/// A proxy in front of each server, for one replica alone.
struct Proxies([Proxy; 3]);

impl Proxies {
    async fn start(environment: &Environment) -> Self {
        let proxies = Server::ALL.map(|server| Proxy::to(environment.host_and_port(server)));
        let proxies = join_all(proxies).await.try_into();
        Self(proxies.unwrap_or_else(|_| unreachable!("there are as many as servers")))
    }

    fn to(&self, server: Server) -> &Proxy {
        &self.0[server as usize]
    }

    fn variables(&self, environment: &Environment) -> Variables {
        let variables =
            Server::ALL.map(|server| environment.variable_through(self.to(server).address, server));
        variables.into()
    }
}

impl Replica {
    /// The service with its number, such as `storer 2`.
    pub fn title(&self) -> String {
        format!("{} {}", self.service, self.number)
    }

    /// Returns whether the service talks to the server while a job is in progress.
    pub fn uses(&self, server: Server) -> bool {
        match server {
            Server::Broker => true,
            Server::Objects => self.service != "labeler",
            Server::Catalog => self.service != "validator",
        }
    }

    /// The proxy between it and a server. Panics unless it was started behind proxies.
    pub fn proxy(&self, server: Server) -> &Proxy {
        let proxies = self.proxies.as_ref();
        proxies.expect("it was started behind proxies").to(server)
    }

    async fn restart(&mut self, environment: &Environment) {
        let started = Process::start_with(environment, self.service, &self.variables);
        self.process = started.await;
    }
}

/// The replicas that work on a job.
#[derive(Default)]
pub struct Replicas {
    pub all: Vec<Replica>,
}

impl Replicas {
    /// Starts a replica for each name, in this order. A name that is there twice is
    /// started twice.
    pub async fn start(environment: &Environment, services: &[&'static str]) -> Self {
        Self::start_all(environment, services, false).await
    }

    /// Like [`start`](Self::start), with proxies of its own between each replica and the
    /// servers.
    pub async fn start_behind_proxies(
        environment: &Environment,
        services: &[&'static str],
    ) -> Self {
        Self::start_all(environment, services, true).await
    }

    async fn start_all(
        environment: &Environment,
        services: &[&'static str],
        behind_proxies: bool,
    ) -> Self {
        let starting = services.iter().enumerate().map(async |(n, service)| {
            let number = services[..=n].iter().filter(|other| *other == service);
            let proxies = match behind_proxies {
                true => Some(Proxies::start(environment).await),
                false => None,
            };
            let variables = proxies.as_ref();
            let variables = variables.map(|proxies| proxies.variables(environment));
            let variables = variables.unwrap_or_default();
            Replica {
                service,
                number: number.count(),
                process: Process::start_with(environment, service, &variables).await,
                variables,
                proxies,
            }
        });
        Self {
            all: join_all(starting).await,
        }
    }

    /// Starts another replica, whose process has further variables.
    pub async fn add(
        &mut self,
        environment: &Environment,
        service: &'static str,
        variables: Variables,
    ) {
        let others = self.all.iter().filter(|other| other.service == service);
        let number = others.count() + 1;
        self.all.push(Replica {
            service,
            number,
            process: Process::start_with(environment, service, &variables).await,
            variables,
            proxies: None,
        });
    }

    /// Kills the replica at `index` and starts it again.
    pub async fn kill_and_restart(&mut self, environment: &Environment, index: usize) {
        let replica = &mut self.all[index];
        replica.process.kill().await;
        replica.restart(environment).await;
    }

    /// Kills the replica at `index` and removes it.
    pub async fn kill_and_remove(&mut self, index: usize) {
        self.all.remove(index).process.kill().await;
    }

    /// Kills the first replica of a service, and starts it again with the environment's
    /// variables alone.
    pub async fn kill_and_restart_plain(&mut self, environment: &Environment, service: &str) {
        let mut replicas = self.all.iter_mut();
        let replica = replicas.find(|replica| replica.service == service);
        let replica = replica.expect("there is a replica of the service");
        replica.process.kill().await;
        replica.variables.clear();
        replica.restart(environment).await;
    }

    /// Asks the replica at `index` to stop, and starts it again. Returns what was wrong
    /// with its exit.
    pub async fn stop_and_restart(
        &mut self,
        environment: &Environment,
        index: usize,
    ) -> Result<(), String> {
        let replica = &mut self.all[index];
        let end = replica.process.stop().await;
        replica.restart(environment).await;
        match end.success() {
            true => Ok(()),
            false => Err(bad_exit(&replica.title(), end)),
        }
    }

    /// How many of all connections to the server are silenced without the server having
    /// noticed.
    pub fn silent_connections(&self, server: Server) -> usize {
        let proxies = self
            .all
            .iter()
            .filter_map(|replica| replica.proxies.as_ref());
        proxies
            .map(|proxies| proxies.to(server).silent_connections())
            .sum()
    }

    /// How many messages all replicas are handling now, or hold until they are due.
    pub async fn messages_in_flight(&self) -> f64 {
        let asking = self.all.iter().map(async |replica| {
            let handled = replica.process.metric("maskline_messages_in_flight").await;
            handled + replica.process.metric("maskline_messages_delayed").await
        });
        join_all(asking).await.into_iter().sum()
    }

    /// The replicas that ended although nobody asked them to, with their exit status.
    pub fn ended_early(&mut self) -> Vec<String> {
        let ended = self.all.iter_mut().filter_map(|replica| {
            let end = replica.process.exit_status()?;
            Some(format!("{} ended by itself with {end}", replica.title()))
        });
        ended.collect()
    }

    /// Asks all replicas to stop. Returns what was wrong with their exits.
    pub async fn stop(mut self) -> Vec<String> {
        let stopping = self.all.iter_mut().map(async |replica| {
            let end = replica.process.stop().await;
            (replica.title(), end)
        });
        let ends = join_all(stopping).await.into_iter();
        let bad = ends.filter(|(_, end)| !end.success());
        bad.map(|(title, end)| bad_exit(&title, end)).collect()
    }
}

fn bad_exit(title: &str, end: std::process::ExitStatus) -> String {
    format!("{title} was asked to stop and ended with {end}")
}
