//! Runs of the command `maskline`, with the addresses of a test's environment.

use std::process::Stdio;

use maskline_messages::JobId;
use serde_json::Value;
use tokio::process::Command;

use crate::{environment::Environment, program, wait::within};

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub struct Output {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl Environment {
    /// Runs `maskline ARGS…`. `variables` go before the environment's own.
    pub async fn run(&self, args: &[&str], variables: &[(String, String)]) -> Output {
        let run = Command::new(program::path("maskline"))
            .args(args)
            .env_clear()
            .envs(program::inherited())
            .envs(self.variables())
            .envs(variables.iter().cloned())
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let what = format!("maskline {}", args.join(" "));
        let output = within(&what, run).await.expect("the command starts");
        Output {
            success: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs `maskline ARGS…`, which must succeed. Returns what it printed.
    pub async fn maskline(&self, args: &[&str]) -> String {
        self.maskline_with(args, &[]).await
    }

    async fn maskline_with(&self, args: &[&str], variables: &[(String, String)]) -> String {
        let output = self.run(args, variables).await;
        assert!(output.success, "maskline {}: {output:#?}", args.join(" "));
        output.stdout
    }

    /// Runs `maskline ARGS… --json`, which must succeed. Returns the objects that it
    /// printed, one per line.
    pub async fn json(&self, args: &[&str]) -> Vec<Value> {
        self.json_with(args, &[]).await
    }

    /// Like [`json`](Self::json), with variables that go before the environment's own.
    pub async fn json_with(&self, args: &[&str], variables: &[(String, String)]) -> Vec<Value> {
        let json = [args, &["--json"]].concat();
        let out = self.maskline_with(&json, variables).await;
        let parse = |line| serde_json::from_str(line);
        let parsed: Result<_, _> = out.lines().map(parse).collect();
        parsed.unwrap_or_else(|error| panic!("{args:?}: {error} in:\n{out}"))
    }

    /// Runs `maskline enqueue ARGS…`. Returns the job's id.
    pub async fn enqueue(&self, args: &[&str]) -> JobId {
        let printed = self.json(&[&["enqueue"], args].concat()).await;
        let id = printed[0]["id"].as_str().expect("it prints the job's id");
        id.parse().expect("a job id")
    }

    /// Waits until the job has ended. Returns the job as `maskline status` shows it then.
    pub async fn ended(&self, job: JobId) -> Value {
        let args = ["status", &job.to_string(), "--watch"];
        self.json(&args).await.pop().expect("it prints the job")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
