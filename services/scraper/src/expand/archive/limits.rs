//! What an archive may have. Archives come from strangers, and a few kilobytes can claim to
//! be petabytes.

/// How many bytes an archive on the web may have. It is kept in a temporary file.
pub(super) const MAX_BYTES: u64 = 16 << 30;

/// How many members an archive may have.
pub(super) const MAX_MEMBERS: u64 = 10_000_000;

/// How many bytes the name of a member may have.
pub(super) const MAX_NAME: usize = 1024;

/// How many bytes the headers of one member may have: a long name is a header of its own.
pub(super) const MAX_HEADERS: u64 = 1 << 20;

/// How many bytes an archive may become for each byte that it has, beyond [`FREE`]. Images are
/// compressed already: those of a real archive hardly shrink, and blank ones are of no use.
pub(super) const MAX_RATIO: u64 = 200;

/// How many bytes any archive may become.
pub(super) const FREE: u64 = 64 << 20;

/// How many bytes all members together may have.
pub(super) const MAX_TOTAL: u64 = 16 << 40;

/// A step passes over about so many bytes of what is of no use. More of it takes more steps, so
/// that none takes minutes.
pub(super) const STEP_SCAN: u64 = 1 << 30;

/// What is wrong with an archive of `packed` bytes that became `unpacked` bytes, if that is too
/// much.
pub(super) fn check_size(packed: u64, unpacked: u64) -> Result<(), String> {
    if unpacked > FREE.saturating_add(packed.saturating_mul(MAX_RATIO)) {
        return Err(format!(
            "{packed} bytes become {unpacked}, which is what a decompression bomb does and no \
             archive of images"
        ));
    }
    if unpacked > MAX_TOTAL {
        return Err(format!("it has more than {MAX_TOTAL} bytes, so split it"));
    }
    Ok(())
}
