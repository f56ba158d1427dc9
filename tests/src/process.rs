//! The services' processes.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::join_all;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, Command},
    sync::oneshot,
};

use crate::{inherited, place::Place, program, within};

/// A service that runs. Killed when dropped; a failed test shows what it said.
pub struct Process {
    name: String,
    child: Child,
    http: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts `maskline-NAME` and waits until it serves its HTTP port; `run` is all
    /// services in one process.
    pub async fn start(place: &Place, name: &str) -> Self {
        Self::start_with(place, name, &[]).await
    }

    /// The same with variables that go before the place's own.
    pub async fn start_with(place: &Place, name: &str, variables: &[(String, String)]) -> Self {
        let mut command = match name {
            "run" => Command::new(program("maskline")),
            _ => Command::new(program(&format!("maskline-{name}"))),
        };
        if name == "run" {
            command.arg("run");
        }
        let mut child = command
            .env_clear()
            .envs(inherited())
            .envs(place.environment())
            .envs(variables.iter().cloned())
            .current_dir(place.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the service starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (says, said) = oneshot::channel();
        let stderr = child.stderr.take().expect("it is piped");
        tokio::spawn(read(stderr, log.clone(), says));
        let Ok(http) = within(name, said).await else {
            panic!("{name} ended at once:\n{}", text(&log));
        };
        Self {
            name: name.to_owned(),
            child,
            http,
            log,
        }
    }

    /// What a path of its HTTP port answers: the status and the body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}{path}", self.http)).await;
        let answer = answer.expect("the service's HTTP port answers");
        let status = answer.status().as_u16();
        (status, answer.text().await.expect("a whole body"))
    }

    /// One of its metrics, as counted until now; the labels are ignored.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, metrics) = self.get("/metrics").await;
        let values = metrics.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let of_name = series.split('{').next() == Some(name);
            of_name.then(|| value.parse::<f64>().expect("a number"))
        });
        values.sum()
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it was not waited for")
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// All that it said until now, a JSON object a line.
    pub fn said(&self) -> String {
        text(&self.log)
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it ran until now");
    }

    /// SIGTERM; how it ended.
    pub async fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().expect("it was not waited for before");
        let kill = Command::new("kill").arg(pid.to_string()).status().await;
        assert!(kill.expect("kill is everywhere").success());
        within(&self.name, self.child.wait())
            .await
            .expect("a child")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, text(&self.log));
        }
    }
}

/// Keeps what a service says, and passes on the address that it names.
async fn read(stderr: ChildStderr, log: Arc<Mutex<String>>, says: oneshot::Sender<SocketAddr>) {
    let mut says = Some(says);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let fields: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let address = fields["http"].as_str().and_then(|http| http.parse().ok());
        if let Some((address, says)) = address.zip(says.take_if(|_| address.is_some())) {
            // Nobody listens only where the test has failed.
            let _ = says.send(address);
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}

fn text(log: &Mutex<String>) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Some services together.
pub struct Pipeline(Vec<Process>);

impl Pipeline {
    /// The stages that an image goes through.
    pub const STAGES: [&str; 4] = ["scraper", "validator", "labeler", "storer"];

    pub async fn start(place: &Place, names: &[&str]) -> Self {
        let starting = names.iter().map(|name| Process::start(place, name));
        Self(join_all(starting).await)
    }

    /// Asks all to stop and expects that each ends well.
    pub async fn stop(mut self) {
        let ends = join_all(self.0.iter_mut().map(Process::stop)).await;
        for (process, end) in self.0.iter().zip(ends) {
            assert!(end.success(), "{} ended with {end}", process.name);
        }
    }

    pub fn processes(&self) -> &[Process] {
        &self.0
    }
}
