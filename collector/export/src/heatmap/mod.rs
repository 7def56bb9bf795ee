//! Attention as a PNG: tokens × keys of a head, or of all heads of a layer beside each other, with their texts at the axes
//! and a legend. Cells are pixels of one colour each, so that a picture can be measured as well as looked at.

mod colours;
mod layout;
mod text;

use colours::{FRAME, NAN, PAPER, Rgb, UNSEEN};
use ggscope_internals::picture::{AttentionMatrix, HeadMatrix};
use layout::{Layout, LayoutOptions, MARGIN, TICK};
use resvg::tiny_skia::{Pixmap, PremultipliedColorU8};
use text::{LARGE, SMALL, Side, Texts, fitted, width};

/// Columns of a label, at most.
const LABEL: usize = 18;
/// Of the legend: width and height of the scale, the weights that are marked on it, a swatch.
const SCALE: (u32, u32) = (14, 180);
const MARKED: [f32; 6] = [0.0, 0.01, 0.1, 0.25, 0.5, 1.0];
const SWATCH: u32 = 12;

/// What stands over a picture.
#[derive(Clone, Debug)]
pub struct Heading {
    /// What it shows.
    pub title: String,
    /// Of what: model, tokens, trace.
    pub about: String,
}

/// The text of a token as it stands at an axis: what cannot be seen is shown as a sign.
fn shown(token: Option<u64>, text: Option<&str>) -> String {
    let sign = |c: char| match c {
        ' ' => vec!['·'],
        c if c.is_control() => c.escape_default().collect(),
        c => vec![c],
    };
    let text: String = text.unwrap_or("?").chars().flat_map(sign).collect();
    fitted(&token.map_or(text.clone(), |token| format!("{token} {text}")), LABEL)
}

/// Draws attention as a PNG.
///
/// # Errors
/// When there is nothing to draw, or more than a picture can hold.
pub fn png(matrix: &AttentionMatrix, heading: &Heading) -> Result<Vec<u8>, String> {
    let picture = Picture::of(matrix)?;
    let page = picture.draw(heading)?;
    page.encode_png().map_err(|e| format!("the picture cannot be written: {e}"))
}

/// What is drawn, and where.
struct Picture<'a> {
    matrix: &'a AttentionMatrix,
    layout: Layout,
    rows: Vec<String>,
    columns: Vec<String>,
}

impl<'a> Picture<'a> {
    fn of(matrix: &'a AttentionMatrix) -> Result<Self, String> {
        let rows: Vec<String> = matrix.rows.iter().map(|r| shown(Some(r.token), r.text.as_deref())).collect();
        let columns: Vec<String> = matrix.keys.iter().map(|k| shown(k.token, k.text.as_deref())).collect();
        if rows.is_empty() || matrix.heads.is_empty() {
            return Err("there is no attention to draw".into());
        }
        let widest = |labels: &[String]| labels.iter().map(|label| width(label, SMALL)).max().unwrap_or(0);
        let layout = Layout::of(LayoutOptions {
            panels: matrix.heads.len(),
            rows: rows.len(),
            columns: columns.len(),
            sink: matrix.heads.iter().any(|head| !head.sinks.is_empty()),
            labels: (widest(&rows), widest(&columns)),
        })?;
        Ok(Picture { matrix, layout, rows, columns })
    }

    fn draw(&self, heading: &Heading) -> Result<Pixmap, String> {
        let (w, h) = self.layout.size;
        let mut page = Pixmap::new(w, h).ok_or("there is no memory for the picture")?;
        fill(&mut page, (0, 0), (w, h), PAPER);
        let mut texts = Texts::default();
        let columns = |size: u32| ((w - 2 * MARGIN) / width("m", size).max(1)) as usize;
        texts.add(&fitted(&heading.title, columns(LARGE)), (MARGIN, 22), LARGE, Side::Begins, false);
        texts.add(&fitted(&heading.about, columns(SMALL)), (MARGIN, 38), SMALL, Side::Begins, false);
        for (panel, head) in self.matrix.heads.iter().enumerate() {
            self.cells(&mut page, panel, head);
            self.labels(&mut texts, panel, head);
        }
        self.axes(&mut texts);
        self.legend(&mut page, &mut texts);
        texts.draw(&mut page)?;
        Ok(page)
    }

    fn cells(&self, page: &mut Pixmap, panel: usize, head: &HeadMatrix) {
        let Layout { cell, cells: (w, h), .. } = self.layout;
        let (x, y) = self.layout.panels[panel].at;
        fill(page, (x - 1, y - 1), (w + 2, h + 2), FRAME);
        fill(page, (x, y), (w, h), UNSEEN);
        for (i, (row, weights)) in self.matrix.rows.iter().zip(&head.weights).enumerate() {
            let columns = row.spans.iter().flat_map(|span| span.first..span.first.saturating_add(span.n));
            for (column, weight) in columns.zip(weights) {
                fill(page, self.layout.cell(panel, i, Some(column)), (cell, cell), colours::of(weight.0));
            }
            if let Some(sink) = head.sinks.get(i) {
                fill(page, self.layout.cell(panel, i, None), (cell, cell), colours::of(sink.0));
            }
        }
    }

