//! Pictures of a workflow: its states, transitions and invokes as Mermaid, DOT, SVG or PNG.
//!
//! Stages: a definition becomes one [`Picture`] (`picture.rs`), which says what is drawn and in
//! which words; each writer turns the same picture into its format. Mermaid and DOT leave the
//! places to the program that reads them; for SVG they are found here (`layout`), and PNG is that
//! SVG, rendered with the font in `fonts/`.
//!
//! Invariants: every state and every transition of the definition is in every format once; the same
//! definition gives the same bytes.

pub mod picture;

mod label;

mod mermaid;

mod dot;

mod text;

pub mod layout;

mod svg;

mod png;

pub use picture::Picture;

/// Why a picture cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Placing it would take too long.
    #[error(
        "the picture needs {bends} bends of lines; at most {} are placed, so write it as `dot` or `mermaid` instead",
        layout::BENDS_MAX
    )]
    TooManyBends {
        /// How many.
        bends: usize,
    },
    /// Its pixels would not fit.
    #[error(
        "the picture has {width} x {height} points; at most {} on a side are rendered, so write it as `svg` instead",
        png::SIDE_MAX
    )]
    TooLarge {
        /// Points from left to right.
        width: u32,
        /// Points from top to bottom.
        height: u32,
    },
    /// The renderer refused.
    #[error("cannot render the picture: {0}")]
    Render(String),
}

/// Writes a picture for Mermaid, as a `stateDiagram-v2`.
pub fn mermaid(picture: &Picture) -> String {
    mermaid::write(picture)
}

/// Writes a picture for Graphviz.
pub fn dot(picture: &Picture) -> String {
    dot::write(picture)
}

/// Draws a picture as SVG.
pub fn svg(picture: &Picture) -> Result<String, GraphError> {
    Ok(svg::write(picture, &layout::of(picture)?))
}

/// Draws a picture as PNG.
pub fn png(picture: &Picture) -> Result<Vec<u8>, GraphError> {
    png::render(&svg(picture)?)
}
