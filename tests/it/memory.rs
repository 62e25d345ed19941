//! What stands in the memory of a process, as root sees it.

use std::fs::{self, File};
use std::io::BufRead;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// How often a text stands in the memory of a process; nothing where this user may not look.
pub(crate) fn occurrences(pid: u32, text: &str) -> Option<usize> {
    const PIECE_BYTES: usize = 1 << 20;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut piece = vec![0; PIECE_BYTES + text.len()];
    let mut found = 0;
    for (start, end) in mappings(pid)? {
        let mut at = start;
        while at < end {
            // The pieces overlap by one byte less than the text, so that each occurrence is whole in one of them.
            let wanted = piece.len().min(usize::try_from(end - at).unwrap());
            // Some mappings of the kernel's own can't be read.
            let Ok(read) = memory.read_at(&mut piece[..wanted], at) else { break };
            found += beginnings(&piece[..read], text.as_bytes(), PIECE_BYTES);
            at += PIECE_BYTES as u64;
        }
    }
    Some(found)
}

/// Waits until a text stands nowhere in the memory of a process: the task of a connection that has closed ends a moment
/// after its client sees that.
pub(crate) fn assert_gone(pid: u32, what: &str, text: &str) {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        if occurrences(pid, text) == Some(0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} is still in memory");
}

/// How many of the first `most` positions begin the text.
fn beginnings(mut bytes: &[u8], text: &[u8], most: usize) -> usize {
    let whole = bytes.len();
    let mut found = 0;
    // The standard library's search is fast also in a test that is not optimised.
    while bytes.skip_until(text[0]).unwrap() > 0 {
        let at = whole - bytes.len() - 1;
        found += usize::from(at < most && bytes.starts_with(&text[1..]));
    }
    found
}

fn mappings(pid: u32) -> Option<Vec<(u64, u64)>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let readable = maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|modes| modes.starts_with('r')));
    let ends = readable.filter_map(|line| line.split(' ').next()?.split_once('-'));
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(ends.filter_map(|(start, end)| number(start).zip(number(end))).collect())
}