    fn labels(&self, texts: &mut Texts, panel: usize, head: &HeadMatrix) {
        let Layout { cell, every, cells: (_, h), .. } = self.layout;
        let place = self.layout.panels[panel];
        if self.layout.panels.len() > 1 {
            let shared = if self.matrix.n_head > self.matrix.n_head_kv {
                format!("head {}, keys of {}", head.head, head.kv_head)
            } else {
                format!("head {}", head.head)
            };
            texts.add(&shared, (place.at.0, place.at.1 - TICK), SMALL, Side::Begins, false);
        }
        let (middle, down) = (cell / 2, SMALL * 2 / 5);
        if place.is_left {
            for (i, label) in self.rows.iter().enumerate().step_by(every) {
                let y = self.layout.cell(panel, i, None).1 + middle + down;
                texts.add(label, (place.at.0 - TICK, y), SMALL, Side::Ends, false);
            }
        }
        if place.is_lowest {
            let y = place.at.1 + h + TICK;
            if !head.sinks.is_empty() {
                texts.add("sink", (place.at.0 + middle + down, y), SMALL, Side::Ends, true);
            }
            // The sink's label has the room of the columns beside it.
            let first = if head.sinks.is_empty() || every == 1 { 0 } else { every };
            for (i, label) in self.columns.iter().enumerate().skip(first).step_by(every) {
                let x = self.layout.cell(panel, 0, Some(i)).0 + middle + down;
                texts.add(label, (x, y), SMALL, Side::Ends, true);
            }
        }
    }

    fn axes(&self, texts: &mut Texts) {
        let (first, last) = (self.layout.panels[0], self.layout.panels[self.layout.panels.len() - 1]);
        let (bottom, right) = (last.at.1 + self.layout.cells.1, self.layout.legend.0 - MARGIN);
        let middle = (first.at.1 + bottom) / 2;
        texts.add("the token that looks", (MARGIN + SMALL, middle), SMALL, Side::Centred, true);
        let labels = self.columns.iter().map(|label| width(label, SMALL)).max().unwrap_or(0);
        let below = bottom + TICK + labels + SMALL + TICK;
        texts.add("what it looks at", ((first.at.0 + right) / 2, below), SMALL, Side::Centred, false);
    }

    fn legend(&self, page: &mut Pixmap, texts: &mut Texts) {
        let (x, y) = self.layout.legend;
        texts.add("weight (root scale)", (x, y + SMALL), SMALL, Side::Begins, false);
        let (w, h) = SCALE;
        let top = y + SMALL + 8;
        fill(page, (x - 1, top - 1), (w + 2, h + 2), FRAME);
        for i in 0..h {
            let part = 1.0 - i as f32 / (h - 1) as f32;
            fill(page, (x, top + i), (w, 1), colours::of_part(part));
        }
        for weight in MARKED {
            let down = ((1.0 - colours::part(weight)) * (h - 1) as f32).round() as u32;
            fill(page, (x + w + 1, top + down), (4, 1), FRAME);
            texts.add(&weight.to_string(), (x + w + 9, top + down + 4), SMALL, Side::Begins, false);
        }
        let swatches = [(UNSEEN, "not seen"), (NAN, "no number")];
        for (i, (colour, name)) in swatches.into_iter().enumerate() {
            let at = (x, top + h + 18 + i as u32 * (SWATCH + 8));
            fill(page, (at.0 - 1, at.1 - 1), (SWATCH + 2, SWATCH + 2), FRAME);
            fill(page, at, (SWATCH, SWATCH), colour);
            texts.add(name, (at.0 + SWATCH + 9, at.1 + SMALL - 1), SMALL, Side::Begins, false);
        }
    }
}

/// Gives the pixels of a rectangle a colour. What is outside of the picture is left out.
fn fill(page: &mut Pixmap, (x, y): (u32, u32), (w, h): (u32, u32), [r, g, b]: Rgb) {
    let (width, height) = (page.width() as usize, page.height() as usize);
    // Opaque: nothing to multiply with.
    let Some(colour) = PremultipliedColorU8::from_rgba(r, g, b, u8::MAX) else { return };
    let columns = (x as usize).min(width)..(x.saturating_add(w) as usize).min(width);
    let rows = (y as usize).min(height)..(y.saturating_add(h) as usize).min(height);
    for row in page.pixels_mut().chunks_exact_mut(width).skip(rows.start).take(rows.len()) {
        row[columns.clone()].fill(colour);
    }
}

#[cfg(test)]
mod tests;
