//! A picture as PNG: the SVG, rendered with the one font that the program carries.

use std::sync::Arc;

use resvg::{
    tiny_skia::{Color, Pixmap, Transform},
    usvg::{Options, Tree, fontdb::Database},
};

use crate::graph::GraphError;

/// Most points on a side; two pixels each, so a picture of this size takes a gigabyte.
pub const SIDE_MAX: u32 = 8_000;
/// Pixels per point, for screens that show two.
const SCALE: f32 = 2.0;

/// DejaVu Sans, cut down; see `fonts/LICENSE`.
const FONT: &[u8] = include_bytes!("fonts/DejaVuSans-subset.ttf");

pub(super) fn render(svg: &str) -> Result<Vec<u8>, GraphError> {
    let mut fonts = Database::new();
    fonts.load_font_data(FONT.to_vec());
    let family = "DejaVu Sans".to_string();
    let options = Options { fontdb: Arc::new(fonts), font_family: family, ..Options::default() };
    let fail = |what: String| GraphError::Render(what);
    let tree = Tree::from_str(svg, &options).map_err(|error| fail(error.to_string()))?;
    let (width, height) = (tree.size().width().ceil() as u32, tree.size().height().ceil() as u32);
    if width.max(height) > SIDE_MAX {
        return Err(GraphError::TooLarge { width, height });
    }
    let scale = SCALE as u32;
    let mut pixels = Pixmap::new(width * scale, height * scale)
        .ok_or_else(|| fail("the picture is empty".into()))?;
    pixels.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| fail(error.to_string()))
}
