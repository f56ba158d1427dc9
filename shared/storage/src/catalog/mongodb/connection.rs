//! The connection to the server, with its time limits and its guarantees.

use std::{env, future::IntoFuture, path::PathBuf, time::Duration};

use mongodb::{
    Client, Collection, Database,
    bson::Document,
    error::{Error, Result as DriverResult},
    options::{
        Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria,
        ServerAddress, Tls, WriteConcern,
    },
};

use super::failure::{DriverError, explain, is_duplicate_key};
use crate::{catalog::span::Target, error::StorageError};

const DEFAULT_DATABASE: &str = "maskline";
const DEFAULT_PORT: u16 = 27017;

/// How long the driver looks for a server that takes the operation, unless the address says
/// otherwise.
const SELECTION: Duration = Duration::from_secs(5);
const CONNECTING: Duration = Duration::from_secs(5);
/// How long a write may wait for a majority of the members.
const MAJORITY: Duration = Duration::from_secs(10);
/// How long an operation may take in all.
const OPERATION: Duration = Duration::from_secs(30);

/// How often an upsert is tried if another one of the same `_id` comes in between.
const UPSERTS: u32 = 3;

const EXPECTED: &str = "write mongodb://USER:PASSWORD@HOST:PORT/DATABASE, and each of \
                        : / ? # [ ] @ % in the user or the password as %XX, such as %40 for @";

/// A database on a server. A write returns when a majority of the members has it on disk.
/// A read returns all such writes and nothing that could be rolled back. So every process reads
/// what another one has written.
pub(super) struct Connection {
    database: Database,
    target: Target,
    /// The server and the database, as errors name them.
    display_name: String,
}

impl Connection {
    /// Reads the address and connects nowhere yet. The error is `Misconfigured` if the
    /// address can't be used.
    pub async fn to(url: &str) -> Result<Self, StorageError> {
        let mut options = read(url).await?;
        options
            .app_name
            .get_or_insert_with(|| "maskline".to_owned());
        trust(
            &mut options.tls,
            env::var_os("SSL_CERT_FILE").map(PathBuf::from),
        );
        options.server_selection_timeout.get_or_insert(SELECTION);
        options.connect_timeout.get_or_insert(CONNECTING);
        // The catalog's promises depend on these, so the address can't weaken them.
        options.selection_criteria =
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        options.read_concern = Some(ReadConcern::majority());
        let durable = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .w_timeout(MAJORITY);
        options.write_concern = Some(durable.build());

        let name = options.default_database.take();
        let name = name.unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        let server = options.hosts.first().and_then(host_and_port);
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        let display_name = format!("MongoDB at {}, database {name}", hosts.join(","));
        let client = Client::with_options(options).map_err(|error| {
            StorageError::misconfigured(format!("{display_name} can't be used"))
                .caused_by(DriverError::from(error))
        })?;
        Ok(Self {
            database: client.database(&name),
            target: Target {
                system: "mongodb",
                namespace: name,
                server,
            },
            display_name,
        })
    }

    pub fn display_name(&self) -> &str {
        &self.display_name
    }

    pub fn collection(&self, name: &str) -> Collection<Document> {
        self.database.collection(name)
    }

    /// Succeeds if the server answers now.
    pub async fn ping(&self) -> Result<(), StorageError> {
        let ping = self.database.run_command(mongodb::bson::doc! { "ping": 1 });
        self.run("ping", "$cmd", ping).await.map(drop)
    }

    /// Runs one operation in a span and within [`OPERATION`].
    pub async fn run<T>(
        &self,
        operation: &'static str,
        collection: &'static str,
        work: impl IntoFuture<Output = DriverResult<T>>,
    ) -> Result<T, StorageError> {
        let limited = async {
            match tokio::time::timeout(OPERATION, work.into_future()).await {
                Ok(outcome) => outcome.map_err(|error| explain(error, &self.display_name)),
                Err(_) => Err(StorageError::unavailable(format!(
                    "{}: no answer within {} s",
                    self.display_name,
                    OPERATION.as_secs()
                ))),
            }
        };
        self.target.traced(operation, collection, limited).await
    }

    /// Runs an upsert by `_id`, as [`Connection::run`] does. If two come at the same time, a
    /// server may refuse the slower one with a duplicate key. Then the document is there,
    /// and the next attempt is an update.
    pub async fn upsert<T, F>(
        &self,
        operation: &'static str,
        collection: &'static str,
        attempt: impl Fn() -> F,
    ) -> Result<T, StorageError>
    where
        F: IntoFuture<Output = DriverResult<T>>,
    {
        let attempts = async {
            for _ in 1..UPSERTS {
                match attempt().into_future().await {
                    Err(error) if is_duplicate_key(&error) => {}
                    outcome => return outcome,
                }
            }
            attempt().into_future().await
        };
        self.run(operation, collection, attempts).await
    }
}

