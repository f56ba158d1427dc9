//! Images, good and bad, each with the state in which the pipeline must leave it.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use maskline_messages::ImageId;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::pictures::{self, blank, blurred, cut_short, face, jpeg, mirrored, png, strip};

/// The side of the drawn pictures, in pixels.
const SIDE: u32 = 120;

/// One address at which a source promises an image.
#[derive(Debug, Clone)]
pub struct Entry {
    /// A relative path whose folder is named after the class.
    pub path: String,
    pub label: &'static str,
    /// `None` where there is no file at the address.
    pub file: Option<Bytes>,
    pub end_state: EndState,
}

/// The state in which a candidate must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndState {
    Stored,
    /// The text is the code of the reason.
    Rejected(&'static str),
}

/// The class of a face with or without a mask.
pub fn class(masked: bool) -> &'static str {
    if masked { "with_mask" } else { "without_mask" }
}

/// The images of a job.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    pub entries: Vec<Entry>,
    /// Pairs of images that look the same. Both must be in the same split.
    pub near_duplicates: Vec<(ImageId, ImageId)>,
    /// Lines of the list that name no image, each with the code of the reason.
    pub bad_lines: Vec<(&'static str, &'static str)>,
    /// Stored images that must be in no split, because an image that looks the same has
    /// another label.
    pub set_aside: Vec<ImageId>,
}

impl Collection {
    /// Draws `faces` faces of each class. The first has the number `seed`.
    pub fn faces(seed: u64, faces: u64) -> Self {
        Self::faces_of_side(seed, faces, SIDE)
    }

    /// Like [`faces`](Self::faces), with pictures of `side` pixels in height and width.
    pub fn faces_of_side(seed: u64, faces: u64, side: u32) -> Self {
        let mut collection = Self::default();
        for n in 0..faces {
            for masked in [true, false] {
                let file = jpeg(&face(seed + n, masked, side));
                let label = class(masked);
                collection.add(
                    format!("{label}/face-{n}.jpg"),
                    label,
                    file,
                    EndState::Stored,
                );
            }
        }
        collection
    }

    /// `faces` faces of each class, with the duplicates, files to reject and dead links
    /// that a list from the web has, in a random order.
    pub fn like_the_web(seed: u64, faces: u64) -> Self {
        // No other picture of the collection is drawn from these numbers.
        let (look_alikes, rejects) = (seed + 10_000_000, seed + 20_000_000);
        let mut collection = Self::faces(seed, faces).with_look_alikes(look_alikes);
        for batch in 0..faces.div_ceil(20) {
            collection = collection.with_rejects(rejects + 10 * batch);
        }
        collection.with_dead_links().shuffled(seed)
    }

    /// Adds a file with the label of its class.
    pub fn add(&mut self, path: String, label: &'static str, file: Bytes, end_state: EndState) {
        self.entries.push(Entry {
            path,
            label,
            file: Some(file),
            end_state,
        });
    }

    /// Adds sound images that look like others: exact copies, mirrored copies, and images
    /// with two labels.
    pub fn with_look_alikes(mut self, seed: u64) -> Self {
        let stored = EndState::Stored;
        let copied = EndState::Rejected("exact_duplicate");
        let originals: Vec<Entry> = self.entries.iter().take(4).cloned().collect();
        for (n, original) in originals.into_iter().enumerate() {
            let (label, file) = (original.label, original.file.expect("a face"));
            let picture = image::load_from_memory(&file).expect("we drew it");
            let mirror = png(&mirrored(&picture.to_rgb8()));
            let pair = (ImageId::of(&file), ImageId::of(&mirror));
            self.near_duplicates.push(pair);
            self.add(format!("{label}/copy-{n}.jpg"), label, file, copied);
            self.add(format!("{label}/mirror-{n}.png"), label, mirror, stored);
        }
        let picture = face(seed + 1, true, SIDE);
        for (label, file) in [(class(true), jpeg(&picture)), (class(false), png(&picture))] {
            self.set_aside.push(ImageId::of(&file));
            self.add(format!("{label}/disputed.img"), label, file, stored);
        }
        // Whichever of the two comes later is the copy.
        let file = jpeg(&face(seed + 2, true, SIDE));
        self.set_aside.push(ImageId::of(&file));
        for (label, end) in [(class(true), stored), (class(false), copied)] {
            self.add(format!("{label}/contested.jpg"), label, file.clone(), end);
        }
        self
    }

