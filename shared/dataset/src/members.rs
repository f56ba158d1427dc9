//! Which images a version of a collection has, and in which split each of them is or once
//! was. The next version keeps the split of its images by it, and two versions are compared
//! by it without their pixels.
//!
//! The file lies at [`ObjectKey::dataset_members`](maskline_messages::ObjectKey::dataset_members).
//! It is Parquet with these columns, sorted by image:
//!
//! | column | content |
//! |---|---|
//! | `image_sha256` | the image's id, 32 bytes |
//! | `split` | `train`, `validation` or `test` |
//! | `trained` | whether it is, or was in any earlier version, in the training split |
//! | `label` | the image's class; missing if the image is not in this version, but in that split of an earlier one |

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, StringArray,
    },
    datatypes::{DataType, Field, Schema},
};
use bytes::Bytes;
use maskline_messages::{ImageId, Label};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::Compression,
    errors::ParquetError,
    file::properties::WriterProperties,
};

use crate::{error::ShardError, split::Split};

/// The number of members that are written or read at a time.
pub const MEMBERS_GROUP: usize = 20_000;

/// One image of a version, or of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub image: ImageId,
    /// The split that it is in, or was in last.
    pub split: Split,
    /// Whether it is in the training split, or was in that of an earlier version.
    pub trained: bool,
    /// Its class. `None` if it is not in this version.
    pub label: Option<Label>,
}

/// Writes the members of a version, a group at a time. The file is the concatenation of the
/// pieces that [`MembersWriter::write`] and [`MembersWriter::finish`] return.
pub struct MembersWriter {
    writer: ArrowWriter<Vec<u8>>,
    schema: Arc<Schema>,
}

impl MembersWriter {
    pub fn new() -> Result<Self, ShardError> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("image_sha256", DataType::FixedSizeBinary(32), false),
            Field::new("split", DataType::Utf8, false),
            Field::new("trained", DataType::Boolean, false),
            Field::new("label", DataType::Utf8, true),
        ]));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // Hashes never repeat, so a dictionary of them is of no use.
            .set_column_dictionary_enabled("image_sha256".into(), false)
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        Ok(Self { writer, schema })
    }

    /// Writes `members` as one row group and returns the next piece of the file. They come
    /// sorted by image.
    pub fn write(&mut self, members: &[Member]) -> Result<Bytes, ShardError> {
        let images = members.iter().map(|member| member.image.as_bytes());
        let splits = members.iter().map(|member| member.split.name());
        let trained = members.iter().map(|member| Some(member.trained));
        let labels = members.iter();
        let labels = labels.map(|member| member.label.as_ref().map(Label::as_str));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(FixedSizeBinaryArray::try_from_iter(images)?),
            Arc::new(StringArray::from_iter_values(splits)),
            Arc::new(BooleanArray::from_iter(trained)),
            Arc::new(labels.collect::<StringArray>()),
        ];
        self.writer
            .write(&RecordBatch::try_new(self.schema.clone(), columns)?)?;
        self.writer.flush()?;
        self.writer.sync().map_err(ParquetError::from)?;
        Ok(std::mem::take(self.writer.inner_mut()).into())
    }

    /// Returns the last piece of the file.
    pub fn finish(self) -> Result<Bytes, ShardError> {
        Ok(self.writer.into_inner()?.into())
    }
}

/// Reads the members of a version, and gives them to `each` in the order of the file.
///
/// # Errors
/// If the file is damaged, or is not in the layout of such a file.
pub fn read_members(parquet: Bytes, mut each: impl FnMut(Member)) -> Result<(), ShardError> {
    // The library panics at some contradictions in a damaged file.
    let reading = AssertUnwindSafe(|| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(parquet)?;
        for batch in builder.with_batch_size(MEMBERS_GROUP).build()? {
            members_of(&batch?)?.into_iter().for_each(&mut each);
        }
        Ok(())
    });
    catch_unwind(reading).unwrap_or(Err(ShardError::Contradictory))
}

fn members_of(batch: &RecordBatch) -> Result<Vec<Member>, ShardError> {
    let images = batch
        .column_by_name("image_sha256")
        .and_then(|column| column.as_fixed_size_binary_opt())
        .filter(|column| column.value_length() == 32)
        .ok_or(ShardError::NoColumn("image_sha256 of 32 bytes"))?;
    let text = |name: &'static str, what| {
        let column = batch.column_by_name(name);
        let column = column.and_then(|column| column.as_string_opt::<i32>());
        column.ok_or(ShardError::NoColumn(what))
    };
    let splits = text("split", "split of text")?;
    let labels = text("label", "label of text")?;
    let trained = batch
        .column_by_name("trained")
        .and_then(|column| column.as_boolean_opt())
        .ok_or(ShardError::NoColumn("trained of true or false"))?;
    if images.null_count() + splits.null_count() + trained.null_count() > 0 {
        return Err(ShardError::Missing);
    }
    let member = |row: usize| {
        let digest: [u8; 32] = images.value(row).try_into().expect("32 bytes");
        let label = labels.is_valid(row).then(|| labels.value(row).parse());
        Ok(Member {
            image: ImageId::from_digest(digest),
            split: splits.value(row).parse()?,
            trained: trained.value(row),
            label: label.transpose()?,
        })
    };
    (0..batch.num_rows()).map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::{Example, ExampleProvenance};

    fn member(name: &str, split: Split, label: Option<&str>) -> Member {
        Member {
            image: ImageId::of(name.as_bytes()),
            split,
            trained: split == Split::Train || name == "c",
            label: label.map(|label| label.parse().unwrap()),
        }
    }

    fn written(groups: &[&[Member]]) -> Bytes {
        let mut writer = MembersWriter::new().unwrap();
        let mut file = vec![];
        for group in groups {
            file.extend_from_slice(&writer.write(group).unwrap());
        }
        file.extend_from_slice(&writer.finish().unwrap());
        file.into()
    }

    #[test]
    fn members_are_read_as_they_were_written() {
        let members = [
            member("a", Split::Train, Some("with_mask")),
            member("b", Split::Validation, None),
            member("c", Split::Test, Some("without_mask")),
        ];
        let file = written(&[&members[..2], &members[2..]]);
        let mut read = vec![];
        read_members(file, |member| read.push(member)).unwrap();
        assert_eq!(read, members);
    }

    #[test]
    fn a_version_may_have_no_members() {
        read_members(written(&[]), |member| panic!("{member:?}")).unwrap();
    }

    #[test]
    fn a_file_that_is_no_parquet_or_of_another_layout_is_refused() {
        assert!(read_members(Bytes::from_static(b"PAR1 not"), |_| {}).is_err());
        let example = Example {
            image: ImageId::of(b"a"),
            class: 0,
            jpeg: Bytes::from_static(b"a"),
            width: 1,
            height: 1,
            original: None,
            faces: None,
            group: None,
            provenance: ExampleProvenance::default(),
        };
        let classes = ["with_mask".parse().unwrap()];
        let shard = crate::write::shard(&classes, &[example]).unwrap();
        let refused = read_members(shard, |_| {});
        assert!(
            matches!(refused, Err(ShardError::NoColumn(_))),
            "{refused:?}"
        );
    }
}
