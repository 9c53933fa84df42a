//! The font that every picture carries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use plotters::style::{FontStyle, register_font};

/// Its name, in the SVG and in the drawing library.
pub(super) const FAMILY: &str = "Roboto";
/// Roboto Regular, cut to what reports write.
pub(super) const REGULAR: &[u8] = include_bytes!("../font/Roboto-Regular.ttf");
/// Roboto Medium, used for `bold`.
pub(super) const MEDIUM: &[u8] = include_bytes!("../font/Roboto-Medium.ttf");

/// Makes the font known to the drawing library, which measures text with it.
pub(super) fn register() -> Result<(), String> {
    let known = register_font(FAMILY, FontStyle::Normal, REGULAR)
        .and_then(|()| register_font(FAMILY, FontStyle::Bold, MEDIUM));
    known.map_err(|_| "its font is no font".to_owned())
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
    let about = crate::escape::xml(about);
    let head = format!(
        "<title>{about}</title>\n<style>{}{}</style>\n",
        face("normal", REGULAR),
        face("bold", MEDIUM)
    );
    let end = svg.find(">\n").map_or(0, |at| at + 2);
    let (open, rest) = svg.split_at(end);
    let open = open.replacen("<svg ", "<svg role=\"img\" ", 1);
    let family = format!("font-family=\"{FAMILY}\"");
    let fallback = format!("font-family=\"{FAMILY}, Helvetica, Arial, sans-serif\"");
    format!("{open}{head}{}", rest.replace(&family, &fallback))
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
