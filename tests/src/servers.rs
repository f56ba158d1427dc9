//! Servers of a test's own, which it may break.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

/// What a script of `tests/servers` started. Ended with it.
pub struct Started {
    folder: TempDir,
    files: PathBuf,
    told: BTreeMap<String, String>,
}

impl Started {
    /// By `tests/servers/NAME/start`. Panics with what the script says where that fails.
    pub async fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = folder.path().join(name);
        std::fs::create_dir(&files).expect("a temporary folder takes folders");
        let mut start = Command::new(scripts().join(name).join("start"));
        // Else it would only name the one that there is.
        for given in ["MASKLINE_TEST_RABBITMQ", "MASKLINE_TEST_RABBITMQ_HTTP"] {
            start.env_remove(given);
        }
        let output = start.arg(&files).output().await.expect("the script starts");
        let mut started = Self {
            folder,
            files,
            told: BTreeMap::new(),
        };
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            panic!("{name} does not start: {}", why.trim());
        }
        let lines = read(&started.files.join("env"));
        started.told = lines
            .lines()
            .filter_map(|line| {
                let (name, value) = line.split_once('=')?;
                Some((name.to_owned(), value.trim_matches('\'').to_owned()))
            })
            .collect();
        started
    }

    /// Where its files are.
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// What the script says of it under a variable's name.
    pub fn told(&self, variable: &str) -> &str {
        let told = self.told.get(variable);
        told.unwrap_or_else(|| panic!("the script says no {variable}"))
    }

    /// The same where it is an address.
    pub fn address(&self, variable: &str) -> Url {
        let address = self.told(variable).parse();
        address.expect("the script writes addresses")
    }
}

impl Drop for Started {
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

/// `tests/servers`.
pub fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("servers")
}

/// A file that a script wrote.
pub fn read(file: &Path) -> String {
    let text = std::fs::read_to_string(file);
    text.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
