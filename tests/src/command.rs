//! What a person types: `maskline …`.

use std::process::Stdio;

use maskline_messages::JobId;
use serde_json::Value;
use tokio::process::Command;

use crate::{inherited, place::Place, program, within};

impl Place {
    /// Runs `maskline ARGS…`, which must succeed, and returns what it printed.
    pub async fn maskline(&self, args: &[&str]) -> String {
        let run = Command::new(program("maskline"))
            .args(args)
            .env_clear()
            .envs(inherited())
            .envs(self.environment())
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let what = format!("maskline {}", args.join(" "));
        let output = within(&what, run).await.expect("the command starts");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{what} failed:\n{out}{err}");
        out
    }

    /// The same with `--json`: the objects that it printed, one a line.
    pub async fn json(&self, args: &[&str]) -> Vec<Value> {
        let out = self.maskline(&[args, &["--json"]].concat()).await;
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
