//! Members that follow one another and have the same key, as the WebDataset format has it:
//! `key.jpg`, and beside it `key.cls` with the label, `key.json` with all that is known, `key.txt`
//! with the caption.
//!
//! An archive in another layout has groups of one file, which are candidates by themselves.

use std::path::Path;

use bytes::Bytes;
use maskline_messages::{Labeling, Location, Provenance, Reason};
use serde_json::{Map, Value};

use super::member::Head;
use crate::expand::{
    candidate::{STEP_CONTENT, SourceCandidate},
    columns,
    image_names::is_image,
    json,
    label::{folders_of, label_of, label_of_text},
    provenance,
};

/// How many members a group has at most.
const MAX_MEMBERS: usize = 64;

/// Files that stand beside an image without being one: what WebDataset's documentation and
/// img2dataset write.
const BESIDE: [&str; 16] = [
    "cls", "cls2", "json", "txt", "text", "caption", "id", "idx", "index", "npy", "npz", "pth",
    "pt", "pyd", "pickle", "xml",
];

/// Members with the same key.
#[derive(Default)]
pub(super) struct Group {
    members: Vec<(Head, Result<Bytes, Reason>)>,
    bytes: u64,
}

impl Group {
    /// Returns whether this member belongs to the group.
    pub(super) fn takes(&self, head: &Head) -> bool {
        let has_room = self.members.len() < MAX_MEMBERS && self.bytes < STEP_CONTENT;
        let first = self.members.first();
        has_room && first.is_some_and(|(first, _)| split(&first.name).0 == split(&head.name).0)
    }

    pub(super) fn add(&mut self, head: Head, content: Result<Bytes, Reason>) {
        self.bytes += content.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.members.push((head, content));
    }

    /// The candidates in the group.
    pub(super) fn candidates(
        self,
        archive: &Location,
        labeling: Option<&Labeling>,
    ) -> Vec<SourceCandidate> {
        let has_image = self.members.iter().any(|(head, _)| is_image(&head.name));
        let told = match has_image {
            true => Told::by(&self.members, labeling),
            false => Told::default(),
        };
        let is_candidate =
            |head: &Head| !has_image || is_image(&head.name) || !is_beside(&head.name);
        let members = self.members.into_iter();
        let members = members.filter(|(head, _)| is_candidate(head));
        members
            .map(|(head, content)| {
                let folders = || folders_of(Path::new(&head.name));
                let label = label_of(labeling, folders).transpose();
                let label = label.or_else(|| told.label.clone()).transpose();
                let location = Location::Member {
                    archive: Box::new(archive.clone()),
                    index: head.index,
                    name: head.name,
                };
                let mut candidate = SourceCandidate::with_content(location, label, content);
                candidate.provenance = told.provenance.clone();
                candidate
            })
            .collect()
    }
}

/// What the files beside an image tell about it.
#[derive(Default)]
struct Told {
    label: Option<Result<maskline_messages::Label, Reason>>,
    provenance: Provenance,
}

impl Told {
    fn by(members: &[(Head, Result<Bytes, Reason>)], labeling: Option<&Labeling>) -> Self {
        let text_of = |endings: &[&str]| {
            let mut members = members.iter();
            members.find_map(|(head, content)| {
                let ending = split(&head.name).1.to_ascii_lowercase();
                let content = content.as_ref().ok()?;
                let is_wanted = endings.contains(&ending.as_str());
                is_wanted.then(|| String::from_utf8_lossy(content))
            })
        };
        let json = text_of(&["json"]);
        let object = json
            .as_deref()
            .map(serde_json::from_str::<Map<String, Value>>);
        let (object, broken) = match object {
            Some(Ok(object)) => (object, None),
            Some(Err(error)) => (Map::new(), Some(error.to_string())),
            None => (Map::new(), None),
        };
        let mut told = Self::default();
        let mut label_field = None;
        if let Some(Labeling::Column { name, .. }) = labeling {
            let names = object.keys().map(String::as_str);
            label_field = columns::find(names, name.as_deref(), &columns::LABEL);
            let field = label_field.and_then(|index| object.values().nth(index));
            let field = field.and_then(json::text);
            // A name that was asked for is that of a field.
            let class = text_of(&["cls"]).filter(|_| name.is_none());
            let text = class.or(field);
            told.label = match (text, broken) {
                (Some(text), _) => label_of_text(&text, labeling)
                    .map_err(|_| Reason::BadLabel {
                        text: provenance::clean(&text),
                    })
                    .transpose(),
                (None, Some(error)) => Some(Err(Reason::Unreadable {
                    detail: format!("the .json beside it has no label, it is broken: {error}"),
                })),
                (None, None) => None,
            };
        }
        let caption = text_of(&["txt", "text", "caption"]);
        let caption = caption.as_deref().map(|text| ("caption", text.into()));
        let fields = object.iter().enumerate();
        let fields = fields.filter(|(index, _)| Some(*index) != label_field);
        let fields =
            fields.filter_map(|(_, (name, value))| Some((name.as_str(), json::text(value)?)));
        told.provenance = provenance::of_columns(fields.chain(caption));
        told
    }
}

/// The key of a name and what follows it: a key ends at the first dot of the file's own name.
fn split(name: &str) -> (&str, &str) {
    let begin = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[begin..].find('.') {
        Some(dot) if dot > 0 => (&name[..begin + dot], &name[begin + dot + 1..]),
        _ => (name, ""),
    }
}

fn is_beside(name: &str) -> bool {
    let ending = split(name).1.rsplit('.').next().unwrap_or_default();
    let ending = ending.to_ascii_lowercase();
    BESIDE.contains(&ending.as_str())
}
