//! Tables that fit the window they are shown in.

use owo_colors::{OwoColorize, Style};
use rbee_narration::printable;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const GAP: usize = 2;
/// No column is shortened below this: less would not tell anything.
const NARROWEST: usize = 6;

/// How a table may look where it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// So many columns wide is the window; in a pipe there is no limit.
    pub(crate) width: Option<usize>,
    /// Whether headers may be bold, labels dim, and states coloured.
    pub(crate) bold: bool,
}

/// Rows under a header, each cell as wide as its column's widest.
pub(crate) struct Table {
    titles: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// The column that is never shortened.
    whole: Option<usize>,
    /// The column that says in what state something is.
    states: Option<usize>,
}

impl Table {
    /// A table with these titles and no rows.
    pub(crate) fn new<const N: usize>(titles: [&'static str; N]) -> Self {
        Self { titles: titles.to_vec(), rows: Vec::new(), whole: None, states: None }
    }

    /// Never shortens the cells of `column`, e.g. because they are ids to copy.
    pub(crate) fn keep_whole(mut self, column: usize) -> Self {
        self.whole = Some(column);
        self
    }

    /// Colours the cells of `column`, which are states, where colours may be.
    pub(crate) fn states(mut self, column: usize) -> Self {
        self.states = Some(column);
        self
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| printable(cell).into_owned()).collect());
    }

    /// The table as lines of text.
    pub(crate) fn render(&self, look: Look) -> String {
        let mut widths: Vec<usize> = self.titles.iter().map(|title| title.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        if let Some(limit) = look.width {
            self.narrow(&mut widths, limit);
        }

        let mut text = String::new();
        let plain = Style::new();
        let header = line(self.titles.iter().map(|title| (*title, plain)), &widths);
        if look.bold {
            text.push_str(&format!("{}\n", header.bold()));
        } else {
            text.push_str(&format!("{header}\n"));
        }
        let states = self.states.filter(|_| look.bold);
        for row in &self.rows {
            let style = |column, cell| if states == Some(column) { state(cell) } else { plain };
            let cells = row.iter().enumerate().map(|(column, cell)| (cell.as_str(), style(column, cell)));
            text.push_str(&line(cells, &widths));
            text.push('\n');
        }
        text
    }

    /// Takes from the widest columns until the table fits, or cannot be narrowed any more.
    fn narrow(&self, widths: &mut [usize], limit: usize) {
        while widths.iter().sum::<usize>() + GAP * (widths.len() - 1) > limit {
            let shrinkable = widths
                .iter_mut()
                .enumerate()
                .filter(|(i, width)| Some(*i) != self.whole && **width > NARROWEST);
            match shrinkable.max_by_key(|(_, width)| **width) {
                Some((_, width)) => *width -= 1,
                None => return,
            }
        }
    }
}

/// Labels with their values, e.g. `version  0.1.0`.
pub(crate) fn facts<'a>(facts: impl AsRef<[(&'a str, String)]>, look: Look) -> String {
    let facts = facts.as_ref();
    let label_width = facts.iter().map(|(label, _)| label.width()).max().unwrap_or(0);
    let value_width =
        look.width.map_or(usize::MAX, |width| width.saturating_sub(label_width + GAP).max(NARROWEST));
    let (plain, dim) = (Style::new(), Style::new().dimmed());
    let lines = facts.iter().map(|(label, value)| {
        let cells = [(*label, if look.bold { dim } else { plain }), (&printable(value), plain)];
        format!("{}\n", line(cells.into_iter(), &[label_width, value_width]))
    });
    lines.collect()
}

/// How a state looks: green is well, yellow at work or on its way, red wants to be looked at.
fn state(text: &str) -> Style {
    match text.split(',').next().unwrap_or_default() {
        "ready" | "idle" | "succeeded" | "yes" => Style::new().green(),
        "busy" | "cancelled" | "connecting" | "draining" | "loading" | "paused" | "queued" | "running" => {
            Style::new().yellow()
        }
        "down" | "failed" | "no" => Style::new().red(),
        _ => Style::new(),
    }
}

