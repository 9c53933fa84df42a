//! The font that every picture carries, and what is measured and drawn with it.

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Source};
use resvg::usvg::{Options, Tree};
use ttf_parser::Face;

/// Its name in the SVG.
pub(super) const FAMILY: &str = "Roboto";
/// Roboto Regular, cut to what reports write.
const REGULAR: &[u8] = include_bytes!("../font/Roboto-Regular.ttf");
/// Roboto Medium, used for `bold`.
const MEDIUM: &[u8] = include_bytes!("../font/Roboto-Medium.ttf");
/// Dots to the point.
const ZOOM: f32 = 2.0;

/// Both weights, the bold one second.
static FACES: LazyLock<Option<[Face<'static>; 2]>> = LazyLock::new(|| {
    let face = |bytes| Face::parse(bytes, 0).ok();
    Some([face(REGULAR)?, face(MEDIUM)?])
});

/// How wide text is, in ems.
pub(super) fn width(text: &str, bold: bool) -> f64 {
    FACES.as_ref().map_or(0.0, |faces| {
        let face = &faces[usize::from(bold)];
        let advance = |c| face.glyph_hor_advance(face.glyph_index(c)?);
        let units: u32 = text.chars().filter_map(advance).map(u32::from).sum();
        f64::from(units) / f64::from(face.units_per_em())
    })
}

/// Whether the font has a glyph for it.
fn has(c: char) -> bool {
    matches!(c, ' '..='~' | '±' | 'µ' | '·' | '×' | '–' | '…' | '−')
}

/// The text with a `?` for what the font cannot show.
pub(super) fn printable(text: &str) -> String {
    let show = |c| if has(c) { c } else { '?' };
    text.chars().map(show).collect()
}

/// The font as a style sheet.
pub(super) fn style() -> String {
    let face = |weight: &str, bytes: &[u8]| {
        format!(
            "@font-face{{font-family:{FAMILY};font-weight:{weight};\
             src:url(data:font/ttf;base64,{})}}",
            STANDARD.encode(bytes)
        )
    };
    let (normal, bold) = (face("normal", REGULAR), face("bold", MEDIUM));
    format!("<style>{normal}{bold}</style>\n")
}

/// The dots of an SVG, with this font and no other, as a PNG.
pub(super) fn rasterise(svg: &str) -> Result<Vec<u8>, String> {
    let mut fonts = Database::new();
    for font in [REGULAR, MEDIUM] {
        fonts.load_font_source(Source::Binary(Arc::new(font)));
    }
    let options = Options {
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|e| e.to_string())?;
    let size = tree.size().to_int_size().scale_by(ZOOM);
    let pixels = size.and_then(|size| Pixmap::new(size.width(), size.height()));
    let mut pixels = pixels.ok_or("it has no size")?;
    let zoom = Transform::from_scale(ZOOM, ZOOM);
    resvg::render(&tree, zoom, &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_weights_have_every_character_that_is_let_through() {
        for face in FACES.as_ref().unwrap() {
            let lacking = |c: &char| has(*c) && face.glyph_index(*c).is_none();
            let missing: Vec<char> = ('\0'..='\u{2fff}').filter(lacking).collect();
            assert_eq!(missing, Vec::<char>::new());
        }
    }
}
