//! Reads the rows of a shard.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::{
    array::{Array, AsArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray},
    datatypes::{Int32Type, Int64Type},
};
use bytes::Bytes;
use maskline_messages::{Face, ImageId, JobId};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::{error::ShardError, example::Original, faces::faces_of};

/// The number of rows that are read at a time.
const ROWS: usize = 256;

/// One image of a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub image: ImageId,
    /// An index into the dataset's classes.
    pub class: usize,
    /// The normalized image.
    pub jpeg: Bytes,
    /// The size of the normalized image in pixels.
    pub width: u32,
    pub height: u32,
    /// The image as it was fetched. Datasets of earlier builds do not tell.
    pub original: Option<Original>,
    /// The group of images that look the same or are of one photograph. Datasets of earlier builds
    /// do not tell, and then each image is a group of its own.
    pub group: ImageId,
    /// The jobs whose sources have the image. Datasets of earlier builds do not tell.
    pub jobs: Vec<JobId>,
    /// The faces in the picture. `None` means that nobody looked for them, or that the dataset is
    /// of an earlier build.
    pub faces: Option<Vec<Face>>,
}

/// Reads every row of a shard of a dataset that has `classes` classes.
///
/// # Errors
/// If the file is damaged, is not in the layout of a shard, or has a label that is not
/// one of the classes.
pub fn read(parquet: Bytes, classes: usize) -> Result<Vec<Row>, ShardError> {
    // The library panics at some contradictions in a damaged file, such as offsets
    // that lie outside it.
    let reading = AssertUnwindSafe(|| read_all(parquet, classes));
    catch_unwind(reading).unwrap_or(Err(ShardError::Contradictory))
}

fn read_all(parquet: Bytes, classes: usize) -> Result<Vec<Row>, ShardError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(parquet)?;
    let mut rows = vec![];
    for batch in builder.with_batch_size(ROWS).build()? {
        append(&batch?, classes, &mut rows)?;
    }
    Ok(rows)
}

fn append(batch: &RecordBatch, classes: usize, rows: &mut Vec<Row>) -> Result<(), ShardError> {
    let image = batch
        .column_by_name("image")
        .and_then(|c| c.as_struct_opt());
    let jpegs = image
        .and_then(|image| image.column_by_name("bytes"))
        .and_then(|column| column.as_binary_opt::<i32>())
        .ok_or(ShardError::NoColumn("image.bytes of binary values"))?;
    let labels = batch
        .column_by_name("label")
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or(ShardError::NoColumn("label of 64-bit integers"))?;
    let ids = batch
        .column_by_name("image_id")
        .and_then(|column| column.as_string_opt::<i32>())
        .ok_or(ShardError::NoColumn("image_id of text"))?;
    let [widths, heights] = sides(batch)?;
    // The fields may be null for the sake of other readers, and these never are. What has no
    // image has no bytes either.
    let never_null: [&dyn Array; 5] = [jpegs, labels, ids, widths, heights];
    if never_null.iter().any(|column| column.null_count() > 0) {
        return Err(ShardError::Missing);
    }
    let jobs = batch
        .column_by_name("jobs")
        .and_then(|column| column.as_list_opt::<i32>());
    let faces = batch
        .column_by_name("faces")
        .and_then(|column| column.as_list_opt::<i32>());
    let originals = Originals::of(batch);
    let groups = batch
        .column_by_name("near_group")
        .and_then(|column| column.as_string_opt::<i32>());
    for row in 0..batch.num_rows() {
        let label = labels.value(row);
        let class = usize::try_from(label).ok().filter(|&class| class < classes);
        let image = ids.value(row).parse()?;
        let group = groups.filter(|groups| groups.is_valid(row));
        let [width, height] = [widths, heights].map(|column| column.value(row).max(0) as u32);
        rows.push(Row {
            image,
            class: class.ok_or(ShardError::Label { label, classes })?,
            jpeg: Bytes::copy_from_slice(jpegs.value(row)),
            width,
            height,
            original: originals.as_ref().and_then(|all| all.row(row)),
            group: group.map_or(Ok(image), |groups| groups.value(row).parse())?,
            jobs: jobs.map_or(Ok(vec![]), |jobs| jobs_of(jobs, row))?,
            faces: faces.map_or(Ok(None), |lists| faces_of(lists, row, [width, height]))?,
        });
    }
    Ok(())
}

/// The columns of the widths and the heights of the images.
fn sides(batch: &RecordBatch) -> Result<[&Int32Array; 2], ShardError> {
    let side = |name| {
        let column = batch.column_by_name(name);
        let column = column.and_then(|column| column.as_primitive_opt::<Int32Type>());
        column.ok_or(ShardError::NoColumn("width and height of 32-bit integers"))
    };
    Ok([side("width")?, side("height")?])
}

