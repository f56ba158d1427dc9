//! The list of images with what their licences ask to be shown, a CSV file.

use bytes::Bytes;
use csv::{Writer, WriterBuilder};

use crate::{
    columns::{COLUMNS, Kind},
    example::Example,
};

/// The columns of the list. They are also columns of the shards.
const LISTED: [&str; 8] = [
    "image_id",
    "url",
    "landing_page",
    "title",
    "creator",
    "license",
    "license_url",
    "attribution",
];

/// The first line of the list: the names of its columns.
pub fn attribution_header() -> Bytes {
    lines(|csv| csv.write_record(LISTED))
}

/// The lines of the list about these images. What is not known is an empty field.
pub fn attribution_rows(examples: &[Example]) -> Bytes {
    lines(|csv| {
        examples.iter().try_for_each(|example| {
            let image = example.image.to_string();
            csv.write_record(LISTED.iter().map(|name| field(name, example, &image)))
        })
    })
}

fn field<'a>(name: &str, example: &'a Example, image: &'a str) -> &'a str {
    let column = COLUMNS.iter().find(|column| column.name == name);
    match column.map(|column| column.kind) {
        Some(Kind::Text(text)) => text(&example.provenance).as_deref().unwrap_or_default(),
        _ => image,
    }
}

fn lines(write: impl FnOnce(&mut Writer<Vec<u8>>) -> csv::Result<()>) -> Bytes {
    // A quoted line break in a field is no end of a line.
    let mut csv = WriterBuilder::new().from_writer(vec![]);
    write(&mut csv).expect("memory takes every line, and all have the same number of fields");
    csv.into_inner().expect("memory takes every line").into()
}

#[cfg(test)]
mod tests {
    use maskline_messages::ImageId;

    use super::*;
    use crate::example::ExampleProvenance;

    #[test]
    fn the_list_has_a_line_for_each_image_and_keeps_quotes_and_line_breaks() {
        let known = ExampleProvenance {
            url: Some("https://example.org/1.jpg".to_owned()),
            title: Some("A \"face\",\nwith a mask".to_owned()),
            license: Some("by 4.0".to_owned()),
            source: Some("is not in the list".to_owned()),
            ..ExampleProvenance::default()
        };
        let examples = [known, ExampleProvenance::default()].map(|provenance| Example {
            image: ImageId::of(b"an image"),
            class: 0,
            jpeg: Bytes::new(),
            width: 1,
            height: 1,
            original: None,
            faces: None,
            group: None,
            provenance,
        });
        let id = ImageId::of(b"an image");
        let list = [attribution_header(), attribution_rows(&examples)].concat();
        let expected = format!(
            "image_id,url,landing_page,title,creator,license,license_url,attribution\n\
             {id},https://example.org/1.jpg,,\"A \"\"face\"\",\nwith a mask\",,by 4.0,,\n\
             {id},,,,,,,\n"
        );
        assert_eq!(String::from_utf8(list).unwrap(), expected);
    }

    #[test]
    fn every_listed_column_is_a_column_of_the_shards() {
        for name in LISTED {
            let column = COLUMNS.iter().find(|column| column.name == name);
            let kind = column.map(|column| column.kind);
            assert!(
                matches!(kind, Some(Kind::Text(_) | Kind::ImageId)),
                "{name}"
            );
        }
    }
}
