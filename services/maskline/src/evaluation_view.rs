//! How good networks are, as text: on each split, and on the images of each source.

use comfy_table::{Cell, Table};
use maskline_storage::records::{Evaluation, SplitScore};

use crate::output::{self, number, percent};

/// What [`with_interval`] has in brackets.
pub(crate) const IN_BRACKETS: &str = "In brackets: the 95 % confidence interval of the accuracy.";

/// What the splits are called.
const TEST: &str = "all test images";
const VALIDATION: &str = "all validation images";

/// A table of how good some networks are on one dataset, and what there is to say about it. Each
/// network comes with its name. The test split is first: what a network does on photographs from
/// elsewhere is what its users will see of it.
pub(crate) fn text(networks: &[(String, &Evaluation)]) -> String {
    let mut text = table(networks).to_string();
    let evaluations = || networks.iter().map(|(_, evaluation)| *evaluation);
    text += &format!("\n{IN_BRACKETS}");
    if evaluations().flat_map(splits).any(has_shared_images) {
        text += "\nAn image that several sources have counts for each of them.";
    }
    if evaluations().all(|evaluation| evaluation.test.is_none()) {
        text += "\nThere are no test images. To see how good a network is on photographs from \
                 elsewhere,\nenqueue a source of them with --role test, and train again.";
    }
    text
}

/// The accuracy on the test split, if there is one.
pub(crate) fn test_accuracy(evaluation: Option<&Evaluation>) -> Option<f32> {
    Some(evaluation?.test.as_ref()?.accuracy)
}

fn splits(evaluation: &Evaluation) -> impl Iterator<Item = &SplitScore> {
    let test = evaluation.test.iter();
    test.chain([&evaluation.validation])
}

fn has_shared_images(score: &SplitScore) -> bool {
    let of_sources = score.sources.iter().map(|source| source.images);
    of_sources.sum::<u64>() > score.images
}

fn table(networks: &[(String, &Evaluation)]) -> Table {
    let names = networks.iter().map(|(name, _)| name.as_str());
    let headings: Vec<&str> = ["measured on", "images"].into_iter().chain(names).collect();
    let mut table = output::table(&headings);
    let of_split = |split: fn(&Evaluation) -> Option<&SplitScore>| -> Vec<Option<&SplitScore>> {
        let evaluations = networks.iter();
        evaluations
            .map(|(_, evaluation)| split(evaluation))
            .collect()
    };
    add_split(&mut table, TEST, &of_split(|of| of.test.as_ref()));
    let validation = of_split(|of| Some(&of.validation));
    add_split(&mut table, VALIDATION, &validation);
    table
}

/// Adds a line for the split and one for each of its sources. There is a score for each network
/// that was measured on the split.
fn add_split(table: &mut Table, name: &str, scores: &[Option<&SplitScore>]) {
    let Some(first) = scores.iter().flatten().next() else {
        return;
    };
    let measured = scores.iter().filter(|_| first.images > 0);
    let cells = measured.map(|score| match score {
        Some(score) => number(with_interval(score.accuracy, score.interval)),
        None => number(percent(None)),
    });
    let images = number(first.images);
    table.add_row([Cell::new(name), images].into_iter().chain(cells));
    for source in &first.sources {
        let of_source = |score: &SplitScore| {
            let mut sources = score.sources.iter();
            let same = sources.find(|other| other.source == source.source)?;
            Some(match same.interval {
                Some(interval) => with_interval(same.accuracy, interval),
                None => percent(Some(same.accuracy)),
            })
        };
        let of_networks = scores.iter().map(|score| score.and_then(of_source));
        let cells = of_networks.map(|text| number(text.unwrap_or_else(|| percent(None))));
        let name = Cell::new(format!("  {}", source.source));
        table.add_row([name, number(source.images)].into_iter().chain(cells));
    }
    if first.more_sources > 0 {
        table.add_row([format!("  and {} more sources", first.more_sources)]);
    }
}

/// The accuracy with its 95 % confidence interval, in percent.
pub(crate) fn with_interval(accuracy: f32, interval: [f32; 2]) -> String {
    let [low, high] = interval.map(|share| share * 100.0);
    format!("{} ({low:.1}–{high:.1})", percent(Some(accuracy)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use maskline_messages::SourceRole;
    use maskline_storage::records::SourceScore;

    use super::*;

    fn score(images: u64, accuracy: f32, sources: &[(&str, u64, f32)]) -> SplitScore {
        let source = |&(name, images, accuracy): &(&str, u64, f32)| SourceScore {
            source: name.to_owned(),
            role: SourceRole::Train,
            images,
            accuracy,
            interval: Some([accuracy - 0.05, f32::min(accuracy + 0.05, 1.0)]),
        };
        SplitScore {
            images,
            accuracy,
            interval: [accuracy - 0.05, f32::min(accuracy + 0.05, 1.0)],
            loss: 0.1,
            recall: BTreeMap::new(),
            sources: sources.iter().map(source).collect(),
            more_sources: 0,
        }
    }

    fn lines(text: &str) -> Vec<&str> {
        text.lines().map(str::trim).collect()
    }

    #[test]
    fn the_test_images_come_first_and_each_network_has_a_column() {
        let validation = score(16, 0.9, &[("page a", 10, 1.0), ("page b", 7, 0.5)]);
        let one = Evaluation {
            test: Some(score(4, 0.75, &[("page c", 4, 0.75)])),
            validation: validation.clone(),
        };
        let other = Evaluation {
            validation: SplitScore {
                accuracy: 0.8,
                interval: [0.75, 0.85],
                ..validation
            },
            ..one.clone()
        };
        let text = text(&[("mine".to_owned(), &one), ("yours".to_owned(), &other)]);
        let lines = lines(&text);
        let headings = lines[1].split_whitespace().collect::<Vec<_>>();
        assert_eq!(headings, ["measured", "on", "images", "mine", "yours"]);
        for (line, expected) in lines[3..].iter().zip([
            "all test images 4 75.0 % (70.0–80.0) 75.0 % (70.0–80.0)",
            "page c 4 75.0 % (70.0–80.0) 75.0 % (70.0–80.0)",
            "all validation images 16 90.0 % (85.0–95.0) 80.0 % (75.0–85.0)",
            "page a 10 100.0 % (95.0–100.0) 100.0 % (95.0–100.0)",
            "page b 7 50.0 % (45.0–55.0) 50.0 % (45.0–55.0)",
        ]) {
            assert_eq!(
                line.split_whitespace().collect::<Vec<_>>().join(" "),
                expected
            );
        }
        assert!(text.contains("counts for each of them"));
        assert!(!text.contains("--role test"));
    }

    #[test]
    fn a_source_that_an_earlier_build_measured_has_no_interval() {
        let mut validation = score(16, 0.9, &[("page a", 16, 0.9)]);
        validation.sources[0].interval = None;
        let evaluation = Evaluation {
            validation,
            test: None,
        };
        let text = text(&[("mine".to_owned(), &evaluation)]);
        let line = lines(&text)
            .into_iter()
            .find(|line| line.starts_with("page a"));
        let words: Vec<&str> = line.unwrap().split_whitespace().collect();
        assert_eq!(words, ["page", "a", "16", "90.0", "%"]);
    }

    #[test]
    fn without_a_test_split_it_says_how_to_get_one() {
        let evaluation = Evaluation {
            validation: score(16, 0.9, &[("page a", 16, 0.9)]),
            test: None,
        };
        let text = text(&[("mine".to_owned(), &evaluation)]);
        assert!(text.contains("with --role test"), "{text}");
        assert!(!text.contains("counts for each") && !text.contains("all test images"));
    }
}
