//! Finds the colour profile of a BMP, which the `image` crate does not read.

/// The bytes of the header of version 5, and of the file header before it.
const HEADER: usize = 124;
const FILE_HEADER: usize = 14;

/// The ICC profile that a header of version 5 says is embedded (`BITMAPV5HEADER`).
pub fn profile(bytes: &[u8]) -> Option<Vec<u8>> {
    let behind = bytes.get(FILE_HEADER..)?;
    let header = behind.get(..HEADER)?;
    let number = |at: usize| {
        let bytes = header[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    let is_embedded = number(0) == HEADER && &header[56..60] == b"DEBM";
    // The place is counted from the header's beginning.
    let profile = behind.get(number(112)..)?.get(..number(116))?;
    is_embedded.then(|| profile.to_vec())
}
