//! What Python's libraries read: frozen datasets, and pictures.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// What the libraries see. `tests/python/read_dataset.py` prints it.
#[derive(Debug, Deserialize)]
pub struct PythonView {
    /// The types of the columns in Hugging Face `datasets`, as it writes them.
    pub features: BTreeMap<String, String>,
    /// The metadata that Hugging Face's Hub reads from the card.
    pub card: Value,
    /// The rows of each split in the order of the shards, by library (`datasets`, `pandas`,
    /// `duckdb`).
    pub rows: BTreeMap<String, BTreeMap<String, Vec<PythonRow>>>,
    /// The faces of each image, by library. `None` where nobody looked for them.
    pub faces: BTreeMap<String, BTreeMap<String, Option<Vec<PythonFace>>>>,
    /// The width, the height and the mode of each picture that `datasets` decodes, by image.
    pub pictures: BTreeMap<String, (u32, u32, String)>,
    /// The images that `attribution.csv` lists.
    pub attributed: Vec<String>,
}

/// The image's id, its label, its URL, and when it was fetched, in milliseconds since 1970.
pub type PythonRow = (String, String, Option<String>, Option<i64>);

/// The box of a face (left, top, width, height), its last key point (x, y) and its score.
pub type PythonFace = (Vec<f64>, Vec<f64>, f64);

/// Reads the dataset whose manifest lies in `folder` with Python's libraries.
pub fn read_dataset(folder: &Path) -> PythonView {
    run("read_dataset.py", folder)
}

/// Decodes the pictures in `folder` with Pillow, which writes their pixels to NAME.rgb. It
/// returns the width and the height of each, or `None` if Pillow can't decode it.
pub fn decode_pictures(folder: &Path) -> BTreeMap<String, Option<(u32, u32)>> {
    run("decode_pictures.py", folder)
}

/// Writes pictures of every kind to `folder`.
pub fn write_pictures(folder: &Path) {
    run("write_pictures.py", folder)
}

/// Runs a script of `tests/python` for a folder, and returns what it prints.
fn run<T: DeserializeOwned>(script: &str, folder: &Path) -> T {
    let python = std::env::var("MASKLINE_TEST_PYTHON")
        .expect("MASKLINE_TEST_PYTHON names a Python with the libraries: run tests/run");
    let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../python");
    let home = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(python)
        .arg(scripts.join(script))
        .arg(folder)
        .env_clear()
        // The libraries keep what they have read below the home folder, and ask nobody on
        // the web.
        .env("HOME", home.path())
        .env("HF_HUB_OFFLINE", "1")
        // They are not to leave compiled scripts in the source tree.
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}
