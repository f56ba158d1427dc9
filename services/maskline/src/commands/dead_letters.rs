//! `maskline dead-letters`: the messages that the services gave up, and what to do with them.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use comfy_table::Cell;
use maskline_foundation::text::printable;
use maskline_runtime::{BrokerAdmin, DeadLetter, DeadLetterId};

use crate::{
    connection::{ConnectionArgs, Connections},
    lookup,
    output::{self, number},
    reopen,
};

#[derive(Debug, Args)]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the dead letters, the oldest first
    List {
        /// The most dead letters that are listed
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Print each dead letter as one line of JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Print everything that is known about one dead letter, as JSON
    Show {
        /// The id of the dead letter or its beginning
        id: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Send dead letters back to the queues that they came from; a job that had ended
    /// without them is open again
    Replay {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Remove dead letters for good
    Drop {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Selection {
    /// The ids of dead letters or their beginnings
    ids: Vec<String>,
    /// Every dead letter
    #[arg(long)]
    all: bool,
}

impl Selection {
    /// The dead letters that are meant. If one of the ids names no dead letter, this is an
    /// error, and nothing is done to the others.
    async fn dead_letters(&self, broker: &dyn BrokerAdmin) -> Result<Vec<DeadLetter>> {
        let dead_letters = all(broker).await?;
        if self.all {
            return Ok(dead_letters);
        }
        let named = self.ids.iter();
        named
            .map(|id| Ok(find(&dead_letters, id)?.clone()))
            .collect()
    }

    /// The ids of the dead letters that are meant. `None` stands for all of them.
    async fn ids(&self, broker: &dyn BrokerAdmin) -> Result<Option<Vec<DeadLetterId>>> {
        if self.all {
            return Ok(None);
        }
        let dead_letters = self.dead_letters(broker).await?;
        let ids = dead_letters.into_iter().map(|dead_letter| dead_letter.id);
        Ok(Some(ids.collect()))
    }
}

async fn all(broker: &dyn BrokerAdmin) -> Result<Vec<DeadLetter>> {
    Ok(broker.dead_letters(lookup::ALL).await?)
}

/// Finds the dead letter whose id begins with `prefix`.
fn find<'a>(dead_letters: &'a [DeadLetter], prefix: &str) -> Result<&'a DeadLetter> {
    let by_id = dead_letters.iter().map(ById);
    let list = "maskline dead-letters list";
    Ok(lookup::by_prefix(prefix, "dead letter", list, by_id)?.0)
}

/// A dead letter that is displayed as its id, for [`lookup::by_prefix`].
struct ById<'a>(&'a DeadLetter);

impl std::fmt::Display for ById<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.id.0)
    }
}

impl DeadLetters {
    pub(crate) async fn run(self) -> Result<()> {
        match self.action {
            Action::List {
                limit,
                json,
                connection,
            } => {
                let broker = connection.broker().await?;
                let dead_letters = broker.dead_letters(limit).await?;
                if json {
                    let mut lines = dead_letters.iter().map(as_json);
                    lines.try_for_each(|line| output::print_json(&line))
                } else if dead_letters.is_empty() {
                    output::print("No dead letters.")
                } else {
                    output::print(table(&dead_letters))
                }
            }
            Action::Show { id, connection } => {
                let broker = connection.broker().await?;
                let dead_letters = all(broker.as_ref()).await?;
                let dead_letter = as_json(find(&dead_letters, &id)?);
                output::print_json_in_lines(&dead_letter)
            }
            Action::Replay {
                selection,
                connection,
            } => {
                let connections = connection.connect().await?;
                let replayed = replay(&selection, &connections).await;
                connections.close().await;
                replayed
            }
            Action::Drop {
                selection,
                connection,
            } => {
                let broker = connection.broker().await?;
                let ids = selection.ids(broker.as_ref()).await?;
                let removed = broker.drop_dead_letters(ids.as_deref()).await?;
                output::print(format!("{removed} removed"))
            }
        }
    }
}

async fn replay(selection: &Selection, connections: &Connections) -> Result<()> {
    let broker = connections.broker();
    let dead_letters = selection.dead_letters(broker).await?;
    // The jobs are open again before a service takes one of the messages.
    let reopened = reopen::reopen(connections.catalog(), &dead_letters).await?;
    let sent = broker.replay(Some(&reopened.ready)).await?;
    let mut text = format!("{sent} sent back");
    for job in &reopened.jobs {
        text += &format!(
            "\nJob {job} had ended without them: its dataset is frozen anew when they have ended."
        );
    }
    let printed = output::print(text);
    if let Some(job) = reopened.early.first() {
        bail!(
            "job {job} is not recorded as failed yet, and its dead letter stays: replay it when \
             `maskline status {job}` says that the job failed"
        );
    }
    printed
}

fn table(dead_letters: &[DeadLetter]) -> comfy_table::Table {
    let mut table = output::table(&["id", "queue", "given up by", "attempts", "error"]);
    for dead_letter in dead_letters {
        table.add_row([
            Cell::new(&dead_letter.id.0),
            Cell::new(&dead_letter.queue),
            Cell::new(&dead_letter.stage),
            number(dead_letter.attempts),
            Cell::new(printable(&dead_letter.error)),
        ]);
    }
    table
}

/// Everything that is known about a dead letter. The body is JSON if it can be read as such,
/// or else a text.
fn as_json(dead_letter: &DeadLetter) -> serde_json::Value {
    let body = &dead_letter.envelope.body;
    let text = || serde_json::Value::from(String::from_utf8_lossy(body));
    let body = serde_json::from_slice(body).unwrap_or_else(|_| text());
    serde_json::json!({
        "id": dead_letter.id,
        "queue": dead_letter.queue,
        "key": dead_letter.envelope.key,
        "kind": dead_letter.kind,
        "stage": dead_letter.stage,
        "error": dead_letter.error,
        "attempts": dead_letter.attempts,
        "at": dead_letter.at,
        "trace": dead_letter.envelope.headers.get("traceparent"),
        "headers": dead_letter.envelope.headers,
        "body": body,
    })
}
