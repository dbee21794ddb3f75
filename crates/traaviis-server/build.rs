//! Puts the pages about errors into the binary: an answer names its page as `type`, and whoever
//! asks for it is to get it.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let pages = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../docs/errors");
    println!("cargo::rerun-if-changed={}", pages.display());
    let mut rows = Vec::new();
    for entry in fs::read_dir(pages)? {
        let path = entry?.path().canonicalize()?;
        let (Some(code), Some("md")) = (
            path.file_stem().and_then(|it| it.to_str()),
            path.extension().and_then(|it| it.to_str()),
        ) else {
            continue;
        };
        if code != "README" {
            rows.push(format!("({code:?}, include_str!({:?})),", path.display().to_string()));
        }
    }
    rows.sort();
    let table = format!("&[{}]", rows.concat());
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("error_pages.rs"), table)?;
    Ok(())
}
