//! The card of a dataset: a page that says what is in it, where it comes from and how it was
//! made. It is the `README.md` of the dataset's folder, whose front matter Hugging Face's Hub
//! and `datasets` read.
//!
//! * `facts`: what a card says.
//! * `front_matter`: the part for programs.
//! * `hub_license`: what the Hub calls a licence.
//! * `markdown`: texts and tables for people.
//! * `reasons`: the reasons for a rejection, in words.

mod facts;
mod front_matter;
mod hub_license;
mod markdown;
mod reasons;

use std::collections::BTreeMap;

use crate::{face_counts::FaceCounts, manifest::Manifest, split::Split, tally::Tally};
pub use facts::CardFacts;
use front_matter::front_matter;
use markdown::{counted, plain, table};

/// The most sources and the most licences that a card lists.
const MOST_LISTED: usize = 100;

/// Writes the card.
pub fn card(facts: &CardFacts) -> String {
    let sections = [
        ("Images", images(facts.manifest)),
        ("Faces", faces(facts.manifest)),
        ("Sources", sources(facts)),
        ("Licences", licenses(facts)),
        ("How it was cleaned", CLEANED.to_owned()),
        ("What was rejected", rejected(facts.rejected)),
        ("Near-duplicates", near_duplicates(facts.manifest)),
        ("How it was split", split(facts.manifest)),
    ];
    let mut card = format!(
        "---\n{}---\n\n# {}\n\n{INTRODUCTION}\n",
        front_matter(facts),
        plain(facts.name)
    );
    for (title, text) in sections {
        card += &format!("\n## {title}\n\n{}\n", text.trim_end());
    }
    card
}

const INTRODUCTION: &str = "\
Images with one label each, gathered and cleaned by maskline. `manifest.json` names the shards
with their SHA-256, and `attribution.csv` lists every image with its address, its maker and its
licence. Python reads the dataset with `datasets.load_dataset(FOLDER)`, pandas and DuckDB read the
Parquet files in `data/`.";

const CLEANED: &str = "\
Every image passed these checks. The first one that an image does not pass is the reason for its
rejection.

1. The file can be had, and the robots.txt of its site lets programs have it, unless the scraper was
   told to ignore that.
2. It is a still image in a supported format that can be decoded from its first byte to its last.
3. The picture has neither too few nor too many pixels, and it is no strip.
4. It is neither too dark nor too bright, it is not of one colour, and it is not blurred.
5. It has a label that is a class of the dataset.
6. It is not a copy of another image, byte for byte. If the labels of copies contradict each
   other, the image is in no split.

The picture was then turned upright, converted to RGB, made smaller if it was large, and encoded as
a JPEG. `image_id` is the SHA-256 of the file as it was fetched.";

/// The images by split and class.
fn images(manifest: &Manifest) -> String {
    let splits: Vec<Split> = Split::ALL
        .into_iter()
        .filter(|&split| manifest.images(split) > 0)
        .collect();
    if splits.is_empty() {
        return "The dataset has no images.".to_owned();
    }
    let names = splits.iter().map(|split| split.name().to_owned());
    let head = [vec!["label".to_owned()], names.collect()].concat();
    let classes = manifest.classes.iter().map(|class| {
        let images = splits.iter().map(|&split| {
            let of_split = manifest.split(split);
            let images = of_split.and_then(|of_split| of_split.by_class.get(class));
            images.copied().unwrap_or_default().to_string()
        });
        [vec![plain(class.as_str())], images.collect()].concat()
    });
    let sums = splits.iter().map(|&split| manifest.images(split));
    let sums: Vec<String> = sums.map(|images| images.to_string()).collect();
    let sum = [vec!["all".to_owned()], sums].concat();
    table(&head, &classes.chain([sum]).collect::<Vec<_>>())
}

