//! Why a candidate was rejected, with the measurement that decided.

use maskline_foundation::text::printable;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantNames};
use url::Url;

use crate::{
    ids::CandidateId,
    label::Label,
    location::{MAX_URL, is_too_long},
};

/// Why a candidate is unfit. This is a normal outcome and not an error. JSON has a stable
/// name in `code` and the measurements beside it, so that reports can count by code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, IntoStaticStr, VariantNames)]
#[serde(tag = "code", rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    // Fetching
    /// The server answered with a status that will not get better, such as 404 or 410.
    HttpStatus {
        status: u16,
    },
    /// The address is not http(s), or it is not public.
    RefusedAddress {
        address: String,
    },
    /// There are more redirects than allowed, or they form a loop.
    TooManyRedirects {
        most: u32,
    },
    /// The file has more bytes than allowed. `bytes` is the announced size, or the number
    /// of bytes read before the limit was noticed.
    TooManyBytes {
        bytes: u64,
        most: u64,
    },
    /// The site's robots.txt asks robots to stay away from this URL.
    RobotsDisallowed {
        url: String,
    },
    /// The site has said that the image is not to be indexed, or not to be used for machine
    /// learning. `said` is how, such as `X-Robots-Tag: noai`.
    OptedOut {
        said: String,
    },
    /// The local file vanished, may not be read, or is not a plain file.
    Unreadable {
        detail: String,
    },
    /// The file has no bytes.
    Empty,
    /// The line of the source does not name an image. `line` counts from 1.
    BadSourceLine {
        line: u64,
        text: String,
        problem: String,
    },

    // Provenance
    /// The image's licence is none of those that were asked for. Where it is `None`, the source
    /// says nothing about a licence.
    License {
        license: Option<String>,
    },

    // Decoding
    /// The bytes are not an image. `looks_like` says what they seem to be: `html`, `pdf`,
    /// `unknown` and so on.
    NotAnImage {
        looks_like: String,
    },
    /// The image has a format, or a variant of a format, that is not supported.
    Unsupported {
        format: String,
    },
    /// The file ends before the picture does.
    Truncated {
        detail: String,
    },
    /// The decoder reported an error.
    Undecodable {
        detail: String,
    },
    /// The image has more than one frame, and it is not known which one is the sample.
    Animated {
        frames: u32,
    },
    /// Decoding it takes more than a picture may take. `limit` is what there was, such as `10 s of
    /// processor time`.
    TooCostly {
        limit: String,
    },
    /// The process that decoded it died, by this signal if it was one.
    DecoderCrashed {
        signal: Option<i32>,
    },

    // Geometry: the sides in pixels, after the EXIF orientation is applied
    TooSmall {
        width: u32,
        height: u32,
        least: u32,
    },
    TooLarge {
        width: u32,
        height: u32,
        most_pixels: u64,
    },
    ExtremeAspect {
        width: u32,
        height: u32,
        most: f32,
    },

    // Content: measures of luma, 0 to 1 unless said otherwise
    /// The image has one colour, or nearly: `deviation` is the standard deviation of luma.
    Blank {
        deviation: f32,
        least: f32,
    },
    TooDark {
        brightness: f32,
        least: f32,
    },
    TooBright {
        brightness: f32,
        most: f32,
    },
    /// `sharpness` is the variance of the Laplacian of luma (0 to 255) at the size that
    /// the validator measures at.
    Blurred {
        sharpness: f32,
        least: f32,
    },

    // Identity
    /// Another candidate of the collection has the same bytes.
    ExactDuplicate {
        of: CandidateId,
    },
    /// The server says that the image is the one that another candidate of the collection
    /// fetched from the same location before.
    Unchanged {
        since: CandidateId,
    },
    /// A person removed the image from the collection.
    Removed,

    // Labelling
    /// The folder's name, or what an archive or a dataset says of the image, is not a label.
    BadLabel {
        text: String,
    },
    /// Neither the source nor a folder gives a label.
    NoLabel,
    /// The label is not a class of the job.
    UnknownLabel {
        label: Label,
        known: Vec<Label>,
    },
}

impl Reason {
    /// The codes of the reasons for which a candidate is rejected although it is sound: the
    /// collection has the image already, by another candidate.
    pub const COPIES: [&'static str; 2] = ["exact_duplicate", "unchanged"];

    /// The reason's stable name, which JSON has in `code`.
    pub fn code(&self) -> &'static str {
        self.into()
    }
}

