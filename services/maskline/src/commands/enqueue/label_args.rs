//! The flags that say where the label of each image comes from.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::Args;
use maskline_messages::{Label, Labeling, Source};

#[derive(Debug, Args)]
pub(super) struct LabelArgs {
    /// The class of every image in the source
    #[arg(long, conflicts_with_all = ["label_from", "label_column", "label_map"])]
    label: Option<Label>,
    /// Take each image's class from its folder's name, or from what a list, an archive or a
    /// dataset says of it
    #[arg(long, value_enum)]
    label_from: Option<LabelFrom>,
    /// The column that has the classes, if it is not called `label`, `class`, `class_name`,
    /// `labels`, `category` or `cls`
    #[arg(long, value_name = "NAME")]
    label_column: Option<String>,
    /// What the texts in that column mean, such as 1=with_mask,0=without_mask; a text that is
    /// not named is a class itself
    #[arg(long, value_name = "TEXT=CLASS", value_delimiter = ',', value_parser = meaning)]
    label_map: Vec<(String, Label)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LabelFrom {
    /// The name of a folder that the image is in: of the nearest that is a class
    Folder,
    /// The label column of a list or a dataset, or the file KEY.cls or KEY.json in an archive
    Column,
}

impl LabelArgs {
    /// The labelling that the flags ask for.
    pub(super) fn labeling(&self, source: &Source, classes: &[Label]) -> Result<Labeling> {
        let named = self.label.iter();
        let mut named = named.chain(self.label_map.iter().map(|(_, label)| label));
        if let Some(label) = named.find(|label| !classes.contains(label)) {
            let classes: Vec<_> = classes.iter().map(Label::as_str).collect();
            bail!(
                "{label} is not one of the classes ({}): correct it, or name your classes with --classes",
                classes.join(", ")
            );
        }
        let about_column = self.label_column.is_some() || !self.label_map.is_empty();
        match (&self.label, self.label_from) {
            (Some(label), _) => Ok(Labeling::Declared {
                label: label.clone(),
            }),
            (None, from)
                if matches!(source, Source::Search(_)) && (from.is_some() || about_column) =>
            {
                bail!(
                    "the results of a search have neither folders nor columns: give --label CLASS"
                )
            }
            (None, Some(LabelFrom::Folder)) if about_column => bail!(
                "--label-column and --label-map are about a column: leave out --label-from folder"
            ),
            (None, Some(LabelFrom::Folder)) => Ok(Labeling::Folder {
                classes: classes.to_vec(),
            }),
            (None, None) if !about_column => {
                bail!("every image needs a class: give --label CLASS or --label-from folder|column")
            }
            // The other two flags mean this one, too.
            (None, Some(LabelFrom::Column) | None) => {
                if !has_columns(source) {
                    bail!(
                        "only a list of URLs, an archive or a dataset tells the class of each \
                         image: give --label CLASS or --label-from folder"
                    );
                }
                Ok(Labeling::Column {
                    name: self.label_column.clone(),
                    map: self.map()?,
                })
            }
        }
    }

    fn map(&self) -> Result<BTreeMap<String, Label>> {
        let mut map = BTreeMap::new();
        for (text, label) in &self.label_map {
            if let Some(other) = map.insert(text.clone(), label.clone())
                && other != *label
            {
                bail!("--label-map says that {text} is {other} and {label}: leave one out");
            }
        }
        Ok(map)
    }
}

fn has_columns(source: &Source) -> bool {
    match source {
        Source::Urls { .. } | Source::Archive { .. } | Source::Dataset { .. } => true,
        Source::Folder { .. } | Source::Page { .. } | Source::S3 { .. } | Source::Search(_) => {
            false
        }
    }
}

/// Reads one meaning of `--label-map`. The text may hold a `=`, the class can't.
fn meaning(text: &str) -> Result<(String, Label), String> {
    let (text, label) = text
        .rsplit_once('=')
        .ok_or("write TEXT=CLASS, such as 1=with_mask")?;
    let label = label.trim().parse().map_err(|error| format!("{error}"))?;
    Ok((text.trim().to_owned(), label))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use maskline_messages::Location;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        labels: LabelArgs,
    }

    fn list() -> Source {
        Source::Urls {
            list: Location::Path("a.csv".into()),
            url_column: None,
        }
    }

    fn labeling(flags: &[&str], source: &Source) -> Result<Labeling, String> {
        let flags = Flags::try_parse_from(["test"].iter().chain(flags))
            .map_err(|error| error.to_string())?;
        let classes = ["with_mask", "without_mask"].map(|class| class.parse().unwrap());
        let labeling = flags.labels.labeling(source, &classes);
        labeling.map_err(|error| error.to_string())
    }

    #[test]
    fn the_flags_say_where_labels_come_from() {
        let with: Label = "with_mask".parse().unwrap();
        let by_folder = Labeling::Folder {
            classes: vec![with.clone(), "without_mask".parse().unwrap()],
        };
        let mapped = Labeling::Column {
            name: Some("class".to_owned()),
            map: [("a=1".to_owned(), with.clone())].into(),
        };
        let cases: [(&[&str], Labeling); 4] = [
            (
                &["--label", "with_mask"],
                Labeling::Declared { label: with },
            ),
            (&["--label-from", "folder"], by_folder),
            (&["--label-from", "column"], Labeling::column()),
            (
                &["--label-column", "class", "--label-map", "a=1=with_mask"],
                mapped,
            ),
        ];
        for (flags, expected) in cases {
            assert_eq!(labeling(flags, &list()), Ok(expected), "{flags:?}");
        }
    }

    #[test]
    fn flags_that_make_no_sense_are_refused() {
        let page = Source::Page {
            url: "http://h/".parse().unwrap(),
            depth: 0,
            same_site: false,
        };
        let cases: [(&[&str], &Source, &str); 8] = [
            (&[], &list(), "every image needs a class"),
            (&["--label", "mask"], &list(), "not one of the classes"),
            (
                &["--label-map", "1=mask"],
                &list(),
                "not one of the classes",
            ),
            (&["--label-map", "1"], &list(), "write TEXT=CLASS"),
            (
                &["--label-map", "1=with_mask,1=without_mask"],
                &list(),
                "leave one out",
            ),
            (&["--label-from", "column"], &page, "only a list of URLs"),
            (
                &["--label-from", "folder", "--label-column", "a"],
                &list(),
                "leave out --label-from folder",
            ),
            (
                &["--label", "with_mask", "--label-column", "a"],
                &list(),
                "cannot be used with",
            ),
        ];
        for (flags, source, expected) in cases {
            let error = labeling(flags, source).unwrap_err();
            assert!(error.contains(expected), "{flags:?}: {error}");
        }
    }
}
