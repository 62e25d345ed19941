//! The table in docs/PERFORMANCE.md, between two marks.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::report::{Row, markdown};

const BEGIN: &str = "<!-- the table of ./bench/run --write begins -->\n";
const END: &str = "<!-- the table of ./bench/run --write ends -->";

/// Replaces what stands between the marks.
pub fn write(rows: &[Row]) -> io::Result<()> {
    let path = repository().join("docs/PERFORMANCE.md");
    let page = fs::read_to_string(&path)?;
    let page = replaced(&page, &format!("\n{}\n\n{}\n", machine(), markdown(rows)));
    fs::write(path, page.ok_or_else(|| io::Error::other("the page lacks the table's marks"))?)
}

/// On what was measured, in one sentence.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let git = ["rev-parse", "--short", "HEAD"];
    let commit = Command::new("git").args(git).current_dir(repository()).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let model = model.map_or("unknown processors", |(_, model)| model);
    format!("Commit {commit}, {cores} cores ({model}), Linux {}.", kernel.trim())
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a directory above")
}

fn replaced(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_changes() {
        let page = format!("head\n{BEGIN}old\n{END}\ntail\n");
        assert_eq!(replaced(&page, "new\n").unwrap(), format!("head\n{BEGIN}new\n{END}\ntail\n"));
        assert_eq!(replaced("no marks", "new"), None);
    }

    #[test]
    fn the_page_has_the_marks() {
        let page = include_str!("../../docs/PERFORMANCE.md");
        assert!(replaced(page, "table").unwrap().contains("begins -->\ntable<!--"));
    }
}
