//! Where everything is in a picture of attention: panels in a grid, as large as they can be while all of it can be looked
//! at, and of the labels as many as can be read.

/// Pixels between two lines of labels.
pub const LINE: u32 = 13;
/// Pixels around the picture, and between panels.
pub const MARGIN: u32 = 16;
/// Over each panel, where there are several.
const NAME: u32 = 18;
/// Over all.
const TITLE: u32 = 48;
/// At the left and below, for what an axis shows.
const AXIS: u32 = 20;
/// From a label to its cells.
pub const TICK: u32 = 6;
/// From the cells of the sink to those of keys.
const SINK_GAP: u32 = 4;
/// The legend.
pub const LEGEND: (u32, u32) = (150, 300);
/// What cells of one panel, and of all panels side by side, may take.
const ROOM: (u32, u32) = (1400, 1800);
/// Width and height of a cell at most, of one panel and of several.
const CELL: (u32, u32) = (24, 14);
/// Pictures are not longer on any side, which programs that show them can bear.
const MOST: u64 = 16_384;

/// What is to be laid out.
#[derive(Clone, Copy, Debug)]
pub struct LayoutOptions {
    /// Panels.
    pub panels: usize,
    /// Rows of each.
    pub rows: usize,
    /// Columns of each.
    pub columns: usize,
    /// A column before the others.
    pub sink: bool,
    /// Pixels that labels of rows and of columns take.
    pub labels: (u32, u32),
}

/// A panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panel {
    /// Where its cells begin.
    pub at: (u32, u32),
    /// Whether labels stand at its left.
    pub is_left: bool,
    /// Whether labels stand below it.
    pub is_lowest: bool,
}

/// Where everything is, in pixels.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Width and height of the picture.
    pub size: (u32, u32),
    /// Width and height of a cell.
    pub cell: u32,
    /// Every so many rows and columns have a label.
    pub every: usize,
    /// Width and height of the cells of a panel.
    pub cells: (u32, u32),
    /// The panels.
    pub panels: Vec<Panel>,
    /// Where the legend begins.
    pub legend: (u32, u32),
    first_column: u32,
}

impl Layout {
    /// Lays out.
    ///
    /// # Errors
    /// When it would be larger than what programs show.
    pub fn of(wanted: LayoutOptions) -> Result<Layout, String> {
        let LayoutOptions { panels, rows, columns, sink, labels } = wanted;
        let across = panels.isqrt() + usize::from(panels.isqrt().pow(2) < panels);
        let across = across.max(1) as u32;
        let down = (panels as u32).div_ceil(across);
        let (room, most) = if across == 1 { (ROOM.0, CELL.0) } else { (ROOM.1 / across, CELL.1) };
        let longest = u32::try_from(rows.max(columns + usize::from(sink))).unwrap_or(u32::MAX).max(1);
        let cell = (room / longest).clamp(1, most);
        let first_column = if sink { cell + SINK_GAP } else { 0 };
        let side = |n: usize, more: u32| (n as u64) * u64::from(cell) + u64::from(more);
        let (cells_wide, cells_high) = (side(columns, first_column), side(rows, 0));
        let name = if panels > 1 { NAME } else { 0 };
        let left = u64::from(MARGIN + AXIS + labels.0 + TICK);
        let below = u64::from(TICK + labels.1 + AXIS + MARGIN);
        let wide = left + u64::from(across) * (cells_wide + u64::from(MARGIN)) + u64::from(LEGEND.0);
        let high = u64::from(TITLE) + u64::from(down) * (cells_high + u64::from(name + MARGIN)) + below;
        let size = (wide, high.max(u64::from(TITLE + LEGEND.1 + MARGIN)));
        let (Ok(width), Ok(height), true) = (u32::try_from(size.0), u32::try_from(size.1), size.0.max(size.1) <= MOST)
        else {
            return Err(format!(
                "a picture of {} × {} cells in {panels} panel{} would have {} × {} pixels, more than the {MOST} a side \
                 that programs show: choose fewer tokens with --tokens, or one head",
                columns,
                rows,
                if panels == 1 { "" } else { "s" },
                size.0,
                size.1
            ));
        };
        let cells = (cells_wide as u32, cells_high as u32);
        let at = |i: u32| Panel {
            at: (left as u32 + i % across * (cells.0 + MARGIN), TITLE + i / across * (cells.1 + name + MARGIN) + name),
            is_left: i.is_multiple_of(across),
            is_lowest: i + across >= panels as u32,
        };
        let legend = (width - LEGEND.0, TITLE + name);
        Ok(Layout {
            size: (width, height),
            cell,
            every: nice(LINE.div_ceil(cell)),
            cells,
            panels: (0..panels as u32).map(at).collect(),
            legend,
            first_column,
        })
    }

    /// Where the cell of a row and a column of a panel begins; without a column, that of its sink.
    pub fn cell(&self, panel: usize, row: usize, column: Option<usize>) -> (u32, u32) {
        let (x, y) = self.panels[panel].at;
        let across = column.map_or(0, |column| self.first_column + column as u32 * self.cell);
        (x + across, y + row as u32 * self.cell)
    }
}

/// The next number that people count by.
fn nice(n: u32) -> usize {
    let (mut tens, mut at) = (1, 1);
    while at < n {
        at = [2, 5, 10].map(|m| m * tens).into_iter().find(|&step| step >= n).unwrap_or(10 * tens);
        tens *= 10;
    }
    at as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(panels: usize, n: usize) -> LayoutOptions {
        LayoutOptions { panels, rows: n, columns: n, sink: false, labels: (100, 100) }
    }

    #[test]
    fn few_tokens_have_all_their_labels_and_many_have_as_many_as_can_be_read() {
        let of = |n| Layout::of(wanted(1, n)).map(|l| (l.cell, l.every)).unwrap();
        assert_eq!([of(35), of(100), of(500), of(3000)], [(24, 1), (14, 1), (2, 10), (1, 20)]);
        for n in [35, 100, 500, 3000] {
            let (cell, every) = of(n);
            assert!(cell as usize * every >= LINE as usize, "labels of {n} tokens run into each other");
        }
        assert_eq!([1, 2, 3, 6, 13, 50, 51].map(nice), [1, 2, 5, 10, 20, 50, 100]);
    }

    #[test]
    fn panels_do_not_lie_on_each_other_and_all_are_within_the_picture() {
        for (panels, n) in [(1, 1), (9, 35), (32, 500), (5, 7)] {
            let layout = Layout::of(LayoutOptions { sink: true, ..wanted(panels, n) }).unwrap();
            let (w, h) = layout.cells;
            for (i, a) in layout.panels.iter().enumerate() {
                assert!(a.at.0 + w < layout.legend.0 && a.at.1 + h < layout.size.1);
                assert!(layout.panels[..i].iter().all(|b| a.at.0 >= b.at.0 + w || a.at.1 >= b.at.1 + h));
                let last = layout.cell(i, n - 1, Some(n - 1));
                assert_eq!((last.0 + layout.cell, last.1 + layout.cell), (a.at.0 + w, a.at.1 + h));
            }
            assert!(layout.panels.iter().any(|p| p.is_left) && layout.panels.iter().any(|p| p.is_lowest));
        }
    }

    #[test]
    fn a_picture_that_nothing_shows_is_refused() {
        let error = Layout::of(wanted(1, 20_000)).unwrap_err();
        assert!(error.contains("--tokens"), "{error}");
        assert!(Layout::of(LayoutOptions { rows: 1, columns: usize::MAX >> 9, ..wanted(1, 1) }).is_err());
    }
}
