//! Small files that take a lot of memory or time, one of each kind.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use flate2::{Compression, write::ZlibEncoder};

use super::*;

const MIB: u64 = 1 << 20;

/// What a worker may take at most: its program, what it keeps, what it may take unasked, what the
/// decoder may take, and the file itself.
const MOST_MEMORY: u64 = (40 + 48 + 32 + 88 + 8) * MIB;

/// More than the ten seconds of processor time that a picture has.
const MOST_TIME: Duration = Duration::from_secs(40);

#[tokio::test]
async fn each_attack_is_rejected_within_the_bounds_and_a_good_picture_is_accepted_after_it() {
    let attacks = [
        (
            "a JPEG in a TIFF, much larger than the TIFF says",
            jpeg_in_tiff(),
        ),
        ("a JPEG of ten thousand scans", scans(10_000)),
        ("a colour profile of 512 MiB in a PNG", profile_in_png(512)),
        ("a tile of 1 GiB in a TIFF", tile_in_tiff()),
    ];
    let workers = workers();
    for (name, bytes) in attacks {
        let began = Instant::now();
        let rejected = verdict(&workers, &bytes).await;
        let (took, most) = (began.elapsed(), most_memory_of_ended_workers());
        let reason = rejected.map(|_| ()).expect_err(name).reason;
        println!("{name}: {reason}, {took:.1?}, {} MiB at most", most / MIB);
        assert!(took < MOST_TIME, "{name} took {took:?}");
        assert!(most < MOST_MEMORY, "{name} took {most} bytes");
        assert!(verdict(&workers, &good(300)).await.is_ok(), "{name}");
    }
}

/// The most memory that was resident at a time in any child process that has ended, in bytes.
fn most_memory_of_ended_workers() -> u64 {
    // SAFETY: all fields are numbers, for which zero is a value, and the call fills them.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    usage.ru_maxrss as u64 * 1024
}

/// The head of a JPEG (ITU-T T.81, annex B): ones for quantization, a progressive frame, and two
/// Huffman tables with one code each, of which the second is for AC coefficients.
fn jpeg_header(components: u8, side: u16, ac_symbol: u8) -> Vec<u8> {
    let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0];
    jpeg.extend([1; 64]);
    jpeg.extend([0xFF, 0xC2, 0, 8 + 3 * components, 8]);
    jpeg.extend([side.to_be_bytes(), side.to_be_bytes()].concat());
    jpeg.push(components);
    jpeg.extend((1..=components).flat_map(|component| [component, 0x11, 0]));
    for (class, symbol) in [(0x00, 0), (0x10, ac_symbol)] {
        jpeg.extend([0xFF, 0xC4, 0, 20, class, 1]);
        jpeg.extend([0; 15]);
        jpeg.push(symbol);
    }
    jpeg
}

/// A TIFF of 64 × 64 pixels whose strip is a JPEG that says that it is 16384 × 16384.
fn jpeg_in_tiff() -> Vec<u8> {
    let mut jpeg = jpeg_header(4, 16384, 0);
    jpeg.extend([0xFF, 0xDA, 0, 14, 4, 1, 0, 2, 0, 3, 0, 4, 0, 0, 0, 0]);
    jpeg.extend([0; 64]);
    jpeg.extend([0xFF, 0xD9]);
    // JPEG, CMYK, 64 rows a strip.
    tiff(64, &[(259, 7), (262, 5), (278, 64)], (273, 279), &jpeg)
}

/// A TIFF of 64 × 64 pixels in one tile of 16384 × 16384, compressed.
fn tile_in_tiff() -> Vec<u8> {
    let side = 16384;
    let pixels = zeros(1024);
    // Deflate, RGB with alpha.
    let fields = [(259, 8), (262, 2), (322, side), (323, side), (338, 2)];
    tiff(64, &fields, (324, 325), &pixels)
}

/// A TIFF (revision 6.0) of this side with four samples a pixel. `fields` are more fields of one
/// number each. The one strip or tile is `data`; the two fields of `place` say where it is.
fn tiff(side: u32, fields: &[(u16, u32)], place: (u16, u16), data: &[u8]) -> Vec<u8> {
    const SAMPLES: u32 = 4;
    const BITS_PER_SAMPLE: u16 = 258;
    let (bits_at, data_at, length) = (8, 16, data.len() as u32);
    let mut all = vec![
        (256, side),
        (257, side),
        (BITS_PER_SAMPLE, bits_at),
        (277, SAMPLES),
    ];
    all.extend([(place.0, data_at), (place.1, length)]);
    all.extend(fields);
    all.sort_unstable();
    let mut tiff = b"II*\0".to_vec();
    tiff.extend((data_at + length).to_le_bytes());
    tiff.extend([8, 0].repeat(SAMPLES as usize));
    tiff.extend(data);
    tiff.extend((all.len() as u16).to_le_bytes());
    for (tag, value) in all {
        // The bits are short numbers that lie elsewhere, the others long ones in place.
        let (kind, count) = match tag {
            BITS_PER_SAMPLE => (3u16, SAMPLES),
            _ => (4, 1),
        };
        tiff.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        tiff.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    tiff.extend([0; 4]);
    tiff
}

/// A grey JPEG of 3500 × 3500 pixels with so many scans, each of which says in nine bytes that
/// no pixel changes.
fn scans(count: usize) -> Vec<u8> {
    const SIDE: u32 = 3500;
    // The one code of the table is a run of blocks that are done, of 14 more bits (T.81, G.1.2.2).
    let mut jpeg = jpeg_header(1, SIDE as u16, 0xE0);
    let blocks = SIDE.div_ceil(8).pow(2);
    let mut bits = String::new();
    let mut left = blocks;
    while left >= 1 << 14 {
        let run = left.min((1 << 15) - 1);
        bits += &format!("0{:014b}", run - (1 << 14));
        left -= run;
    }
    assert_eq!(left, 0, "the last run has 14 more bits, too");
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    let bytes = (0..bits.len() / 8).map(|at| u8::from_str_radix(&bits[at * 8..at * 8 + 8], 2));
    let mut scan = vec![0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 63, 0x10];
    for byte in bytes.map(|byte| byte.expect("eight bits")) {
        scan.push(byte);
        if byte == 0xFF {
            scan.push(0);
        }
    }
    for _ in 0..count {
        jpeg.extend(&scan);
    }
    jpeg.extend([0xFF, 0xD9]);
    jpeg
}

/// A PNG of one grey line whose colour profile becomes so many MiB.
fn profile_in_png(mebibytes: usize) -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        png.extend((data.len() as u32).to_be_bytes());
        let mut checksum = flate2::Crc::new();
        checksum.update(kind);
        checksum.update(data);
        png.extend(kind);
        png.extend(data);
        png.extend(checksum.sum().to_be_bytes());
    };
    let side = 64u32;
    let mut header = [side.to_be_bytes(), side.to_be_bytes()].concat();
    header.extend([8, 0, 0, 0, 0]);
    chunk(b"IHDR", &header);
    chunk(b"iCCP", &[&b"x\0\0"[..], &zeros(mebibytes)].concat());
    // The pixels are missing.
    chunk(b"IEND", &[]);
    png
}

/// So many MiB of zeros, compressed.
fn zeros(mebibytes: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::fast());
    let mebibyte = vec![0; 1 << 20];
    for _ in 0..mebibytes {
        encoder.write_all(&mebibyte).expect("memory takes it");
    }
    encoder.finish().expect("memory takes it")
}
