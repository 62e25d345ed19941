//! The systemd units: systemd itself finds nothing wrong with them, and the guide shows what they are.

use std::fs;
use std::process::Command;

use crate::harness::repository;

const UNITS: [&str; 2] = ["frontdesk.service", "frontdesk.socket"];

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let directory = tempfile::tempdir().unwrap();
    for unit in UNITS {
        let text = fs::read_to_string(repository().join("contrib").join(unit)).unwrap();
        // A program that is not installed would be found wrong.
        let text = text.replace("/usr/local/bin/frontdesk", env!("CARGO_BIN_EXE_frontdesk"));
        fs::write(directory.path().join(unit), text).unwrap();
    }
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(UNITS.map(|unit| directory.path().join(unit)))
        .output()
        .unwrap();
    let found = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{found}");
    // The guide says that systemd before 254 does not know this one.
    let mut ours = found.lines().filter(|line| line.contains("frontdesk") && !line.contains("'DelegateSubgroup'"));
    assert_eq!(ours.next(), None, "{found}");
}

#[test]
fn the_guide_shows_the_units_as_they_are() {
    let guide = fs::read_to_string(repository().join("docs/OPERATING.md")).unwrap();
    for unit in UNITS {
        let text = fs::read_to_string(repository().join("contrib").join(unit)).unwrap();
        let (_, body) = text.split_once("\n\n").unwrap();
        assert!(guide.contains(body.trim()), "docs/OPERATING.md shows another {unit}");
    }
}
