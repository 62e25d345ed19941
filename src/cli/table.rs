//! Tables for people and JSON lines for programs.

use std::process::ExitCode;

use anstyle::Style;
use serde::Serialize;

use super::Outcome;

/// Prints aligned columns under a heading, or the sentence for an empty table.
pub(super) fn print(heading: &[&str], rows: impl Iterator<Item = Vec<String>>, empty: &str) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        anstream::println!("{empty}");
        return;
    }
    let bold = Style::new().bold();
    let widths = widths(heading, &rows);
    let heading: Vec<_> = heading.iter().map(ToString::to_string).collect();
    anstream::println!("{bold}{}{bold:#}", line(&heading, &widths));
    for row in &rows {
        anstream::println!("{}", line(row, &widths));
    }
}

/// Prints one JSON object a line.
pub(super) fn print_json<T: Serialize>(rows: &[T]) -> Outcome {
    for row in rows {
        let text = serde_json::to_string(row).map_err(anyhow::Error::from)?;
        anstream::println!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

fn widths(heading: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let column = |number: usize| {
        let cells = rows.iter().map(|row| row[number].chars().count());
        cells.chain([heading[number].chars().count()]).max().unwrap_or(0)
    };
    (0..heading.len()).map(column).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    padded.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "long cell".to_owned()], vec!["ünï".to_owned(), String::new()]];
        let widths = widths(&["X", "Y"], &rows);
        assert_eq!(widths, [3, 9]);
        assert_eq!(line(&rows[0], &widths), "a    long cell");
        assert_eq!(line(&rows[1], &widths), "ünï");
    }
}
