//! What a person types: `maskline …`.

use std::process::Stdio;

use maskline_messages::JobId;
use serde_json::Value;
use tokio::process::Command;

use crate::{inherited, place::Place, program, within};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub well: bool,
    pub out: String,
    pub err: String,
}

impl Place {
    /// Runs `maskline ARGS…` with variables that go before the place's own.
    pub async fn run(&self, args: &[&str], variables: &[(String, String)]) -> Ended {
        let run = Command::new(program("maskline"))
            .args(args)
            .env_clear()
            .envs(inherited())
            .envs(self.environment())
            .envs(variables.iter().cloned())
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let what = format!("maskline {}", args.join(" "));
        let output = within(&what, run).await.expect("the command starts");
        Ended {
            well: output.status.success(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Runs `maskline ARGS…`, which must succeed, and returns what it printed.
    pub async fn maskline(&self, args: &[&str]) -> String {
        self.maskline_with(args, &[]).await
    }

    async fn maskline_with(&self, args: &[&str], variables: &[(String, String)]) -> String {
        let Ended { well, out, err } = self.run(args, variables).await;
        assert!(well, "maskline {} failed:\n{out}{err}", args.join(" "));
        out
    }

    /// The same with `--json`: the objects that it printed, one a line.
    pub async fn json(&self, args: &[&str]) -> Vec<Value> {
        self.json_with(args, &[]).await
    }

    /// The same with variables that go before the place's own.
    pub async fn json_with(&self, args: &[&str], variables: &[(String, String)]) -> Vec<Value> {
        let json = [args, &["--json"]].concat();
        let out = self.maskline_with(&json, variables).await;
        let parse = |line| serde_json::from_str(line);
        let parsed: Result<_, _> = out.lines().map(parse).collect();
        parsed.unwrap_or_else(|error| panic!("{args:?}: {error} in:\n{out}"))
    }

    /// `maskline enqueue ARGS…`: the job's id.
    pub async fn enqueue(&self, args: &[&str]) -> JobId {
        let printed = self.json(&[&["enqueue"], args].concat()).await;
        let id = printed[0]["id"].as_str().expect("it prints the job's id");
        id.parse().expect("a job id")
    }

    /// The job as `maskline status` shows it when it has ended.
    pub async fn ended(&self, job: JobId) -> Value {
        let args = ["status", &job.to_string(), "--watch"];
        self.json(&args).await.pop().expect("it prints the job")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
