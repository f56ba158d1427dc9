//! Draws a folder of faces with and without masks, with dirt among them, and prints
//! the books that a job of it must end with: draw FOLDER FACES PIXELS SEED
//!
//! For tests that drive the pipeline from a shell; FACES is of each class.

use std::{error::Error, path::Path};

use maskline_tests::collection::Collection;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, faces, pixels, seed] = &arguments[..] else {
        return Err("usage: draw FOLDER FACES PIXELS SEED".into());
    };
    let (faces, pixels, seed): (u64, u32, u64) = (faces.parse()?, pixels.parse()?, seed.parse()?);
    // From numbers that no face is drawn from.
    let dirt = seed + 20_000_000;
    let collection = Collection::faces_of_side(seed, faces, pixels).with_dirt(dirt);
    collection.write(Path::new(folder));
    println!("{}", collection.books());
    Ok(())
}
