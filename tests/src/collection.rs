//! Images, good and bad, of which is known how each must end.

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use maskline_messages::ImageId;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::pictures::{self, blank, blurred, cut_short, face, jpeg, mirrored, png, strip};

/// The side of the drawn pictures, in pixels.
const SIDE: u32 = 120;

/// One place where an image is said to be.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Relative, its folder named for the class.
    pub path: String,
    pub label: &'static str,
    /// `None`: there is nothing.
    pub file: Option<Bytes>,
    pub end: End,
}

/// How a candidate must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Stored,
    /// With the reason's code.
    Rejected(&'static str),
}

pub fn class(masked: bool) -> &'static str {
    if masked { "with_mask" } else { "without_mask" }
}

/// What a job is made of.
#[derive(Debug, Clone, Default)]
pub struct Collection {
    pub entries: Vec<Entry>,
    /// Images that look the same as another and must stay on its side of the split.
    pub near_duplicates: Vec<(ImageId, ImageId)>,
    /// Lines of the list that name no image, with the reason's code.
    pub lines: Vec<(&'static str, &'static str)>,
    /// Stored images that must be in no split, because their like has another label.
    pub set_aside: Vec<ImageId>,
}

impl Collection {
    /// `faces` of each class, drawn from `seed` on.
    pub fn faces(seed: u64, faces: u64) -> Self {
        Self::faces_of_side(seed, faces, SIDE)
    }

    /// The same with so many pixels a side.
    pub fn faces_of_side(seed: u64, faces: u64, side: u32) -> Self {
        let mut collection = Self::default();
        for n in 0..faces {
            for masked in [true, false] {
                let file = jpeg(&face(seed + n, masked, side));
                let label = class(masked);
                collection.add(format!("{label}/face-{n}.jpg"), label, file, End::Stored);
            }
        }
        collection
    }

    /// `faces` of each class and the dirt that comes with them, in an order of its own.
    pub fn of_the_web(seed: u64, faces: u64) -> Self {
        // Numbers that no other of its pictures is drawn from.
        let (likes, dirt) = (seed + 10_000_000, seed + 20_000_000);
        let mut collection = Self::faces(seed, faces).with_likes(likes);
        for heap in 0..faces.div_ceil(20) {
            collection = collection.with_dirt(dirt + 10 * heap);
        }
        collection.with_dead_links().shuffled(seed)
    }

    /// Adds a file of a class that lies in the class's folder.
    pub fn add(&mut self, path: String, label: &'static str, file: Bytes, end: End) {
        self.entries.push(Entry {
            path,
            label,
            file: Some(file),
            end,
        });
    }

    /// Adds the images that are good but not simply to be stored: copies, look-alikes,
    /// and such with two labels.
    pub fn with_likes(mut self, seed: u64) -> Self {
        let stored = End::Stored;
        let copied = End::Rejected("exact_duplicate");
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
        // Which of the two is the copy is decided by who comes first.
        let file = jpeg(&face(seed + 2, true, SIDE));
        self.set_aside.push(ImageId::of(&file));
        for (label, end) in [(class(true), stored), (class(false), copied)] {
            self.add(format!("{label}/contested.jpg"), label, file.clone(), end);
        }
        self
    }

    /// Adds images of every kind that must be rejected, wherever they lie; another
    /// seed's have other names.
    pub fn with_dirt(mut self, seed: u64) -> Self {
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
            let end = End::Rejected(code);
            self.add(format!("{label}/{seed}-{name}"), label, file, end);
        }
        let hat = jpeg(&pictures::face(seed + 2, false, SIDE));
        let end = End::Rejected("unknown_label");
        self.add(format!("with_hat/{seed}-hat.jpg"), "with_hat", hat, end);
        self
    }

    /// Adds what only a list of URLs can have: what is not there, and broken lines.
    pub fn with_dead_links(mut self) -> Self {
        self.entries.push(Entry {
            path: "with_mask/gone.jpg".to_owned(),
            label: class(true),
            file: None,
            end: End::Rejected("http_status"),
        });
        self.lines = vec![
            ("no address at all,with_mask", "bad_source_line"),
            ("ftp://127.0.0.1/face.jpg,with_mask", "refused_address"),
        ];
        self
    }

    /// The same in an order drawn from `seed`.
    pub fn shuffled(mut self, seed: u64) -> Self {
        self.entries.shuffle(&mut StdRng::seed_from_u64(seed));
        self
    }

    pub fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.entries.iter().filter(|entry| wanted(entry)).count()
    }

    /// The books that `maskline status --json` must show in the end.
    pub fn books(&self) -> Value {
        let stored = self.count(|entry| entry.end == End::Stored);
        let found = self.entries.len() + self.lines.len();
        let entries = self.entries.iter().filter_map(|entry| match entry.end {
            End::Stored => None,
            End::Rejected(code) => Some(code),
        });
        let mut by_reason = BTreeMap::new();
        for code in entries.chain(self.lines.iter().map(|(_, code)| *code)) {
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
    pub fn dataset(&self) -> BTreeMap<ImageId, &'static str> {
        let stored = self.entries.iter().filter(|entry| entry.end == End::Stored);
        let named = stored.map(|entry| {
            let file = entry.file.as_ref().expect("what is stored was there");
            (ImageId::of(file), entry.label)
        });
        let split = |(image, _): &(ImageId, _)| !self.set_aside.contains(image);
        named.filter(split).collect()
    }

    /// Writes the files that there are.
    pub fn write(&self, folder: &Path) {
        for entry in &self.entries {
            let Some(file) = &entry.file else { continue };
            let path = folder.join(&entry.path);
            let parent = path.parent().expect("it is in the folder");
            std::fs::create_dir_all(parent).expect("a temporary folder takes folders");
            std::fs::write(path, file).expect("and files");
        }
    }
}

/// Of a job's view, what [`Collection::books`] says.
pub fn books_of(job: &Value) -> Value {
    let fields = job.as_object().expect("a job is an object").iter();
    let books = [
        "found",
        "stored",
        "rejected",
        "failed",
        "in_flight",
        "rejected_by_reason",
    ];
    let books = fields.filter(|(name, _)| books.contains(&name.as_str()));
    books
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
