//! A small web site of drawn faces, mixed with bad files as on the real web, and a CSV
//! list of its URLs to enqueue.

use std::{collections::BTreeMap, io::Cursor, net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use image::{DynamicImage, RgbImage};
use maskline_messages::Label;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use tokio::net::TcpListener;
use url::Url;

use super::draw;

/// The names of the two classes, by the index of the class.
pub(crate) const CLASSES: [&str; 2] = ["with_mask", "without_mask"];

/// How many files of each kind the site holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    /// The number of good faces of each class.
    pub(crate) faces: u32,
    /// The number of bad files of each kind.
    pub(crate) dirt: u32,
    /// The seed of every random choice.
    pub(crate) seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            faces: 500,
            dirt: 6,
            seed: 42,
        }
    }
}

/// The site's files and its list.
pub(crate) struct Site {
    files: BTreeMap<String, Bytes>,
    /// The rows of the list: path and label.
    rows: Vec<(String, Label)>,
    /// The number of images that the pipeline must reject, by
    /// [`Reason::code`](maskline_messages::Reason::code).
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    /// The number of images that the pipeline must store.
    pub(crate) stored: u64,
}

/// The kinds of bad files, each with the code of the reason it must be rejected for.
const DIRT: [(&str, &str); 9] = [
    ("cut-short", "truncated"),
    ("noise", "not_an_image"),
    ("page", "not_an_image"),
    ("tiny", "too_small"),
    ("blank", "blank"),
    ("dark", "too_dark"),
    ("blurred", "blurred"),
    ("empty", "empty"),
    ("gone", "http_status"),
];

impl Site {
    /// Draws all files of the site, on all cores.
    pub(crate) fn draw(recipe: Recipe) -> Self {
        let mut site = Self {
            files: BTreeMap::new(),
            rows: vec![],
            rejected: BTreeMap::new(),
            stored: 0,
        };
        for (class, pictures) in faces(recipe).into_iter().enumerate() {
            for (n, jpeg) in pictures.into_iter().enumerate() {
                site.add(
                    format!("{}/face-{n:04}.jpg", CLASSES[class]),
                    class,
                    Some(jpeg),
                );
                site.stored += 1;
            }
        }
        site.add_copies(recipe);
        let mut random = StdRng::seed_from_u64(recipe.seed ^ 0xD1F7);
        for (kind, code) in DIRT {
            for n in 0..recipe.dirt {
                let class = (n % 2) as usize;
                site.add(
                    format!("{}/{kind}-{n}.jpg", CLASSES[class]),
                    class,
                    dirt(kind, class, &mut random),
                );
                *site.rejected.entry(code).or_default() += 1;
            }
        }
        site
    }

    /// Adds exact copies, which are rejected, and mirror images, which are stored but
    /// must be in the same split as their originals.
    fn add_copies(&mut self, recipe: Recipe) {
        for n in 0..recipe.dirt.min(recipe.faces) {
            let class = (n % 2) as usize;
            let original = self.files[&format!("{}/face-{n:04}.jpg", CLASSES[class])].clone();
            let picture = image::load_from_memory(&original)
                .expect("the picture was just encoded")
                .to_rgb8();
            let mirrored = jpeg(&image::imageops::flip_horizontal(&picture), 85);
            self.add(
                format!("{}/copy-{n}.jpg", CLASSES[class]),
                class,
                Some(original),
            );
            *self.rejected.entry("exact_duplicate").or_default() += 1;
            self.add(
                format!("{}/mirror-{n}.jpg", CLASSES[class]),
                class,
                Some(mirrored),
            );
            self.stored += 1;
        }
    }

    /// Adds a path to the list, and its file to the site. A path without a file answers
    /// with the status 404.
    fn add(&mut self, path: String, class: usize, file: Option<Bytes>) {
        self.rows
            .push((path.clone(), CLASSES[class].parse().expect("a plain name")));
        self.files.extend(file.map(|file| (path, file)));
    }

