//! A small web site of drawn faces, mixed with bad files as on the real web. Some are found by
//! image searches, some are on a page, and the others in lists of their URLs.

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
use image::{DynamicImage, Pixel, RgbImage};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use tokio::net::TcpListener;
use url::Url;

use super::{
    draw,
    openverse::{self, Found},
    sources::QUERIES,
};

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

/// The most faces of each class that a search finds. Openverse gives 200 pages of 20 results a day
/// without a key, and the demo can be run several times a day.
const SEARCHED: u32 = 80;

/// The most results of a search.
const MOST_RESULTS: usize = 100;

/// Where a source names a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the results of the search for its class.
    Search,
    /// On the page, all of whose pictures are of the second class.
    Page,
    /// In the list.
    List,
    /// In the list of photographs from elsewhere, which are only to test with.
    Elsewhere,
}

/// One picture that a source promises.
struct Entry {
    path: String,
    class: usize,
    place: Place,
}

/// The site's files, and where they are named.
pub(crate) struct Site {
    files: BTreeMap<String, Bytes>,
    entries: Vec<Entry>,
    /// How many results the search for each class has.
    results: [usize; 2],
    /// The number of images that the pipeline must reject, by
    /// [`Reason::code`](maskline_messages::Reason::code).
    pub(crate) rejected: BTreeMap<&'static str, u64>,
    /// The number of images that the pipeline must store.
    pub(crate) stored: u64,
}

/// Where the site's sources are served.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    /// The site itself. It is also that of the API that finds pictures.
    pub(crate) base: Url,
    pub(crate) page: Url,
    pub(crate) list: Url,
    pub(crate) elsewhere: Url,
    /// The most results that a search finds.
    pub(crate) results: u64,
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
            entries: vec![],
            results: [0; 2],
            rejected: BTreeMap::new(),
            stored: 0,
        };
        let searched = (recipe.faces * 2 / 5).min(SEARCHED);
        let on_page = recipe.faces / 5;
        for (class, pictures) in faces(recipe).into_iter().enumerate() {
            for (n, jpeg) in (0..).zip(pictures) {
                let place = match n {
                    _ if n < searched => Place::Search,
                    _ if class == 1 && n < searched + on_page => Place::Page,
                    _ => Place::List,
                };
                let path = format!("{}/face-{n:04}.jpg", CLASSES[class]);
                site.add(path, class, place, Some(jpeg));
                site.stored += 1;
            }
        }
        for (class, pictures) in faces_elsewhere(recipe).into_iter().enumerate() {
            for (n, jpeg) in pictures.into_iter().enumerate() {
                let path = format!("elsewhere/{}-{n:04}.jpg", CLASSES[class]);
                site.add(path, class, Place::Elsewhere, Some(jpeg));
                site.stored += 1;
            }
        }
        site.add_copies(recipe);
        let mut random = StdRng::seed_from_u64(recipe.seed ^ 0xD1F7);
        for (kind, code) in DIRT {
            for n in 0..recipe.dirt {
                let class = (n % 2) as usize;
                let path = format!("{}/{kind}-{n}.jpg", CLASSES[class]);
                let file = dirt(kind, class, &mut random);
                site.add(path, class, dirty_place(n), file);
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
            let copy = format!("{}/copy-{n}.jpg", CLASSES[class]);
            self.add(copy, class, dirty_place(n), Some(original));
            *self.rejected.entry("exact_duplicate").or_default() += 1;
            let mirror = format!("{}/mirror-{n}.jpg", CLASSES[class]);
            self.add(mirror, class, dirty_place(n + 1), Some(mirrored));
            self.stored += 1;
        }
    }

    /// Adds a picture that a source promises, and its file to the site. A path without a file
    /// answers with the status 404.
    fn add(&mut self, path: String, class: usize, place: Place, file: Option<Bytes>) {
        let place = match place {
            Place::Page if class != 1 => Place::List,
            Place::Search if self.results[class] == MOST_RESULTS => Place::List,
            place => place,
        };
        self.results[class] += usize::from(place == Place::Search);
        self.files.extend(file.map(|file| (path.clone(), file)));
        self.entries.push(Entry { path, class, place });
    }

    /// The number of pictures that the sources promise.
    pub(crate) fn candidates(&self) -> u64 {
        self.entries.len() as u64
    }

    fn at(&self, place: Place) -> impl Iterator<Item = &Entry> {
        let entries = self.entries.iter();
        entries.filter(move |entry| entry.place == place)
    }

    /// Serves the site on a free loopback port until the program ends.
    pub(crate) async fn serve(self) -> Result<Addresses> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let listener = listener.context("no free port on 127.0.0.1 for the demo's web site")?;
        let base = Url::parse(&format!("http://{}/", listener.local_addr()?))?;
        let mut found = Found::new();
        for entry in self.at(Place::Search) {
            let results = found.entry(QUERIES[entry.class]).or_default();
            results.push(base.join(&entry.path)?);
        }
        let results = self.results.into_iter().max().unwrap_or_default() as u64;
        let addresses = Addresses {
            page: base.join(PAGE)?,
            list: base.join(LIST)?,
            elsewhere: base.join(ELSEWHERE)?,
            results,
            base,
        };
        let base = &addresses.base;
        let named = [
            (PAGE, self.page()),
            (LIST, self.list(Place::List, base)?),
            (ELSEWHERE, self.list(Place::Elsewhere, base)?),
        ];
        let mut files = self.files;
        files.extend(named.map(|(name, file)| (name.to_owned(), file)));
        let router = Router::new()
            .route("/{*path}", get(file))
            .with_state(Arc::new(files))
            .merge(openverse::router(found));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(addresses)
    }

    /// A page with its pictures.
    fn page(&self) -> Bytes {
        let pictures = self.at(Place::Page);
        let pictures = pictures.map(|entry| format!("<img src=\"/{}\">\n", entry.path));
        let pictures: String = pictures.collect();
        format!("<!DOCTYPE html>\n<title>Faces</title>\n{pictures}").into()
    }

    /// A CSV list with the pictures and their classes.
    fn list(&self, place: Place, base: &Url) -> Result<Bytes> {
        let mut list = csv::Writer::from_writer(vec![]);
        list.write_record(["url", "label"])?;
        for entry in self.at(place) {
            let url = base.join(&entry.path)?;
            list.write_record([url.as_str(), CLASSES[entry.class]])?;
        }
        Ok(list.into_inner()?.into())
    }
}

