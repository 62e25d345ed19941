//! Tables for people and JSON lines for programs.

use std::process::ExitCode;

use anstyle::Style;
use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::id::printable_whole;

use super::{Failure, Outcome, output};

/// Between two columns.
pub(super) const GAP: &str = "  ";

/// Prints aligned columns under a heading, with `-` where there is nothing; for an empty table, the sentence, which is no
/// part of the output.
pub(super) fn print(heading: &[&str], rows: impl Iterator<Item = Vec<String>>, empty: &str) -> Result<(), Failure> {
    let mut rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        anstream::eprintln!("{empty}");
        return Ok(());
    }
    for cell in rows.iter_mut().flatten().filter(|cell| cell.is_empty()) {
        "-".clone_into(cell);
    }
    let bold = Style::new().bold();
    let columns = terminal_columns();
    if columns.is_some() {
        rows.iter_mut().for_each(|row| narrow(row));
    }
    let widths = widths(heading, &rows);
    if let Some(columns) = columns {
        let used: usize = widths.iter().rev().skip(1).map(|width| width + GAP.len()).sum();
        rows.iter_mut().filter_map(|row| row.last_mut()).for_each(|cell| cut(cell, columns.saturating_sub(used)));
    }
    let heading: Vec<_> = heading.iter().map(ToString::to_string).collect();
    let mut text = format!("{bold}{}{bold:#}\n", line(&heading, &widths));
    for row in &rows {
        text.push_str(&line(row, &widths));
        text.push('\n');
    }
    output::write(&text)
}

/// How wide the terminal is, if the output goes to one.
fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Cuts all columns but the last, so that no single cell pushes the others out of sight.
fn narrow(row: &mut [String]) {
    const MOST: usize = 40;
    if let Some((_, cells)) = row.split_last_mut() {
        cells.iter_mut().for_each(|cell| cut(cell, MOST));
    }
}

/// Cuts a cell to the room it has, unless so little were left that a second line reads better.
fn cut(cell: &mut String, room: usize) {
    const LEAST: usize = 12;
    let room = room.max(LEAST);
    if cell.width() > room {
        let mut left = room - 1;
        let is_in_room = |character: &char| {
            let width = character.width().unwrap_or(0);
            let is_in = width <= left;
            left = left.saturating_sub(width);
            is_in
        };
        *cell = cell.chars().take_while(is_in_room).chain(['…']).collect();
    }
}

/// Prints one JSON object a line.
pub(super) fn print_json<T: Serialize>(rows: &[T]) -> Outcome {
    for row in rows {
        output::json(row)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The whole text made safe to print: only a terminal's width cuts it.
pub(super) fn escaped(text: &str) -> String {
    printable_whole(text)
}

fn widths(heading: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let column = |number: usize| {
        let cells = rows.iter().map(|row| row[number].width());
        cells.chain([heading[number].width()]).max().unwrap_or(0)
    };
    (0..heading.len()).map(column).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        let room = width.saturating_sub(cell.width());
        format!("{cell}{:room$}", "")
    });
    padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_escaped_and_kept_whole() {
        assert_eq!(escaped(&"a\u{1b}".repeat(300)), r"a\u{1b}".repeat(300));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "long cell".to_owned()], vec!["ünï".to_owned(), String::new()]];
        let widths = widths(&["X", "Y"], &rows);
        assert_eq!(widths, [3, 9]);
        assert_eq!(line(&rows[0], &widths), "a    long cell");
        assert_eq!(line(&rows[1], &widths), "ünï");
    }

    #[test]
    fn wide_characters_count_as_the_two_columns_that_a_terminal_gives_them() {
        let rows = vec![vec!["日本".to_owned(), "a".to_owned()], vec!["abcde".to_owned(), "b".to_owned()]];
        let widths = widths(&["X", "Y"], &rows);
        assert_eq!((line(&rows[0], &widths), line(&rows[1], &widths)), ("日本   a".into(), "abcde  b".into()));
        let mut cell = "日".repeat(30);
        cut(&mut cell, 20);
        assert_eq!(cell, format!("{}…", "日".repeat(9)));
    }

    #[test]
    fn a_long_cell_before_the_last_is_cut_and_an_id_is_not() {
        let id = "01234567-89ab-7def-8123-456789abcdef";
        let mut row = [id.to_owned(), "e".repeat(201), "r".repeat(201)];
        narrow(&mut row);
        assert_eq!(row, [id.to_owned(), format!("{}…", "e".repeat(39)), "r".repeat(201)]);
    }

    #[test]
    fn a_last_column_is_cut_at_the_edge_but_never_to_nothing() {
        let (mut fits, mut long) = ("exactly so long".to_owned(), "exactly so long.".to_owned());
        cut(&mut fits, 15);
        cut(&mut long, 15);
        assert_eq!((fits.as_str(), long.as_str()), ("exactly so long", "exactly so lon…"));
        cut(&mut long, 3);
        assert_eq!(long, "exactly so …");
    }
}
