//! What is drawn, read back from the PNG: each weight has its colour in its cell.

use super::*;
use ggscope_internals::picture::{KeySpan, MatrixKey, MatrixRow, Rounded};

fn named(n: u64) -> Option<String> {
    Some(format!(" word{n}"))
}

/// `n` tokens that see what came before and themselves, as `weight` of head, row and column says.
fn causal(n: usize, heads: usize, sinks: bool, weight: impl Fn(usize, usize, usize) -> f32) -> AttentionMatrix {
    let key = |i| MatrixKey { token: Some(i), cell: None, pos: Some(i as i32), text: named(i) };
    let row = |i: u64| {
        let spans = vec![KeySpan { first: 0, n: i as usize + 1 }];
        MatrixRow { token: i, eval: 0, pos: Some(i as i32), text: named(i), spans }
    };
    let head = |h: usize| HeadMatrix {
        head: h,
        kv_head: h / 2,
        weights: (0..n).map(|i| (0..=i).map(|j| Rounded(weight(h, i, j))).collect()).collect(),
        sinks: if sinks { (0..n).map(|_| Rounded(0.5)).collect() } else { vec![] },
    };
    AttentionMatrix {
        context: 0,
        layer: 5,
        n_head: heads,
        n_head_kv: heads.div_ceil(2),
        keys: (0..n as u64).map(key).collect(),
        rows: (0..n as u64).map(row).collect(),
        heads: (0..heads).map(head).collect(),
        refused: vec![],
    }
}

fn read_back(matrix: &AttentionMatrix) -> (Pixmap, Layout) {
    let heading = Heading { title: "Attention".into(), about: "of a test".into() };
    let bytes = png(matrix, &heading).unwrap();
    (Pixmap::decode_png(&bytes).unwrap(), Picture::of(matrix).unwrap().layout)
}

/// The colours of all pixels of a cell.
fn colours_of(page: &Pixmap, layout: &Layout, panel: usize, row: usize, column: Option<usize>) -> Vec<Rgb> {
    let (x, y) = layout.cell(panel, row, column);
    let at = |i: u32| page.pixel(x + i % layout.cell, y + i / layout.cell).unwrap();
    let mut found: Vec<Rgb> = (0..layout.cell * layout.cell).map(at).map(|p| [p.red(), p.green(), p.blue()]).collect();
    found.dedup();
    found
}

#[test]
fn every_weight_has_its_colour_in_its_cell_of_its_head() {
    let weight = |h: usize, i: usize, j: usize| {
        if (h, i, j) == (1, 4, 2) { f32::NAN } else { ((h * 31 + i * 7 + j * 3) % 100) as f32 / 100.0 }
    };
    for (n, heads, sinks) in [(35, 1, false), (12, 6, true), (500, 1, false), (500, 9, false)] {
        let matrix = causal(n, heads, sinks, weight);
        let (page, layout) = read_back(&matrix);
        for (h, i) in (0..heads).flat_map(|h| (0..n).map(move |i| (h, i))) {
            for j in 0..n {
                let expected = if j > i { UNSEEN } else { colours::of(weight(h, i, j)) };
                assert_eq!(
                    colours_of(&page, &layout, h, i, Some(j)),
                    [expected],
                    "head {h}, row {i}, column {j} of {n}"
                );
            }
            if sinks {
                assert_eq!(colours_of(&page, &layout, h, i, None), [colours::of(0.5)]);
            }
        }
        if heads > 1 {
            assert_eq!(
                colours_of(&page, &layout, 1, 4, Some(2)),
                [NAN],
                "a number that is none has a colour of its own"
            );
        }
    }
}

#[test]
fn around_the_cells_there_is_text_and_nothing_covers_a_cell() {
    let matrix = causal(35, 1, false, |_, _, _| 0.0);
    let (page, layout) = read_back(&matrix);
    let (x, y) = layout.panels[0].at;
    let dark = |xs: std::ops::Range<u32>, ys: std::ops::Range<u32>| {
        let all = ys.flat_map(|y| xs.clone().map(move |x| (x, y)));
        all.filter(|&(x, y)| page.pixel(x, y).unwrap().red() < 100).count()
    };
    let (w, h) = layout.cells;
    for i in 0..35 {
        let top = y + i * layout.cell;
        assert!(dark(0..x, top..top + layout.cell) > 20, "row {i} has a label");
        assert!(dark(x + i * layout.cell..x + (i + 1) * layout.cell, y + h..layout.size.1) > 20, "column {i} has one");
    }
    assert!(dark(0..layout.size.0, 0..y - 12) > 50, "a title");
    assert!(dark(layout.legend.0..layout.size.0, layout.legend.1..layout.legend.1 + layout::LEGEND.1) > 50, "a legend");
    assert_eq!(dark(x..x + w, y..y + h), 0);
}

#[test]
fn what_cannot_be_seen_in_a_text_is_shown_as_a_sign() {
    assert_eq!(shown(Some(12), Some(" The")), "12 ·The");
    assert_eq!(shown(Some(3), Some("\n")), "3 \\n");
    assert_eq!(shown(None, None), "?");
    assert_eq!(shown(Some(1), Some("an uncommonly long token")), "1 an·uncommonly·l…");
}

#[test]
fn nothing_is_no_picture() {
    let heading = Heading { title: String::new(), about: String::new() };
    assert!(png(&causal(0, 1, false, |_, _, _| 0.0), &heading).unwrap_err().contains("no attention"));
}