/// The reason in words. Others wrote some of the texts in it, so nothing in it moves the cursor of
/// a terminal.
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut words = String::new();
        self.write_words(&mut words)?;
        f.write_str(&printable(&words))
    }
}

/// Whether an address can be asked where it leads to a public host.
fn is_fetchable(address: &str) -> bool {
    let url = Url::parse(address).ok();
    url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && !is_too_long(&url))
}

impl Reason {
    fn write_words(&self, f: &mut impl std::fmt::Write) -> std::fmt::Result {
        match self {
            Self::HttpStatus { status } => write!(f, "the server answered {status}"),
            Self::RefusedAddress { address } => match is_fetchable(address) {
                true => write!(
                    f,
                    "{address} is not a public address: start the services with `maskline run \
                         --allow-private-hosts` to fetch from this machine or its network"
                ),
                false => write!(
                    f,
                    "{address} can't be asked: only http(s) addresses of at most {MAX_URL} bytes can"
                ),
            },
            Self::TooManyRedirects { most } => write!(f, "more than {most} redirects"),
            Self::TooManyBytes { bytes, most } => write!(f, "{bytes} bytes, {most} at most"),
            Self::RobotsDisallowed { url } => {
                write!(f, "the site's robots.txt disallows {url}")
            }
            Self::OptedOut { said } => write!(f, "the site has opted out ({said})"),
            Self::Unreadable { detail } => write!(f, "can't be read: {detail}"),
            Self::Empty => write!(f, "no bytes"),
            Self::BadSourceLine {
                line,
                text,
                problem,
            } => match text.as_str() {
                "" => write!(f, "line {line}: {problem}"),
                text => write!(f, "line {line}: {problem}: {text}"),
            },
            Self::License { license: None } => {
                write!(f, "the source says nothing about a licence")
            }
            Self::License {
                license: Some(license),
            } => write!(
                f,
                "the licence {license} is none of those that were asked for"
            ),
            Self::NotAnImage { looks_like } => write!(f, "not an image (looks like {looks_like})"),
            Self::Unsupported { format } => write!(f, "{format} is not supported"),
            Self::Truncated { detail } => write!(f, "the file ends early: {detail}"),
            Self::Undecodable { detail } => write!(f, "can't be decoded: {detail}"),
            Self::Animated { frames } => write!(f, "animated, {frames} frames"),
            Self::TooCostly { limit } => write!(f, "decoding it takes more than {limit}"),
            Self::DecoderCrashed {
                signal: Some(signal),
            } => write!(f, "the decoder crashed (signal {signal})"),
            Self::DecoderCrashed { signal: None } => write!(f, "the decoder crashed"),
            Self::TooSmall {
                width,
                height,
                least,
            } => write!(f, "{width}x{height}, at least {least} a side"),
            Self::TooLarge {
                width,
                height,
                most_pixels,
            } => write!(f, "{width}x{height}, {most_pixels} pixels at most"),
            Self::ExtremeAspect {
                width,
                height,
                most,
            } => write!(f, "{width}x{height}, {most}:1 at most"),
            Self::Blank { deviation, least } => {
                write!(f, "blank: deviation {deviation:.4}, at least {least}")
            }
            Self::TooDark { brightness, least } => {
                write!(f, "brightness {brightness:.3}, at least {least}")
            }
            Self::TooBright { brightness, most } => {
                write!(f, "brightness {brightness:.3}, at most {most}")
            }
            Self::Blurred { sharpness, least } => {
                write!(f, "sharpness {sharpness:.1}, at least {least}")
            }
            Self::ExactDuplicate { of } => write!(f, "the same bytes as candidate {of}"),
            Self::Unchanged { since } => write!(f, "the same as candidate {since} found before"),
            Self::Removed => write!(f, "a person removed it from the collection"),
            Self::BadLabel { text } => write!(
                f,
                "{text:?} is no label (1 to 64 letters, digits, `_`, `-` or `.`): rename the folder or the class"
            ),
            Self::NoLabel => write!(f, "no label: give --label, or --label-from folder"),
            Self::UnknownLabel { label, known } => {
                let known: Vec<_> = known.iter().map(Label::as_str).collect();
                write!(
                    f,
                    "{label} is not a class of this collection ({})",
                    known.join(", ")
                )
            }
        }
    }
}