/// The columns of the images as they were fetched.
struct Originals<'a> {
    sides: [&'a Int32Array; 2],
    bytes: &'a Int64Array,
    formats: &'a StringArray,
}

impl<'a> Originals<'a> {
    /// `None` if it is a shard of an earlier build.
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let column = |name| batch.column_by_name(name);
        let side = |name| column(name)?.as_primitive_opt::<Int32Type>();
        Some(Self {
            sides: [side("original_width")?, side("original_height")?],
            bytes: column("original_bytes")?.as_primitive_opt::<Int64Type>()?,
            formats: column("original_format")?.as_string_opt::<i32>()?,
        })
    }

    /// `None` if it is not known.
    fn row(&self, row: usize) -> Option<Original> {
        let [width, height] = self.sides.map(|side| {
            let side = side.is_valid(row).then(|| side.value(row))?;
            u32::try_from(side).ok()
        });
        let bytes = self.bytes.is_valid(row).then(|| self.bytes.value(row));
        Some(Original {
            format: self
                .formats
                .is_valid(row)
                .then(|| self.formats.value(row))?
                .parse()
                .ok()?,
            width: width?,
            height: height?,
            bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        })
    }
}

fn jobs_of(lists: &ListArray, row: usize) -> Result<Vec<JobId>, ShardError> {
    if lists.is_null(row) {
        return Ok(vec![]);
    }
    let list = lists.value(row);
    let ids = list
        .as_string_opt::<i32>()
        .ok_or(ShardError::NoColumn("jobs of lists of text"))?;
    let ids = ids.iter().map(|id| Ok(id.unwrap_or_default().parse()?));
    ids.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, ListBuilder, StringBuilder, StructArray, new_null_array},
        datatypes::Schema,
    };
    use parquet::arrow::ArrowWriter;

    use maskline_messages::Format;
    use maskline_test_support::messages::face;

    use super::*;
    use crate::{
        columns::fields,
        example::{Example, ExampleProvenance},
        write::ShardWriter,
    };

    fn example(class: usize, jpeg: &'static [u8]) -> Example {
        Example {
            image: ImageId::of(jpeg),
            class,
            jpeg: Bytes::from_static(jpeg),
            width: 2,
            height: 1,
            original: None,
            faces: None,
            group: None,
            provenance: ExampleProvenance::default(),
        }
    }

    fn shard(examples: &[Example]) -> Bytes {
        let classes = ["with_mask", "without_mask"].map(|class| class.parse().unwrap());
        let mut writer = ShardWriter::new(&classes).unwrap();
        // Two rows a group make several groups.
        let groups = examples.chunks(2).map(|group| writer.write(group).unwrap());
        let groups: Vec<Bytes> = groups.collect();
        [groups.concat(), writer.finish().unwrap().to_vec()]
            .concat()
            .into()
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let mut examples = [example(0, b"one"), example(1, b"two"), example(0, b"three")];
        examples[0].provenance.jobs = vec![JobId::draw(), JobId::draw()];
        examples[2].provenance.jobs = vec![JobId::draw()];
        examples[0].original = Some(Original {
            format: Format::Png,
            width: 640,
            height: 480,
            bytes: Some(1 << 40),
        });
        examples[1].original = Some(Original {
            format: Format::Webp,
            width: 2,
            height: 3,
            bytes: None,
        });
        examples[0].faces = Some(vec![face(), face()]);
        examples[1].faces = Some(vec![]);
        examples[2].group = Some(examples[0].image);
        let rows = examples.iter().map(|example| Row {
            image: example.image,
            class: example.class,
            jpeg: example.jpeg.clone(),
            width: example.width,
            height: example.height,
            original: example.original,
            group: example.group.unwrap_or(example.image),
            jobs: example.provenance.jobs.clone(),
            faces: example.faces.clone(),
        });
        let rows: Vec<Row> = rows.collect();
        assert_eq!(read(shard(&examples), 2).unwrap(), rows);
    }

    #[test]
    fn a_shard_of_an_earlier_build_has_no_jobs() {
        let mut fields = fields();
        let mut columns = columns();
        assert_eq!(fields.pop().unwrap().name(), "jobs");
        columns.pop();
        let schema = Arc::new(Schema::new(fields));
        let rows = read(written_as(schema, columns), 2).unwrap();
        assert_eq!((rows.len(), &rows[0].jobs), (1, &vec![]));
    }

    #[test]
    fn a_shard_of_an_earlier_build_has_no_faces() {
        let (mut kept, mut columns) = (fields(), columns());
        let at = kept.iter().position(|field| field.name() == "faces");
        kept.remove(at.unwrap());
        columns.remove(at.unwrap());
        let rows = read(written_as(Arc::new(Schema::new(kept)), columns), 2).unwrap();
        assert_eq!((rows.len(), &rows[0].faces), (1, &None));
    }

    #[test]
    fn a_shard_of_an_earlier_build_has_no_originals() {
        let is_original = |name: &str| name.starts_with("original_");
        let kept = fields().into_iter().zip(columns());
        let kept = kept.filter(|(field, _)| !is_original(field.name()));
        let (fields, columns): (Vec<_>, Vec<_>) = kept.unzip();
        let rows = read(written_as(Arc::new(Schema::new(fields)), columns), 2).unwrap();
        assert_eq!((rows.len(), rows[0].original), (1, None));
    }

    #[test]
    fn faces_of_another_shape_are_refused() {
        let mut wrong = example(0, b"one");
        wrong.faces = Some(vec![face()]);
        let whole = shard(&[wrong]);
        let builder = ParquetRecordBatchReaderBuilder::try_new(whole).unwrap();
        let batch = builder.build().unwrap().next().unwrap().unwrap();
        let at = batch.schema().index_of("faces").unwrap();
        let mut columns = batch.columns().to_vec();
        let (field, offsets, faces, nulls) = columns[at].as_list::<i32>().clone().into_parts();
        let (names, mut parts, of) = faces.as_struct().clone().into_parts();
        // A face without a box.
        parts[0] = new_null_array(names[0].data_type(), 1);
        let faces = Arc::new(StructArray::new(names, parts, of));
        columns[at] = Arc::new(ListArray::new(field, offsets, faces, nulls));
        let refused = read(written(columns), 2).unwrap_err();
        assert!(refused.to_string().contains("faces"), "{refused}");
    }

    #[test]
    fn a_job_that_is_no_id_is_refused() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("the newest")]);
        let mut columns = columns();
        *columns.last_mut().unwrap() = Arc::new(lists.finish());
        let refused = read(written(columns), 2).unwrap_err();
        assert!(refused.to_string().contains("a job id"), "{refused}");
    }

    /// The columns of a shard with one row.
    fn columns() -> Vec<ArrayRef> {
        let whole = shard(&[example(0, b"one")]);
        let builder = ParquetRecordBatchReaderBuilder::try_new(whole).unwrap();
        let batch = builder.build().unwrap().next().unwrap().unwrap();
        batch.columns().to_vec()
    }

    /// A shard of one row in which the value of one column is missing.
    fn shard_without(name: &str) -> Bytes {
        let columns = fields().into_iter().zip(columns());
        let columns = columns.map(|(field, column)| match field.name() == name {
            true => new_null_array(field.data_type(), 1),
            false => column,
        });
        written(columns.collect())
    }

    fn written(columns: Vec<ArrayRef>) -> Bytes {
        written_as(Arc::new(Schema::new(fields())), columns)
    }

    fn written_as(schema: Arc<Schema>, columns: Vec<ArrayRef>) -> Bytes {
        let mut writer = ArrowWriter::try_new(vec![], schema.clone(), None).unwrap();
        let batch = RecordBatch::try_new(schema, columns).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    #[test]
    fn a_row_without_a_value_is_refused_unless_it_is_its_provenance() {
        for name in ["image", "label", "image_id", "width", "height"] {
            let refused = read(shard_without(name), 2);
            assert!(matches!(refused, Err(ShardError::Missing)), "{name}");
        }
        for name in [
            "near_group",
            "original_width",
            "original_bytes",
            "original_format",
            "url",
            "fetched",
            "etag",
            "jobs",
            "faces",
        ] {
            assert_eq!(read(shard_without(name), 2).unwrap().len(), 1, "{name}");
        }
    }

    #[test]
    fn an_image_without_bytes_is_refused() {
        let mut columns = columns();
        let (fields, mut parts, nulls) = columns[0].as_struct().clone().into_parts();
        parts[0] = new_null_array(fields[0].data_type(), 1);
        columns[0] = Arc::new(StructArray::new(fields, parts, nulls));
        let refused = read(written(columns), 2);
        assert!(matches!(refused, Err(ShardError::Missing)));
    }

    #[test]
    fn a_label_that_is_not_a_class_and_a_file_that_is_not_parquet_are_refused() {
        let refused = read(shard(&[example(2, b"")]), 2).unwrap_err();
        assert!(refused.to_string().contains("label 2"), "{refused}");
        assert!(read(Bytes::from_static(b"PAR1 not"), 2).is_err());
    }

    #[test]
    fn a_file_with_a_bit_changed_is_read_or_refused() {
        let whole = shard(&[example(0, b"one"), example(1, b"two")]);
        let mut contradictory = 0;
        for bit in 0..8 * whole.len() {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = read(damaged.into(), 2);
            contradictory += u32::from(matches!(read, Err(ShardError::Contradictory)));
        }
        assert!(contradictory > 0, "the library panics at nothing any more");
    }
}
