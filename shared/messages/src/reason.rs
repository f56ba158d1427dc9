//! Why an image was rejected, with the measurement that decided.

use serde::{Deserialize, Serialize};

use crate::{ids::CandidateId, label::Label};

/// A normal outcome: the input is no good. Serialized with a stable name in
/// `code` and the measurements beside it, so that reports can count by code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    // Fetching
    /// The server said that there is nothing (404, 410 …), or no more than an error page.
    HttpStatus {
        status: u16,
    },
    /// Not http(s), or an address that is not public.
    RefusedAddress {
        address: String,
    },
    /// More redirects than allowed, or a loop.
    TooManyRedirects {
        most: u32,
    },
    /// More bytes than allowed; `bytes` is what was announced or read until then.
    TooManyBytes {
        bytes: u64,
        most: u64,
    },
    /// The site's robots.txt asks robots to stay away from this URL.
    RobotsDisallowed {
        url: String,
    },
    /// A local file that vanished, may not be read, or is no plain file.
    Unreadable {
        detail: String,
    },
    /// No bytes at all.
    Empty,
    /// A line of the source that names no image. `line` counts from 1.
    BadSourceLine {
        line: u64,
        text: String,
        problem: String,
    },

    // Decoding
    /// The bytes are no image; `looks_like` says what they are (`html`, `pdf`, `unknown` …).
    NotAnImage {
        looks_like: String,
    },
    /// An image, in a format or variant that is not supported.
    Unsupported {
        format: String,
    },
    /// The file ends before the picture does.
    Truncated {
        detail: String,
    },
    /// The decoder gave up.
    Undecodable {
        detail: String,
    },
    /// More than one frame: which is the sample?
    Animated {
        frames: u32,
    },

    // Geometry, in pixels as shown (after EXIF orientation)
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

    // Content, all measures 0 to 1 on luma unless said otherwise
    /// One colour, or nearly: the standard deviation of luma.
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
    /// Sharpness is the variance of the Laplacian of the luma (0–255) at working size.
    Blurred {
        sharpness: f32,
        least: f32,
    },

    // Identity
    /// The same bytes as another candidate of the job.
    ExactDuplicate {
        of: CandidateId,
    },

    // Labelling
    /// The folder's name is no label.
    BadLabel {
        text: String,
    },
    /// Neither the source nor a folder gives a class.
    NoLabel,
    /// A class that the job does not have.
    UnknownLabel {
        label: Label,
        known: Vec<Label>,
    },
}

impl Reason {
    /// The stable name, as serialized in `code`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::HttpStatus { .. } => "http_status",
            Self::RefusedAddress { .. } => "refused_address",
            Self::TooManyRedirects { .. } => "too_many_redirects",
            Self::TooManyBytes { .. } => "too_many_bytes",
            Self::RobotsDisallowed { .. } => "robots_disallowed",
            Self::Unreadable { .. } => "unreadable",
            Self::Empty => "empty",
            Self::BadSourceLine { .. } => "bad_source_line",
            Self::NotAnImage { .. } => "not_an_image",
            Self::Unsupported { .. } => "unsupported",
            Self::Truncated { .. } => "truncated",
            Self::Undecodable { .. } => "undecodable",
            Self::Animated { .. } => "animated",
            Self::TooSmall { .. } => "too_small",
            Self::TooLarge { .. } => "too_large",
            Self::ExtremeAspect { .. } => "extreme_aspect",
            Self::Blank { .. } => "blank",
            Self::TooDark { .. } => "too_dark",
            Self::TooBright { .. } => "too_bright",
            Self::Blurred { .. } => "blurred",
            Self::ExactDuplicate { .. } => "exact_duplicate",
            Self::BadLabel { .. } => "bad_label",
            Self::NoLabel => "no_label",
            Self::UnknownLabel { .. } => "unknown_label",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HttpStatus { status } => write!(f, "the server answered {status}"),
            Self::RefusedAddress { address } => {
                write!(f, "{address} is not a public http(s) address")
            }
            Self::TooManyRedirects { most } => write!(f, "more than {most} redirects"),
            Self::TooManyBytes { bytes, most } => write!(f, "{bytes} bytes, {most} at most"),
            Self::RobotsDisallowed { url } => {
                write!(f, "the site's robots.txt disallows {url}")
            }
            Self::Unreadable { detail } => write!(f, "can't be read: {detail}"),
            Self::Empty => write!(f, "no bytes"),
            Self::BadSourceLine {
                line,
                text,
                problem,
            } => write!(f, "line {line}: {problem}: {text}"),
            Self::NotAnImage { looks_like } => write!(f, "not an image (looks like {looks_like})"),
            Self::Unsupported { format } => write!(f, "{format} is not supported"),
            Self::Truncated { detail } => write!(f, "the file ends early: {detail}"),
            Self::Undecodable { detail } => write!(f, "can't be decoded: {detail}"),
            Self::Animated { frames } => write!(f, "animated, {frames} frames"),
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
            Self::BadLabel { text } => write!(
                f,
                "the folder {text:?} is no label (1 to 64 letters, digits, `_`, `-` or `.`): rename it"
            ),
            Self::NoLabel => write!(f, "no label: give --label, or --label-from folder"),
            Self::UnknownLabel { label, known } => {
                let known: Vec<_> = known.iter().map(Label::as_str).collect();
                write!(
                    f,
                    "{label} is not a class of this job ({})",
                    known.join(", ")
                )
            }
        }
    }
}