    /// The number of rows of the list.
    pub(crate) fn candidates(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Serves the site on a free loopback port until the program ends. It returns the
    /// URL of the list.
    pub(crate) async fn serve(self) -> Result<Url> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let listener = listener.context("no free port on 127.0.0.1 for the demo's web site")?;
        let base = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
        let mut list = csv::Writer::from_writer(vec![]);
        list.write_record(["url", "label"])?;
        for (path, label) in &self.rows {
            list.write_record([base.join(path)?.as_str(), label.as_str()])?;
        }
        let mut files = self.files;
        files.insert("faces.csv".to_owned(), list.into_inner()?.into());
        let router = Router::new()
            .route("/{*path}", get(file))
            .with_state(Arc::new(files));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(base.join("faces.csv")?)
    }
}

async fn file(
    Path(path): Path<String>,
    State(files): State<Arc<BTreeMap<String, Bytes>>>,
) -> Response {
    let Some(file) = files.get(&path) else {
        return (StatusCode::NOT_FOUND, "no such picture").into_response();
    };
    let kind = if path.ends_with(".csv") {
        "text/csv"
    } else {
        "image/jpeg"
    };
    ([(header::CONTENT_TYPE, kind)], file.clone()).into_response()
}

/// The good faces, by class.
fn faces(recipe: Recipe) -> [Vec<Bytes>; 2] {
    [0, 1].map(|class| {
        (0..recipe.faces)
            .into_par_iter()
            .map(|n| face(recipe.seed, n, class))
            .collect()
    })
}

/// The n-th face of a class. It depends on nothing but these arguments.
fn face(seed: u64, n: u32, class: usize) -> Bytes {
    let mut random =
        StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) ^ u64::from(n * 2 + class as u32));
    let side = random.random_range(120..240);
    let quality = random.random_range(70..95);
    jpeg(&draw::face(class == 0, side, &mut random), quality)
}

/// A bad file of a kind, or `None` for a file that does not exist.
fn dirt(kind: &str, class: usize, random: &mut StdRng) -> Option<Bytes> {
    let picture = draw::face(class == 0, 160, random);
    Some(match kind {
        "cut-short" => {
            let whole = jpeg(&picture, 85);
            whole.slice(..whole.len() * 2 / 5)
        }
        "noise" => (0..4_000)
            .map(|_| random.random::<u8>())
            .collect::<Vec<_>>()
            .into(),
        "page" => {
            let number = random.random_range(1000..9999);
            format!("<!DOCTYPE html><html><body><h1>This picture has moved ({number})</h1></body></html>").into()
        }
        "tiny" => jpeg(&draw::face(class == 0, 18, random), 85),
        "blank" => {
            let colour = std::array::from_fn(|_| random.random_range(60..200));
            jpeg(&RgbImage::from_pixel(160, 160, image::Rgb(colour)), 85)
        }
        "dark" => {
            let mut dark = picture;
            dark.iter_mut().for_each(|channel| *channel /= 16);
            jpeg(&dark, 90)
        }
        "blurred" => jpeg(&image::imageops::fast_blur(&picture, 9.0), 90),
        "empty" => Bytes::new(),
        _ => return None,
    })
}

fn jpeg(picture: &RgbImage, quality: u8) -> Bytes {
    let mut bytes = Cursor::new(vec![]);
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality);
    DynamicImage::from(picture.clone())
        .write_with_encoder(encoder)
        .expect("a picture can be written to memory");
    bytes.into_inner().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_a_row_for_every_image_stored_or_rejected() {
        let recipe = Recipe {
            faces: 8,
            dirt: 2,
            seed: 1,
        };
        let site = Site::draw(recipe);
        assert_eq!(site.stored, 2 * 8 + 2);
        assert_eq!(
            site.candidates(),
            site.stored + site.rejected.values().sum::<u64>()
        );
    }
}
