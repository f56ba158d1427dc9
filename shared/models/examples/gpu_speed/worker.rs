//! Processes that measure. One that fails or hangs costs no more than its own figure.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

/// How long a process may take to end by itself.
const TO_END: Duration = Duration::from_secs(3);

/// A process that is started when it is asked something, and anew after it has failed.
pub struct Worker {
    command: Command,
    process: Option<Process>,
}

impl Worker {
    /// `command` starts a process that prints a line about itself, and then answers each line of
    /// JSON with a line of JSON until its input ends.
    pub fn new(mut command: Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            command,
            process: None,
        }
    }

    /// Starts the process, and returns what it says about itself.
    ///
    /// # Errors
    /// The reason, in a line.
    pub fn start(&mut self, until: Instant) -> Result<String, String> {
        let (process, about) = Process::start(&mut self.command, until)?;
        self.process = Some(process);
        Ok(about)
    }

    /// Asks the process, which may take until then to start and to answer.
    ///
    /// # Errors
    /// The reason, in a line. The process has ended then.
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        question: &impl Serialize,
        until: Instant,
    ) -> Result<T, String> {
        let mut process = match self.process.take() {
            Some(process) => process,
            None => Process::start(&mut self.command, until)?.0,
        };
        let answer = process.ask(question, until)?;
        self.process = Some(process);
        Ok(answer)
    }

    /// Ends the process, and with it all that it holds.
    pub fn stop(&mut self) {
        self.process = None;
    }
}

struct Process {
    child: Child,
    /// `None` once there is nothing more to ask.
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
    errors: Receiver<String>,
    hangs: bool,
}

impl Process {
    fn start(command: &mut Command, until: Instant) -> Result<(Self, String), String> {
        let spawned = command.spawn();
        let program = command.get_program().display();
        let mut child = spawned.map_err(|error| format!("{program}: {error}"))?;
        let mut process = Self {
            questions: child.stdin.take(),
            answers: lines(child.stdout.take().expect("the output is piped")),
            errors: lines(child.stderr.take().expect("the errors are piped")),
            child,
            hangs: false,
        };
        let about = process.line(until)?;
        Ok((process, about))
    }

    fn ask<T: DeserializeOwned>(
        &mut self,
        question: &impl Serialize,
        until: Instant,
    ) -> Result<T, String> {
        let question = serde_json::to_string(question).expect("names and numbers are JSON");
        if let Some(questions) = &mut self.questions {
            // If the process has ended, its answer is missing, too.
            let _ = writeln!(questions, "{question}");
        }
        let answer = self.line(until)?;
        serde_json::from_str(&answer).map_err(|error| format!("{error} in the answer {answer}"))
    }

    /// The next line that it prints.
    fn line(&mut self, until: Instant) -> Result<String, String> {
        let asked = Instant::now();
        match self.answers.recv_timeout(until - asked) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                self.hangs = true;
                let seconds = asked.elapsed().as_secs_f64();
                Err(format!("no answer within {seconds:.0} s"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.last_error()),
        }
    }

    /// Why the process has ended: the last line of its errors.
    fn last_error(&mut self) -> String {
        let mut last = None;
        while let Ok(line) = self.errors.recv_timeout(TO_END) {
            // A panic of Rust ends with a note about its backtrace.
            if !line.is_empty() && !line.starts_with("note: ") {
                last = Some(line);
            }
        }
        last.unwrap_or_else(|| match self.child.try_wait() {
            Ok(Some(status)) => format!("it ended with {status}"),
            _ => "it ended".into(),
        })
    }
}

impl Drop for Process {
    /// Without questions the process ends by itself. One that hangs is killed.
    fn drop(&mut self) {
        drop(self.questions.take());
        if !self.hangs {
            let _ = self.answers.recv_timeout(TO_END);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the lines of a stream in a thread.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
