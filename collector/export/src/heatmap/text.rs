//! Text in a picture, as SVG that resvg draws. The fonts are carried along, so that a picture is the same on a machine
//! that has none; those of the machine are asked only for scripts that ours do not have.

use quick_xml::escape::escape;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use std::fmt::Write;
use std::sync::Arc;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Sizes of text, in pixels.
pub const SMALL: u32 = 11;
/// See [`SMALL`].
pub const LARGE: u32 = 16;
const INK: &str = "#1c2530";

/// Where a text stands from the point that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It begins there.
    Begins,
    /// It is centred on it.
    Centred,
    /// It ends there.
    Ends,
}

/// Texts that are to be drawn.
#[derive(Debug, Default)]
pub struct Texts {
    svg: String,
    needs_more_fonts: bool,
}

/// Pixels that a text takes.
pub fn width(text: &str, size: u32) -> u32 {
    // A column of the font is 1233 of 2048 units wide.
    (text.width() as u32 * size * 1233).div_ceil(2048)
}

/// As much of a text as fits into so many columns.
pub fn fitted(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let fits = |c: &char| {
        let n = c.width().unwrap_or(0);
        n <= room && {
            room -= n;
            true
        }
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

impl Texts {
    /// Adds a text; one that stands upright reads from below.
    pub fn add(&mut self, text: &str, (x, y): (u32, u32), size: u32, side: Side, upright: bool) {
        // Noncharacters may be in a token, and are not allowed in XML.
        let text: String =
            text.chars().map(|c| if matches!(c, '\u{fffe}'..='\u{ffff}') { '\u{fffd}' } else { c }).collect();
        // What the fonts that are carried along have: Latin, Greek, Cyrillic, and signs.
        self.needs_more_fonts |= text.chars().any(|c| !matches!(c as u32, 0..0x530 | 0x1e00..0x2c00 | 0xfffd));
        let side = match side {
            Side::Begins => "start",
            Side::Centred => "middle",
            Side::Ends => "end",
        };
        let turned = if upright { " rotate(-90)" } else { "" };
        let _ = write!(
            self.svg,
            r#"<text transform="translate({x} {y}){turned}" font-size="{size}" text-anchor="{side}">{}</text>"#,
            escape(&text)
        );
    }

    /// Draws all of them.
    ///
    /// # Errors
    /// Says why that cannot be.
    pub fn draw(self, onto: &mut Pixmap) -> Result<(), String> {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(epaint_default_fonts::HACK_REGULAR.to_vec());
        fonts.load_font_data(epaint_default_fonts::NOTO_EMOJI_REGULAR.to_vec());
        if self.needs_more_fonts {
            fonts.load_system_fonts();
        }
        let options = Options { fontdb: Arc::new(fonts), font_family: "Hack".into(), ..Options::default() };
        let (width, height) = (onto.width(), onto.height());
        let svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"><g font-family="Hack" fill="{INK}">{}</g></svg>"#,
            self.svg
        );
        let tree = Tree::from_str(&svg, &options).map_err(|e| format!("its labels cannot be drawn: {e}"))?;
        resvg::render(&tree, Transform::identity(), &mut onto.as_mut());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ink(text: &str, side: Side, upright: bool) -> Vec<(u32, u32)> {
        let mut page = Pixmap::new(200, 200).unwrap();
        let mut texts = Texts::default();
        texts.add(text, (100, 100), SMALL, side, upright);
        texts.draw(&mut page).unwrap();
        (0..40_000).map(|i| (i % 200, i / 200)).filter(|&(x, y)| page.pixel(x, y).unwrap().alpha() > 127).collect()
    }

    #[test]
    fn a_text_is_where_it_is_said_to_be_and_as_wide() {
        let most = width("mmmm", SMALL) + 1;
        let within = |places: &[(u32, u32)], x: std::ops::Range<u32>| {
            !places.is_empty() && places.iter().all(|p| x.contains(&p.0))
        };
        assert!(within(&ink("mmmm", Side::Begins, false), 100..100 + most));
        assert!(within(&ink("mmmm", Side::Ends, false), 100 - most..101));
        let upright = ink("mmmm", Side::Ends, true);
        assert!(within(&upright, 88..103) && upright.iter().all(|p| p.1 >= 99 && p.1 <= 100 + most), "{upright:?}");
    }

    #[test]
    fn what_xml_knows_as_its_own_and_what_it_does_not_allow_is_drawn_all_the_same() {
        for text in ["<s>&\"'", "\u{fffe}", "日本", "🙂"] {
            assert!(!ink(text, Side::Begins, false).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_text_is_cut_where_its_columns_end() {
        assert_eq!([fitted("abc", 3), fitted("abcd", 3), fitted("日本語", 4)], ["abc", "ab…", "日…"]);
    }
}