/// The title above a table.
pub(crate) fn title(text: &str, look: Look) -> String {
    if look.bold { format!("\n{}\n", text.bold()) } else { format!("\n{text}\n") }
}

fn line<'a>(cells: impl Iterator<Item = (&'a str, Style)>, widths: &[usize]) -> String {
    let mut line = String::new();
    let mut column = 0;
    let mut start = 0;
    for ((cell, style), width) in cells.zip(widths) {
        // Only what another cell follows is padded.
        if !cell.is_empty() {
            line.extend(std::iter::repeat_n(' ', start - column));
            let cell = fit(cell, *width);
            column = start + cell.width();
            line.push_str(&cell.style(style).to_string());
        }
        start = start.saturating_add(width.saturating_add(GAP));
    }
    line
}

/// `text`, shortened with an ellipsis to at most `width` columns.
fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        fitted.push(c);
    }
    fitted.push('…');
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Look = Look { width: None, bold: false };

    fn sample() -> Table {
        let mut table = Table::new(["JOB", "MODEL", "STATE"]);
        table.row(["job-1".into(), "a-model-with-quite-a-long-name.gguf".into(), "ready".into()]);
        table.row(["job-22".into(), "世界.gguf".into(), String::new()]);
        table
    }

    #[test]
    fn a_pipe_gets_whole_cells_and_no_escape_codes() {
        assert_eq!(
            sample().render(PIPE),
            "JOB     MODEL                                STATE\n\
             job-1   a-model-with-quite-a-long-name.gguf  ready\n\
             job-22  世界.gguf\n"
        );
    }

    #[test]
    fn a_window_gets_shortened_cells_and_a_bold_header() {
        assert_eq!(
            sample().render(Look { width: Some(30), bold: true }),
            "\u{1b}[1mJOB     MODEL            STATE\u{1b}[0m\n\
             job-1   a-model-with-q…  ready\n\
             job-22  世界.gguf\n"
        );
    }

    #[test]
    fn states_are_coloured_without_a_column_moving() {
        let look = Look { width: Some(30), bold: true };
        let mut table = Table::new(["STATE", "WORKER"]).states(0);
        table.row(["idle, pinned".into(), "idle".into()]);
        table.row(["failed".into(), String::new()]);
        table.row(["new".into(), "w".into()]);
        assert_eq!(
            table.render(look),
            "\u{1b}[1mSTATE         WORKER\u{1b}[0m\n\
             \u{1b}[32midle, pinned\u{1b}[0m  idle\n\
             \u{1b}[31mfailed\u{1b}[0m\n\
             new           w\n"
        );
        assert!(!table.render(PIPE).contains('\u{1b}'));
        assert_eq!(facts([("a", "b".into())], look), "\u{1b}[2ma\u{1b}[0m  b\n");
    }

    #[test]
    fn a_column_that_is_to_stay_whole_does() {
        let text = sample().keep_whole(1).render(Look { width: Some(20), bold: false });
        assert!(text.contains("a-model-with-quite-a-long-name.gguf"), "{text}");
    }

    #[test]
    fn wide_characters_count_as_two() {
        assert_eq!(fit("世界世界世界", 7), "世界世…");
        assert_eq!(fit("世界世界世界", 6), "世界…");
        assert_eq!(fit("世界", 4), "世界");
        assert_eq!(fit("", 0), "");
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let mut table = Table::new(["A"]);
        table.row(["x\x1b[2J\ny".into()]);
        assert_eq!(table.render(PIPE), "A\nx\\u{1b}[2J\\ny\n");
        assert_eq!(facts([("a", "\r".into())], PIPE), "a  \\r\n");
    }

    #[test]
    fn facts_are_aligned() {
        let look = Look { width: Some(16), bold: false };
        assert_eq!(
            facts([("host", "box".into()), ("version", "0.1.0-long".into())], look),
            "host     box\nversion  0.1.0-…\n"
        );
    }
}
