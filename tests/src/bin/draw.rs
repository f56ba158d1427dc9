//! Draws a folder of faces with and without masks, and of files to reject. It prints the
//! counts that a job of this folder must end with: draw FOLDER FACES PIXELS SEED
//!
//! Tests that drive the pipeline from a shell use it. FACES is the number of faces of
//! each class.

use std::{error::Error, path::Path};

use maskline_tests::collection::Collection;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, faces, pixels, seed] = &arguments[..] else {
        return Err("usage: draw FOLDER FACES PIXELS SEED".into());
    };
    let (faces, pixels, seed): (u64, u32, u64) = (faces.parse()?, pixels.parse()?, seed.parse()?);
    // No face is drawn from these numbers.
    let rejects = seed + 20_000_000;
    let collection = Collection::faces_of_side(seed, faces, pixels).with_rejects(rejects);
    collection.write(Path::new(folder));
    println!("{}", collection.counts());
    Ok(())
}