    /// Adds a file for every reason to reject one, whatever its source. Other seeds give
    /// other names.
    pub fn with_rejects(mut self, seed: u64) -> Self {
        let picture = face(seed, true, SIDE);
        let page = "<!DOCTYPE html><html><body>This picture has moved</body></html>";
        let noise: Vec<u8> = (0..2000u32).map(|n| (n * n / 7 % 251) as u8).collect();
        for (name, file, code) in [
            ("cut-short.jpg", cut_short(&jpeg(&picture)), "truncated"),
            ("page.jpg", page.into(), "not_an_image"),
            ("noise.jpg", noise.into(), "not_an_image"),
            ("tiny.jpg", jpeg(&face(seed, true, 12)), "too_small"),
            ("strip.jpg", jpeg(&strip(&picture)), "extreme_aspect"),
            ("blank.png", png(&blank(SIDE)), "blank"),
            ("blurred.jpg", jpeg(&blurred(&picture)), "blurred"),
            ("empty.jpg", Bytes::new(), "empty"),
        ] {
            let label = class(true);
            let end_state = EndState::Rejected(code);
            let path = format!("{label}/{seed}-{name}");
            self.add(path, label, file, end_state);
        }
        let hat = jpeg(&pictures::face(seed + 2, false, SIDE));
        let unknown = EndState::Rejected("unknown_label");
        self.add(format!("with_hat/{seed}-hat.jpg"), "with_hat", hat, unknown);
        self
    }

    /// Adds what only a list of URLs can have: an address without a file, and lines
    /// without an address.
    pub fn with_dead_links(mut self) -> Self {
        self.entries.push(Entry {
            path: "with_mask/gone.jpg".to_owned(),
            label: class(true),
            file: None,
            end_state: EndState::Rejected("http_status"),
        });
        self.bad_lines = vec![
            ("no address at all,with_mask", "bad_source_line"),
            ("ftp://127.0.0.1/face.jpg,with_mask", "refused_address"),
        ];
        self
    }

    /// The same images in a random order, which depends on `seed`.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.entries.shuffle(&mut StdRng::seed_from_u64(seed));
        self
    }

    /// How many entries are `wanted`.
    pub fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.entries.iter().filter(|entry| wanted(entry)).count()
    }

    /// The counts that `maskline status --json` must show in the end.
    pub fn counts(&self) -> Value {
        let stored = self.count(|entry| entry.end_state == EndState::Stored);
        let found = self.entries.len() + self.bad_lines.len();
        let entries = self
            .entries
            .iter()
            .filter_map(|entry| match entry.end_state {
                EndState::Stored => None,
                EndState::Rejected(code) => Some(code),
            });
        let mut by_reason = BTreeMap::new();
        for code in entries.chain(self.bad_lines.iter().map(|(_, code)| *code)) {
            *by_reason.entry(code).or_insert(0) += 1;
        }
        json!({
            "found": found,
            "stored": stored,
            "rejected": found - stored,
            "failed": 0,
            "in_flight": 0,
            "rejected_by_reason": by_reason,
        })
    }

    /// The label of every image that must be in the dataset.
    pub fn dataset_labels(&self) -> BTreeMap<ImageId, &'static str> {
        let stored = self
            .entries
            .iter()
            .filter(|entry| entry.end_state == EndState::Stored);
        let named = stored.map(|entry| {
            let file = entry.file.as_ref().expect("a stored image has a file");
            (ImageId::of(file), entry.label)
        });
        let is_in_split = |(image, _): &(ImageId, _)| !self.set_aside.contains(image);
        named.filter(is_in_split).collect()
    }

    /// Writes the files into `folder`.
    pub fn write(&self, folder: &Path) {
        for entry in &self.entries {
            let Some(file) = &entry.file else { continue };
            let path = folder.join(&entry.path);
            let parent = path.parent().expect("the path begins with the folder");
            std::fs::create_dir_all(parent).expect("a temporary folder takes folders");
            std::fs::write(path, file).expect("a temporary folder takes files");
        }
    }
}

/// The sums of the counts of several jobs, in the form of [`Collection::counts`].
pub fn counts_of_all(jobs: &[Value]) -> Value {
    fn add(sum: &mut Value, one: &Value) {
        match one {
            Value::Object(fields) => {
                if sum.is_null() {
                    *sum = json!({});
                }
                for (name, one) in fields {
                    add(&mut sum[name], one);
                }
            }
            one => *sum = json!(sum.as_u64().unwrap_or(0) + one.as_u64().unwrap_or(0)),
        }
    }
    let mut sum = Value::Null;
    for job in jobs {
        add(&mut sum, &counts_of(job));
    }
    sum
}

/// The counts of a job as `maskline status --json` shows it, in the form of
/// [`Collection::counts`].
pub fn counts_of(job: &Value) -> Value {
    let fields = job.as_object().expect("a job is an object").iter();
    let counts = [
        "found",
        "stored",
        "rejected",
        "failed",
        "in_flight",
        "rejected_by_reason",
    ];
    let counts = fields.filter(|(name, _)| counts.contains(&name.as_str()));
    counts
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