/// The images by split and number of faces.
fn faces(manifest: &Manifest) -> String {
    let counts = Split::ALL.into_iter().filter_map(|split| {
        let of_split = manifest.split(split).filter(|split| split.images > 0)?;
        Some((split, of_split.faces.unwrap_or_default().named()))
    });
    let counts: Vec<_> = counts.collect();
    let names = counts.iter().map(|(split, _)| split.name().to_owned());
    let head = [vec!["faces".to_owned()], names.collect()].concat();
    let kinds = FaceCounts::default().named().into_iter().enumerate();
    let rows = kinds.filter_map(|(kind, (name, _))| {
        let images = counts.iter().map(|(_, named)| named[kind].1);
        let images: Vec<u64> = images.collect();
        let is_found = images.iter().any(|&images| images > 0);
        let images = images.iter().map(u64::to_string).collect();
        is_found.then(|| [vec![name.to_owned()], images].concat())
    });
    let table = table(&head, &rows.collect::<Vec<_>>());
    format!(
        "A detector looked for faces, and `faces` has their boxes, key points and scores. It misses \
         some, above all behind masks, so no image was rejected for having none. A picture with \
         several faces has one label, which may not be that of all of them: whoever learns from the \
         dataset can find these pictures by `faces`, and `maskline datasets review` lists them.\n\n\
         {table}"
    )
}

fn sources(facts: &CardFacts) -> String {
    tally_table("source", facts.sources, "not recorded", "further sources")
}

fn licenses(facts: &CardFacts) -> String {
    let table = tally_table("licence", facts.licenses, "not known", "further licences");
    format!(
        "The licences are those that the sources name. Nobody has checked them. Whoever uses an \
         image whose licence is not known must find out who owns it.\n\n{table}"
    )
}

/// A table of the texts with their counts. `unknown` and `others` name the rows of the images
/// that have no text, and of those whose text is not listed.
fn tally_table(title: &str, tally: &Tally, unknown: &str, others: &str) -> String {
    let texts = tally.texts();
    let (listed, cut) = texts.split_at(texts.len().min(MOST_LISTED));
    let rest = tally.others() + cut.iter().map(|(_, images)| images).sum::<u64>();
    let named = listed.iter().map(|&(text, images)| (plain(text), images));
    let unnamed = [(others, rest), (unknown, tally.unknown())];
    let unnamed = unnamed.into_iter().filter(|&(_, images)| images > 0);
    let rows = named.chain(unnamed.map(|(name, images)| (name.to_owned(), images)));
    let rows = rows.map(|(name, images)| vec![name, images.to_string()]);
    table(
        &[title.to_owned(), "images".to_owned()],
        &rows.collect::<Vec<_>>(),
    )
}

fn rejected(by_reason: &BTreeMap<String, u64>) -> String {
    let all: u64 = by_reason.values().sum();
    if all == 0 {
        return "Nothing was rejected.".to_owned();
    }
    let head = ["reason", "meaning", "rejected"].map(str::to_owned);
    let rows = by_reason.iter().map(|(code, count)| {
        let meaning = reasons::meaning(code).unwrap_or_default();
        vec![plain(code), meaning.to_owned(), count.to_string()]
    });
    let rows: Vec<_> = rows.collect();
    let rejected = counted(all, "candidate was", "candidates were");
    format!("{rejected} rejected.\n\n{}", table(&head, &rows))
}

fn near_duplicates(manifest: &Manifest) -> String {
    let groups = counted(manifest.near_duplicate_groups, "group", "groups");
    let distance = counted(manifest.split_settings.near_distance.into(), "bit", "bits");
    let set_aside = counted(manifest.set_aside, "image is", "images are");
    let crops = match manifest.split_settings.detail_distance {
        None => String::new(),
        Some(distance) => format!(
            "So do images of one photograph, such as two crops of it: at least two details of them \
             agree, whose 63-bit perceptual hashes differ in at most {}, and they look the same \
             where one lies on the other. ",
            counted(distance.into(), "bit", "bits")
        ),
    };
    format!(
        "Images that look the same form a group: their 64-bit perceptual hashes, or that of one and \
         of the other's mirror image, differ in at most {distance}. {crops}A group is in one split as a \
         whole, because an image that a network has learnt from would be too easy to recognize. \
         The dataset has {groups} of more than one image. Other photographs of the same person are not \
         told apart from those of other persons, and may be in another split.\n\n\
         {set_aside} in no split, because images that look the same have different labels, one of \
         which must be wrong."
    )
}

fn split(manifest: &Manifest) -> String {
    let settings = &manifest.split_settings;
    let share = 100.0 * settings.validation;
    let mut text = format!(
        "About {share:.0} % of each class are in the validation split: whole groups of images that \
         look the same or are of one photograph, drawn at random with the seed {}. The same images and the same seed give \
         the same splits.",
        settings.seed
    );
    if manifest.images(Split::Test) > 0 {
        text += " The images of the test split come from sources that were named for testing only. \
                 No network learns from them, and none is chosen by them.";
    }
    text
}

#[cfg(test)]
mod tests;
