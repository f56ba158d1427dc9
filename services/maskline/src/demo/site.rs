//! A small web site of drawn faces with the dirt of the real web mixed in, and
//! the CSV list that a person would enqueue.

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
use tokio::net::TcpListener;
use url::Url;

use super::draw;

/// The two classes, in the order of their label index.
pub const CLASSES: [&str; 2] = ["with_mask", "without_mask"];

/// What the site holds of each kind.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Good faces of each class.
    pub faces: u32,
    /// Of each kind of dirt.
    pub dirt: u32,
    pub seed: u64,
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
pub struct Site {
    files: BTreeMap<String, Bytes>,
    /// Rows of the list: path and label.
    rows: Vec<(String, Label)>,
    /// What the pipeline must answer, by [`Reason::code`](maskline_messages::Reason::code).
    pub rejected: BTreeMap<&'static str, u64>,
    /// Images that must be stored.
    pub stored: u64,
}

/// Kinds of dirt, each with the reason that it must be rejected for.
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
    /// Draws everything, on as many threads as there are cores.
    pub fn draw(recipe: Recipe) -> Self {
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

    /// Exact copies, which are rejected, and mirror images, which are stored but
    /// must stay on their original's side of the split.
    fn add_copies(&mut self, recipe: Recipe) {
        for n in 0..recipe.dirt.min(recipe.faces) {
            let class = (n % 2) as usize;
            let original = self.files[&format!("{}/face-{n:04}.jpg", CLASSES[class])].clone();
            let picture = image::load_from_memory(&original)
                .expect("we encoded it")
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

    /// Lists a path; without a file it will be a 404.
    fn add(&mut self, path: String, class: usize, file: Option<Bytes>) {
        self.rows
            .push((path.clone(), CLASSES[class].parse().expect("a plain name")));
        self.files.extend(file.map(|file| (path, file)));
    }

    /// How many rows the list has.
    pub fn candidates(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Serves the site on a free loopback port until the program ends. Returns
    /// the address of its list of URLs.
    pub async fn serve(self) -> Result<Url> {
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

/// Good faces by class.
fn faces(recipe: Recipe) -> [Vec<Bytes>; 2] {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let draw_share = |share: u32| -> Vec<(u32, [Bytes; 2])> {
        let mine = (0..recipe.faces).filter(|n| n % threads == share);
        mine.map(|n| (n, [0, 1].map(|class| face(recipe.seed, n, class))))
            .collect()
    };
    let mut pairs: Vec<(u32, [Bytes; 2])> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|share| scope.spawn(move || draw_share(share)))
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().expect("drawing does not panic"))
            .collect()
    });
    pairs.sort_by_key(|(n, _)| *n);
    let mut classes = [vec![], vec![]];
    for (_, pair) in pairs {
        classes
            .iter_mut()
            .zip(pair)
            .for_each(|(class, jpeg)| class.push(jpeg));
    }
    classes
}

/// The n-th face of a class, a function of the seed alone.
fn face(seed: u64, n: u32, class: usize) -> Bytes {
    let mut random =
        StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) ^ u64::from(n * 2 + class as u32));
    let side = random.random_range(120..240);
    let quality = random.random_range(70..95);
    jpeg(&draw::face(class == 0, side, &mut random), quality)
}

/// One file of a kind of dirt; `None` for one that is not there at all.
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
        .expect("memory takes every picture");
    bytes.into_inner().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_holds_what_it_says() {
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
