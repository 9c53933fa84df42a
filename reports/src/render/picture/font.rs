//! The font that every picture carries, and the dots that are drawn with it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plotters::style::{FontStyle, register_font};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Source};
use resvg::usvg::{Options, Tree};

/// Its name, in the SVG and in the drawing library.
pub(super) const FAMILY: &str = "Roboto";
/// Roboto Regular, cut to what reports write.
const REGULAR: &[u8] = include_bytes!("../font/Roboto-Regular.ttf");
/// Roboto Medium, used for `bold`.
const MEDIUM: &[u8] = include_bytes!("../font/Roboto-Medium.ttf");
/// Dots to the point.
const ZOOM: f32 = 2.0;

/// Makes the font known to the drawing library, which measures text with it.
pub(super) fn register() -> Result<(), &'static str> {
    let known = register_font(FAMILY, FontStyle::Normal, REGULAR)
        .and_then(|()| register_font(FAMILY, FontStyle::Bold, MEDIUM));
    known.map_err(|_| "its font is no font")
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

/// The SVG with the font, and with words for those who do not see it.
pub(super) fn embed(svg: &str, about: &str) -> String {
    let face = |weight: &str, bytes: &[u8]| {
        format!(
            "@font-face{{font-family:{FAMILY};font-weight:{weight};\
             src:url(data:font/ttf;base64,{})}}",
            STANDARD.encode(bytes)
        )
    };
    let (normal, bold) = (face("normal", REGULAR), face("bold", MEDIUM));
    let about = crate::escape::xml(about);
    let head = format!("<title>{about}</title>\n<style>{normal}{bold}</style>\n");
    let end = svg.find(">\n").map_or(0, |at| at + 2);
    let (open, rest) = svg.split_at(end);
    let open = open.replacen("<svg ", "<svg role=\"img\" ", 1);
    let family = format!("font-family=\"{FAMILY}\"");
    let fallback = format!("font-family=\"{FAMILY}, Helvetica, Arial, sans-serif\"");
    format!("{open}{head}{}", rest.replace(&family, &fallback))
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
        for font in [REGULAR, MEDIUM] {
            let face = ttf_parser::Face::parse(font, 0).unwrap();
            let lacking = |c: &char| has(*c) && face.glyph_index(*c).is_none();
            let missing: Vec<char> = ('\0'..='\u{2fff}').filter(lacking).collect();
            assert_eq!(missing, Vec::<char>::new());
        }
    }
}
