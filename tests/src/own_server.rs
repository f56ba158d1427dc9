//! Servers that belong to one test, which may break them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

/// A server that a script of `tests/servers` started. It is stopped when it is dropped.
pub struct OwnServer {
    folder: TempDir,
    files: PathBuf,
    /// The addresses and other variables that the script wrote.
    variables: BTreeMap<String, String>,
}

impl OwnServer {
    /// Runs `tests/servers/NAME/start`. Panics with the script's own words where it fails.
    pub async fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = folder.path().join(name);
        std::fs::create_dir(&files).expect("a temporary folder takes folders");
        let mut start = Command::new(scripts().join(name).join("start"));
        // With these variables the script would name the present server and start none.
        for given in ["MASKLINE_TEST_RABBITMQ", "MASKLINE_TEST_RABBITMQ_HTTP"] {
            start.env_remove(given);
        }
        let output = start.arg(&files).output().await.expect("the script starts");
        let mut started = Self {
            folder,
            files,
            variables: BTreeMap::new(),
        };
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            panic!("{name} does not start: {}", why.trim());
        }
        let lines = read(&started.files.join("env"));
        started.variables = lines
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once('=')?;
                Some((name.to_owned(), value.trim_matches('\'').to_owned()))
            })
            .collect();
        started
    }

    /// The folder of its files.
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// The value of a variable that the script wrote.
    pub fn variable(&self, name: &str) -> &str {
        let value = self.variables.get(name);
        value.unwrap_or_else(|| panic!("the script wrote no {name}"))
    }

    /// The value of a variable that is an address.
    pub fn address(&self, name: &str) -> Url {
        let address = self.variable(name).parse();
        address.expect("the script writes addresses")
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let stop = std::process::Command::new(scripts().join("stop"))
            .arg(self.folder.path())
            .status();
        if !stop.is_ok_and(|status| status.success()) {
            let files = self.files.display();
            eprintln!("a server may still run: see {files}");
        }
    }
}

/// The folder `tests/servers`.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers")
}

/// The content of a file that a script wrote.
pub fn read(file: &Path) -> String {
    let text = std::fs::read_to_string(file);
    text.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
