//! The columns of a shard: their names, their types, and what Hugging Face `datasets` calls
//! these types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use crate::{example::ExampleProvenance, faces};

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// The normalized JPEG with a name for it.
    Image,
    /// An index into the dataset's classes.
    Label,
    /// The SHA-256 of the bytes as they were fetched, in hexadecimal digits.
    ImageId,
    Width,
    Height,
    /// The width and the height of the image as it was fetched.
    OriginalWidth,
    OriginalHeight,
    /// The number of bytes of the file as it was fetched.
    OriginalBytes,
    /// The format of the file as it was fetched.
    OriginalFormat,
    /// The faces in the picture.
    Faces,
    /// The id of an image that stands for all that look the same or are of one photograph.
    Group,
    /// A text of the image's provenance.
    Text(fn(&ExampleProvenance) -> &Option<String>),
    /// The time at which the image was fetched.
    Fetched,
    /// The ids of the jobs whose sources have the image.
    Jobs,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind }
}

/// All columns in their order.
pub(crate) const COLUMNS: [Column; 22] = [
    column("image", Kind::Image),
    column("label", Kind::Label),
    column("image_id", Kind::ImageId),
    column("width", Kind::Width),
    column("height", Kind::Height),
    column("original_width", Kind::OriginalWidth),
    column("original_height", Kind::OriginalHeight),
    column("original_bytes", Kind::OriginalBytes),
    column("original_format", Kind::OriginalFormat),
    column("faces", Kind::Faces),
    column("near_group", Kind::Group),
    column("source", Kind::Text(|of| &of.source)),
    column("url", Kind::Text(|of| &of.url)),
    column("landing_page", Kind::Text(|of| &of.landing_page)),
    column("title", Kind::Text(|of| &of.title)),
    column("creator", Kind::Text(|of| &of.creator)),
    column("license", Kind::Text(|of| &of.license)),
    column("license_url", Kind::Text(|of| &of.license_url)),
    column("attribution", Kind::Text(|of| &of.attribution)),
    column("fetched", Kind::Fetched),
    column("etag", Kind::Text(|of| &of.etag)),
    column("jobs", Kind::Jobs),
];

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Image => DataType::Struct(image_fields()),
            Self::Label | Self::OriginalBytes => DataType::Int64,
            Self::ImageId | Self::Group | Self::OriginalFormat | Self::Text(_) => DataType::Utf8,
            Self::Width | Self::Height | Self::OriginalWidth | Self::OriginalHeight => {
                DataType::Int32
            }
            Self::Faces => faces::data_type(),
            Self::Fetched => DataType::Timestamp(TimeUnit::Millisecond, Some(TIME_ZONE.into())),
            Self::Jobs => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
        }
    }

    /// The name of the type of plain values in `datasets`. `None` for an image, a label, faces
    /// and a list.
    pub(crate) fn value_type(self) -> Option<&'static str> {
        match self {
            Self::Image | Self::Label | Self::Faces | Self::Jobs => None,
            Self::ImageId | Self::Group | Self::OriginalFormat | Self::Text(_) => Some("string"),
            Self::Width | Self::Height | Self::OriginalWidth | Self::OriginalHeight => {
                Some("int32")
            }
            Self::OriginalBytes => Some("int64"),
            Self::Fetched => Some("timestamp[ms, tz=UTC]"),
        }
    }
}

pub(crate) const TIME_ZONE: &str = "UTC";

/// The fields of the shard's schema.
///
/// All of them may be null, although only the group, the original, the faces and the provenance ever
/// are. `datasets` writes its own files like that, and it ignores the types of the features (`Image`, `ClassLabel`) in a file
/// whose fields differ from its own.
pub(crate) fn fields() -> Vec<Field> {
    let fields = COLUMNS.iter();
    fields
        .map(|column| Field::new(column.name, column.kind.data_type(), true))
        .collect()
}

/// The fields of the column `image`.
pub(crate) fn image_fields() -> Fields {
    [("bytes", DataType::Binary), ("path", DataType::Utf8)]
        .map(|(name, kind)| Arc::new(Field::new(name, kind, true)))
        .into_iter()
        .collect()
}
