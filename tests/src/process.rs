//! The services' processes.

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::join_all;
use maskline_test_support::{environment::Environment, program, wait::within};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, Command},
    sync::oneshot,
};

/// A service that runs. It is killed when it is dropped. When the test has failed, its
/// log is printed then.
pub struct Process {
    name: String,
    child: Child,
    http: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts `maskline-NAME` and waits until it serves its HTTP port. The name `run`
    /// stands for `maskline run`, which is all services in one process.
    pub async fn start(environment: &Environment, name: &str) -> Self {
        Self::start_with(environment, name, &[]).await
    }

    /// Like [`start`](Self::start), with variables that go before the environment's own.
    pub async fn start_with(
        environment: &Environment,
        name: &str,
        variables: &[(String, String)],
    ) -> Self {
        let mut command = match name {
            "run" => Command::new(program::path("maskline")),
            _ => Command::new(program::path(&format!("maskline-{name}"))),
        };
        if name == "run" {
            command.arg("run");
        }
        let mut child = command
            .env_clear()
            .envs(program::inherited())
            .envs(environment.variables())
            .envs(variables.iter().cloned())
            .current_dir(environment.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the service starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (send_address, address) = oneshot::channel();
        let stderr = child.stderr.take().expect("stderr is piped");
        tokio::spawn(read_log(stderr, log.clone(), send_address));
        let Ok(http) = within(name, address).await else {
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

    /// The present value of one of its metrics, summed over all labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, metrics) = self.get("/metrics").await;
        let values = metrics.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let has_name = series.split('{').next() == Some(name);
            has_name.then(|| value.parse::<f64>().expect("a number"))
        });
        values.sum()
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child
            .id()
            .expect("nobody has waited for the process yet")
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it has logged until now, with a JSON object in each line.
    pub fn log(&self) -> String {
        text(&self.log)
    }

    /// Its exit status, where it has ended.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("it is a child of this process")
    }

    /// Sends SIGKILL and waits for the end.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it ran until now");
    }

    /// Sends SIGTERM and waits for the end. Returns the exit status.
    pub async fn stop(&mut self) -> ExitStatus {
        let kill = Command::new("kill").arg(self.id().to_string()).status();
        assert!(kill.await.expect("kill is everywhere").success());
        let ended = within(&self.name, self.child.wait()).await;
        ended.expect("it is a child of this process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the log of {}:\n{}", self.name, text(&self.log));
        }
    }
}

/// Collects what a service logs, and sends the address of its HTTP port once.
async fn read_log(
    stderr: ChildStderr,
    log: Arc<Mutex<String>>,
    send_address: oneshot::Sender<SocketAddr>,
) {
    let mut send_address = Some(send_address);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let fields: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let address = fields["http"].as_str().and_then(|http| http.parse().ok());
        if let Some((address, send)) = address.zip(send_address.take_if(|_| address.is_some())) {
            // An error means that the test has ended already.
            let _ = send.send(address);
        }
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push_str(&line);
        log.push('\n');
    }
}

fn text(log: &Mutex<String>) -> String {
    log.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Every service once. All are needed: the messages for a service that is missing stay in
/// its queue.
pub const SERVICES: [&str; 5] = ["scraper", "validator", "labeler", "storer", "trainer"];

/// Several services.
pub struct Pipeline(Vec<Process>);

impl Pipeline {
    /// The stages that an image goes through.
    pub const STAGES: [&str; 4] = ["scraper", "validator", "labeler", "storer"];

    pub async fn start(environment: &Environment, names: &[&str]) -> Self {
        let starting = names.iter().map(|name| Process::start(environment, name));
        Self(join_all(starting).await)
    }

    /// Asks all services to stop. Each must end with success.
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
