//! The bytes of something that was fetched.

use bytes::Bytes;
use maskline_foundation::ByteRoom;
use maskline_messages::ImageId;

/// Bytes with their hash.
pub(crate) struct Body {
    pub(crate) bytes: Bytes,
    /// The SHA-256 of the bytes.
    pub(crate) image: ImageId,
    /// Room in the budget. It is held as long as the bytes are in hand.
    #[expect(dead_code, reason = "gives the room back when dropped")]
    room: ByteRoom,
}

impl Body {
    pub(super) fn new(bytes: Bytes, image: ImageId, room: ByteRoom) -> Self {
        Self { bytes, image, room }
    }
}
