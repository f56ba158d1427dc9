//! Lists that are Parquet files.

use tempfile::NamedTempFile;

use super::*;
use crate::expand::candidate::STEP_SIZE;

/// A Parquet file of URLs in row groups of 100 rows, with classes where `label` names them.
pub(super) fn parquet_of(urls: &[String], classes: Option<&[&str]>) -> Vec<u8> {
    use arrow::{
        array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray},
        datatypes::{DataType, Field, Int32Type, Schema},
    };
    use parquet::{
        arrow::ArrowWriter,
        basic::{Compression, ZstdLevel},
        file::{metadata::KeyValue, properties::WriterProperties},
    };

    let schema = Arc::new(Schema::new(vec![
        Field::new("TEXT", DataType::Utf8, true),
        Field::new("URL", DataType::Utf8, true),
        Field::new("label", DataType::Int64, true),
        Field::new_list("tokens", Field::new_list_field(DataType::Int32, true), true),
    ]));
    let features = classes.map(|names| {
        let label = serde_json::json!({ "names": names, "_type": "ClassLabel" });
        let info = serde_json::json!({ "info": { "features": { "label": label } } });
        vec![KeyValue::new("huggingface".to_owned(), info.to_string())]
    });
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(100))
        .set_key_value_metadata(features)
        .build();
    let mut writer = ArrowWriter::try_new(vec![], schema.clone(), Some(properties)).unwrap();
    let rows = urls.len();
    let texts = (0..rows).map(|n| (n % 2 == 0).then(|| format!("face {n}")));
    let tokens = (0..rows).map(|n| Some(vec![Some(n as i32)]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(texts)),
        Arc::new(StringArray::from_iter_values(urls)),
        Arc::new(Int64Array::from_iter_values(
            (0..rows).map(|n| n as i64 % 2),
        )),
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(tokens)),
    ];
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn a_parquet_list_is_read_from_any_row_on() {
    let urls: Vec<_> = (0..2 * STEP_SIZE + 250)
        .map(|n| format!("http://a/{n}"))
        .collect();
    let parquet = parquet_of(&urls, Some(&["without_mask", "with_mask"]));
    let (found, sizes) = all("faces.parquet", &parquet, Some(Labeling::column()))
        .await
        .unwrap();
    assert_eq!(sizes, [STEP_SIZE, STEP_SIZE, 250]);
    let labels = ["without_mask", "with_mask"];
    let expected: Vec<_> = (0..urls.len())
        .map(|n| format!("http://a/{n} {}", labels[n % 2]))
        .collect();
    assert_eq!(shown(&found), expected);
    assert_eq!(found[2].provenance.title.as_deref(), Some("face 2"));
    assert_eq!(found[3].provenance.title, None);
    assert!(
        found[2].provenance.other.is_empty(),
        "lists of numbers are not kept"
    );

    // One process that takes all steps goes on where it is, and finds the same.
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &parquet).unwrap();
    let list = Arc::new(LocalList::from_file(file.path(), ListOptions::default()).unwrap());
    let first = step(list.clone(), None).await.unwrap();
    let second = step(list.clone(), first.next_cursor.as_deref())
        .await
        .unwrap();
    let again = step(list, first.next_cursor.as_deref()).await.unwrap();
    assert_eq!(second.candidates, again.candidates);
    assert_eq!(shown(&second.candidates), urls[STEP_SIZE..2 * STEP_SIZE]);
}

#[tokio::test]
async fn a_parquet_that_is_no_list_says_what_it_has() {
    let parquet = parquet_of(&["http://a/1".to_owned()], None);
    let labelled = Labeling::Column {
        name: Some("class".to_owned()),
        map: Default::default(),
    };
    let options = |column: Option<&str>, labeling| ListOptions {
        column: column.map(str::to_owned),
        labeling,
        folder: None,
    };
    let columns = "(its columns: TEXT, URL, label, tokens)";
    let cases = [
        (options(Some("link"), None), "has no column `link`"),
        (options(Some("tokens"), None), "has no column `tokens`"),
        (options(None, Some(labelled)), "has no column `class`"),
    ];
    for (options, expected) in cases {
        let error = all_with("a.parquet", &parquet, options).await.unwrap_err();
        assert!(
            error.contains(expected) && error.contains(columns),
            "{error}"
        );
    }
    for damaged in [&parquet[..parquet.len() / 2], b"PAR1"] {
        let error = all("a.parquet", damaged, None).await.unwrap_err();
        assert!(
            error.contains("no Parquet file that can be read"),
            "{error}"
        );
    }
    let error = all("a.parquet", b"url\n", None).await.unwrap_err();
    assert!(error.contains("does not begin with PAR1"), "{error}");
}