/// Where the n-th file of a kind of dirt is named, so that each source has some.
fn dirty_place(n: u32) -> Place {
    match n % 6 {
        0 | 1 => Place::Search,
        3 | 5 => Place::Page,
        _ => Place::List,
    }
}

/// The names of what the site serves beside the pictures.
const PAGE: &str = "gallery.html";
const LIST: &str = "faces.csv";
const ELSEWHERE: &str = "elsewhere.csv";

async fn file(
    Path(path): Path<String>,
    State(files): State<Arc<BTreeMap<String, Bytes>>>,
) -> Response {
    let Some(file) = files.get(&path) else {
        return (StatusCode::NOT_FOUND, "no such picture").into_response();
    };
    let kind = match path.rsplit_once('.') {
        Some((_, "csv")) => "text/csv",
        Some((_, "html")) => "text/html",
        _ => "image/jpeg",
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

/// Faces as photographs from elsewhere are: without colours, from another camera. There is a tenth
/// as many.
fn faces_elsewhere(recipe: Recipe) -> [Vec<Bytes>; 2] {
    [0, 1].map(|class| {
        (0..recipe.faces / 10)
            .into_par_iter()
            .map(|n| face_elsewhere(recipe.seed, n, class))
            .collect()
    })
}

fn face_elsewhere(seed: u64, n: u32, class: usize) -> Bytes {
    let number = u64::from(n * 2 + class as u32);
    let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003) ^ number ^ 0xE15E_0000);
    let side = random.random_range(240..320);
    let mut picture = draw::face(class == 0, side, &mut random);
    for pixel in picture.pixels_mut() {
        let [grey] = pixel.to_luma().0;
        *pixel = image::Rgb([grey; 3]);
    }
    jpeg(&picture, random.random_range(45..65))
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
    fn the_sources_name_every_image_stored_or_rejected() {
        let recipe = Recipe {
            faces: 10,
            dirt: 6,
            seed: 1,
        };
        let site = Site::draw(recipe);
        assert_eq!(site.stored, 2 * 10 + 2 + 6);
        assert_eq!(
            site.candidates(),
            site.stored + site.rejected.values().sum::<u64>()
        );
    }

    #[test]
    fn each_source_has_faces_and_dirt_and_no_search_finds_too_many() {
        let recipe = Recipe {
            faces: 10,
            dirt: 6,
            seed: 1,
        };
        let site = Site::draw(recipe);
        for place in [Place::Search, Place::Page, Place::List] {
            let paths: Vec<&str> = site.at(place).map(|entry| entry.path.as_str()).collect();
            for part in ["/face-", "/gone-", "/blurred-"] {
                assert!(
                    paths.iter().any(|path| path.contains(part)),
                    "{place:?} {part}"
                );
            }
        }
        assert!(site.at(Place::Page).all(|entry| entry.class == 1));
        let elsewhere = site.at(Place::Elsewhere);
        assert!(elsewhere.map(|entry| entry.class).eq([0, 1]));
        let large = Site::draw(Recipe {
            dirt: 600,
            ..recipe
        });
        assert_eq!(large.at(Place::Search).count(), 2 * MOST_RESULTS);
    }
}
