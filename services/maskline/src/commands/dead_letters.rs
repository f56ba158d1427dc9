//! `maskline dead-letters`: messages that were given up, and what to do with them.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use comfy_table::Cell;
use maskline_runtime::{Broker, DeadLetter, DeadLetterId};

use crate::{
    output::{self, number},
    places::{Connections, Places},
    reopen, view,
};

#[derive(Debug, Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// A line for each, the oldest first
    List {
        /// The most that are listed
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        places: Places,
    },
    /// Everything known about one
    Show {
        /// Its id, or its beginning
        id: String,
        #[command(flatten)]
        places: Places,
    },
    /// Send them back to the queues that they came from; a job that had ended without
    /// them is open again
    Replay {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        places: Places,
    },
    /// Remove them for good
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        places: Places,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Their ids, or their beginnings
    ids: Vec<String>,
    /// All that there are
    #[arg(long)]
    all: bool,
}

impl Which {
    /// An error if an id names no letter, before anything is done to the others.
    async fn letters(&self, broker: &dyn Broker) -> Result<Vec<DeadLetter>> {
        let letters = all(broker).await?;
        if self.all {
            return Ok(letters);
        }
        let named = self.ids.iter().map(|id| Ok(find(&letters, id)?.clone()));
        named.collect()
    }

    /// The whole ids; `None` means all.
    async fn ids(&self, broker: &dyn Broker) -> Result<Option<Vec<DeadLetterId>>> {
        if self.all {
            return Ok(None);
        }
        let letters = self.letters(broker).await?;
        Ok(Some(letters.into_iter().map(|letter| letter.id).collect()))
    }
}

async fn all(broker: &dyn Broker) -> Result<Vec<DeadLetter>> {
    Ok(broker.dead_letters(usize::MAX >> 1).await?)
}

/// The letter whose id begins with `text`.
fn find<'a>(letters: &'a [DeadLetter], text: &str) -> Result<&'a DeadLetter> {
    let found = view::by_prefix(
        text,
        "dead letter",
        "maskline dead-letters list",
        letters.iter().map(ById),
    )?;
    Ok(found.0)
}

/// A letter that is told from others by its id.
struct ById<'a>(&'a DeadLetter);

impl std::fmt::Display for ById<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.id.0)
    }
}

impl DeadLetters {
    pub async fn run(self) -> Result<()> {
        match self.verb {
            Verb::List {
                limit,
                json,
                places,
            } => {
                let broker = places.broker().await?;
                let letters = broker.dead_letters(limit).await?;
                if json {
                    for letter in &letters {
                        output::print(as_json(letter))?;
                    }
                    Ok(())
                } else if letters.is_empty() {
                    output::print("No dead letters.")
                } else {
                    output::print(table(&letters))
                }
            }
            Verb::Show { id, places } => {
                let broker = places.broker().await?;
                let letters = all(broker.as_ref()).await?;
                let letter = find(&letters, &id)?;
                output::print(serde_json::to_string_pretty(&as_json(letter))?)
            }
            Verb::Replay { which, places } => {
                let connections = places.connect().await?;
                let replayed = replay(&which, &connections).await;
                connections.close().await;
                replayed
            }
            Verb::Drop { which, places } => {
                let broker = places.broker().await?;
                let ids = which.ids(broker.as_ref()).await?;
                let removed = broker.drop_dead_letters(ids.as_deref()).await?;
                output::print(format!("{removed} removed"))
            }
        }
    }
}

async fn replay(which: &Which, connections: &Connections) -> Result<()> {
    let broker = connections.broker();
    let letters = which.letters(broker).await?;
    let reopened = reopen::reopen(connections.catalog(), &letters).await?;
    let sent = broker.replay(Some(&reopened.ready)).await?;
    let mut text = format!("{sent} sent back");
    for job in &reopened.jobs {
        text += &format!(
            "\nJob {job} had ended without them: its dataset is frozen anew when they have."
        );
    }
    let printed = output::print(text);
    if let Some(job) = reopened.early.first() {
        bail!(
            "job {job} has not heard yet that it failed, and its letter stays: replay it when \
             `maskline status {job}` says so"
        );
    }
    printed
}

fn table(letters: &[DeadLetter]) -> comfy_table::Table {
    let mut table = output::table(&["id", "queue", "given up by", "attempts", "error"]);
    for letter in letters {
        table.add_row([
            Cell::new(&letter.id.0),
            Cell::new(&letter.queue),
            Cell::new(&letter.stage),
            number(letter.attempts),
            Cell::new(&letter.error),
        ]);
    }
    table
}

/// The body as JSON where it is, else as text.
fn as_json(letter: &DeadLetter) -> serde_json::Value {
    let body = &letter.envelope.body;
    let text = || serde_json::Value::from(String::from_utf8_lossy(body));
    let body = serde_json::from_slice(body).unwrap_or_else(|_| text());
    serde_json::json!({
        "id": letter.id,
        "queue": letter.queue,
        "key": letter.envelope.key,
        "kind": letter.kind,
        "stage": letter.stage,
        "error": letter.error,
        "attempts": letter.attempts,
        "at": letter.at,
        "trace": letter.envelope.headers.get("traceparent"),
        "headers": letter.envelope.headers,
        "body": body,
    })
}
