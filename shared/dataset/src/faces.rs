//! The column of faces: a list of them for each image, null where nobody looked for them.
//!
//! A face is a struct of `bbox` (left, top, width and height as COCO has them), `keypoints` (a list
//! of points, each x and y, in the order of [`KeyPoints`](maskline_messages::KeyPoints)) and
//! `score`. Places are in pixels of the stored picture.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Float32Builder, ListArray, ListBuilder, StructArray,
        StructBuilder,
    },
    datatypes::{DataType, Field, Fields, Float32Type},
};
use maskline_messages::{Bounds, Face, Point};

use crate::{error::ShardError, example::Example};

/// What a reader expects, for [`ShardError::NoColumn`].
const EXPECTED: &str = "faces of lists of boxes, six points and scores";

/// The type of the column.
pub(crate) fn data_type() -> DataType {
    list(DataType::Struct(fields()))
}

fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(of, true)))
}

/// The fields of a face.
fn fields() -> Fields {
    let numbers = list(DataType::Float32);
    [
        ("bbox", numbers.clone()),
        ("keypoints", list(numbers)),
        ("score", DataType::Float32),
    ]
    .map(|(name, kind)| Arc::new(Field::new(name, kind, true)))
    .into_iter()
    .collect()
}

/// The column's values for some images.
pub(crate) fn values(examples: &[Example]) -> ArrayRef {
    type Numbers = ListBuilder<Float32Builder>;
    let numbers = || Numbers::new(Float32Builder::new());
    let faces = StructBuilder::new(
        fields(),
        vec![
            Box::new(numbers()),
            Box::new(ListBuilder::new(numbers())),
            Box::new(Float32Builder::new()),
        ],
    );
    let mut lists = ListBuilder::new(faces);
    for example in examples {
        let (width, height) = (example.width as f32, example.height as f32);
        for face in example.faces.iter().flatten() {
            let bbox = face.bounds.in_pixels(example.width, example.height);
            let points = face.key_points.each();
            let points = points.map(|point| [point.x * width, point.y * height].map(Some));
            let values = lists.values();
            let builder = "the builder that was made for this field";
            let boxes: &mut Numbers = values.field_builder(0).expect(builder);
            boxes.append_value(bbox.map(Some));
            let keypoints: &mut ListBuilder<Numbers> = values.field_builder(1).expect(builder);
            keypoints.append_value(points.map(Some));
            let scores: &mut Float32Builder = values.field_builder(2).expect(builder);
            scores.append_value(face.score);
            values.append(true);
        }
        lists.append(example.faces.is_some());
    }
    Arc::new(lists.finish())
}

/// The faces of a row, whose picture has `width` × `height` pixels.
///
/// # Errors
/// If the list is not one that [`values`] writes.
pub(crate) fn faces_of(
    lists: &ListArray,
    row: usize,
    [width, height]: [u32; 2],
) -> Result<Option<Vec<Face>>, ShardError> {
    if lists.is_null(row) {
        return Ok(None);
    }
    let list = lists.value(row);
    let columns = list.as_struct_opt().and_then(Columns::of);
    let columns = columns.ok_or(ShardError::NoColumn(EXPECTED))?;
    let size = [width, height].map(|side| side.max(1) as f32);
    let faces = (0..list.len()).map(|face| columns.face(face, size));
    let faces: Option<Vec<Face>> = faces.collect();
    Ok(Some(faces.ok_or(ShardError::NoColumn(EXPECTED))?))
}

/// The fields of some faces.
struct Columns<'a> {
    boxes: &'a ListArray,
    keypoints: &'a ListArray,
    scores: &'a arrow::array::Float32Array,
}

impl<'a> Columns<'a> {
    fn of(faces: &'a StructArray) -> Option<Self> {
        Some(Self {
            boxes: faces.column_by_name("bbox")?.as_list_opt()?,
            keypoints: faces.column_by_name("keypoints")?.as_list_opt()?,
            scores: faces.column_by_name("score")?.as_primitive_opt()?,
        })
    }

    fn face(&self, face: usize, [width, height]: [f32; 2]) -> Option<Face> {
        let [left, top, wide, high] = numbers(self.boxes, face)?;
        let points = (!self.keypoints.is_null(face)).then(|| self.keypoints.value(face))?;
        let points: &ListArray = points.as_list_opt()?;
        let point = |at| {
            let [x, y] = numbers(points, at)?;
            Some(Point {
                x: x / width,
                y: y / height,
            })
        };
        let points: Option<Vec<Point>> = (0..points.len()).map(point).collect();
        let points: [Point; 6] = points?.try_into().ok()?;
        Some(Face {
            bounds: Bounds {
                left: left / width,
                top: top / height,
                width: wide / width,
                height: high / height,
            },
            score: (!self.scores.is_null(face)).then(|| self.scores.value(face))?,
            key_points: points.into(),
        })
    }
}

/// A list that is exactly these numbers.
fn numbers<const N: usize>(lists: &ListArray, row: usize) -> Option<[f32; N]> {
    if lists.is_null(row) {
        return None;
    }
    let list = lists.value(row);
    let numbers = list.as_primitive_opt::<Float32Type>()?;
    if numbers.null_count() > 0 {
        return None;
    }
    numbers.values().as_ref().try_into().ok()
}
