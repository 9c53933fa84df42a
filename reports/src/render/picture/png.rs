//! The same picture as dots.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Source};
use resvg::usvg::{Options, Tree};

use super::font::{FAMILY, MEDIUM, REGULAR};

/// Dots to the point.
const ZOOM: f32 = 2.0;

/// Rasterises an SVG with its own font and no other.
pub(super) fn rasterise(svg: &str) -> Result<Vec<u8>, String> {
    let mut fonts = Database::new();
    for font in [REGULAR, MEDIUM] {
        fonts.load_font_source(Source::Binary(Arc::new(font)));
    }
    let options = Options {
        font_family: FAMILY.to_owned(),
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|e| e.to_string())?;
    let size = tree
        .size()
        .to_int_size()
        .scale_by(ZOOM)
        .ok_or("it has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("it has no size")?;
    resvg::render(
        &tree,
        Transform::from_scale(ZOOM, ZOOM),
        &mut pixels.as_mut(),
    );
    pixels.encode_png().map_err(|e| e.to_string())
}