/// The driver trusts the authorities that are built into it, unless the address names a
/// file of others. Here that file is by default `usual`, which all TLS of the process uses.
fn trust(tls: &mut Option<Tls>, usual: Option<PathBuf>) {
    if let Some(Tls::Enabled(tls)) = tls
        && tls.ca_file_path.is_none()
    {
        tls.ca_file_path = usual;
    }
}

fn host_and_port(address: &ServerAddress) -> Option<(String, u16)> {
    match address {
        ServerAddress::Tcp { host, port } => Some((host.clone(), port.unwrap_or(DEFAULT_PORT))),
        _ => None,
    }
}

/// The driver's errors may quote any part of an address that it can't read, and so the
/// password. They are shown only for the options after the `?`.
async fn read(url: &str) -> Result<ClientOptions, StorageError> {
    if url.starts_with("mongodb+srv:") {
        return Err(StorageError::misconfigured(
            "mongodb+srv:// is not supported: list the servers that it stands for, \
             mongodb://USER:PASSWORD@HOST,HOST,HOST/DATABASE?replicaSet=NAME&tls=true"
                .to_owned(),
        ));
    }
    if let Ok(options) = ClientOptions::parse(url).await {
        return Ok(options);
    }
    let after_user = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
    let problem = match after_user.split_once('?') {
        Some((_, options)) => problem_of(options).await,
        None => None,
    };
    Err(match problem {
        Some(error) => StorageError::misconfigured("the catalog's address has a wrong option")
            .caused_by(DriverError::from(error)),
        None => {
            StorageError::misconfigured(format!("the catalog's address can't be read: {EXPECTED}"))
        }
    })
}

async fn problem_of(options: &str) -> Option<Error> {
    let address = format!("mongodb://localhost/?{options}");
    ClientOptions::parse(address).await.err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StorageErrorKind;

    async fn refused(url: &str) -> String {
        match Connection::to(url).await {
            Err(error) if error.kind() == StorageErrorKind::Misconfigured => {
                format!("{error:#} {error:?}")
            }
            Err(other) => panic!("another kind of error: {other:?}"),
            Ok(connection) => panic!("it is taken for {}", connection.display_name),
        }
    }

    #[tokio::test]
    async fn an_address_names_server_and_database_and_no_password() {
        let connection = Connection::to("mongodb://me:hunter2@Example.org:1234/faces?tls=true")
            .await
            .unwrap();
        assert_eq!(
            connection.display_name(),
            "MongoDB at example.org:1234, database faces"
        );
        assert_eq!(connection.target.namespace, "faces");
        let server = Some(("example.org".to_owned(), 1234));
        assert_eq!(connection.target.server, server);

        let plain = Connection::to("mongodb://localhost").await.unwrap();
        assert_eq!(
            plain.display_name(),
            "MongoDB at localhost:27017, database maskline"
        );
    }

    #[tokio::test]
    async fn no_message_about_an_address_shows_its_password() {
        for url in [
            "mongodb://me:hunter2",
            "mongodb://me:hunter2/db",
            "mongodb://me:hunter2@",
            "mongodb://me:hunter2@h:port/db",
            "mongodb://me:a@hunter2@h/db",
            "mongodb://me:a/hunter2@h/db",
            "mongodb://me:a?hunter2@h/db",
            "mongodb://me:%zzhunter2@h/db",
            "mongodb://me:hunter2@h/db?tls=perhaps",
            "mongodb://me:hunter2@h/d$b",
        ] {
            let text = refused(url).await;
            assert!(!text.contains("hunter2"), "{url}: {text}");
        }
    }

    #[tokio::test]
    async fn with_tls_the_usual_file_says_whom_to_trust_unless_the_address_does() {
        for (url, trusted) in [
            ("mongodb://h/?tls=true", Some("/usual.pem")),
            ("mongodb://h/?tls=true&tlsCAFile=/own.pem", Some("/own.pem")),
            ("mongodb://h/", None),
        ] {
            let mut options = read(url).await.unwrap();
            trust(&mut options.tls, Some("/usual.pem".into()));
            let file = match options.tls {
                Some(Tls::Enabled(tls)) => tls.ca_file_path,
                _ => None,
            };
            assert_eq!(file, trusted.map(PathBuf::from), "{url}");
        }
    }

    #[tokio::test]
    async fn a_wrong_option_is_named() {
        let text = refused("mongodb://me:hunter2@h/db?tls=perhaps").await;
        assert!(text.contains("tls"), "{text}");
    }

    #[tokio::test]
    async fn an_address_by_name_service_says_what_to_write() {
        let text = refused("mongodb+srv://me:hunter2@h/db").await;
        assert!(text.contains("mongodb://USER:PASSWORD@HOST,HOST"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
