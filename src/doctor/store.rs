//! Whether the store and what lies around it are as they must be: what `frontdesk verify` finds.

use std::path::Path;

use crate::store::CURE;
use crate::verify::{self, Nature, VerifyError};

use super::{Finding, Level};

const ABOUT: &str = "store";

pub(super) fn check(directory: &Path) -> Vec<Finding> {
    match verify::verify(directory) {
        Ok(report) if report.findings.is_empty() => vec![Finding::ok(ABOUT, report.summary())],
        Ok(report) => report.findings.into_iter().map(finding).collect(),
        // The data directory's own check tells of one that is missing.
        Err(VerifyError::NoDataDirectory(_)) => Vec::new(),
        Err(VerifyError::NotAllowed(directory)) => {
            let cure = "run this as the user that the server runs as, such as with `sudo -u USER`";
            vec![Finding::error(ABOUT, format!("this user may not read {directory}"), cure)]
        }
        Err(error @ VerifyError::Unreadable(..)) => vec![Finding::error(ABOUT, error.to_string(), CURE)],
    }
}

fn finding(found: verify::Finding) -> Finding {
    let level = match found.nature {
        Nature::Damage | Nature::Lasting => Level::Error,
        Nature::Leftover | Nature::Gone => Level::Note,
    };
    Finding::told(ABOUT, level, found.sentence)
}

#[cfg(test)]
mod tests {
    use crate::data_dir::DataDir;
    use crate::store::sqlite::SqliteStore;

    use super::*;

    #[test]
    fn a_sound_store_is_said_to_be_and_a_damaged_one_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let directory = DataDir::open(root.path()).unwrap();
        drop(SqliteStore::open(directory.paths()).unwrap());
        let database = directory.paths().database();
        drop(directory);
        let sound = check(root.path());
        assert_eq!((sound.len(), sound[0].level), (1, Level::Ok), "{sound:?}");

        std::fs::write(database, "not a database, however one reads it").unwrap();
        assert!(check(root.path()).iter().any(|finding| finding.level == Level::Error));
    }

    #[test]
    fn what_the_next_start_settles_is_a_note() {
        let leftover = verify::Finding { session: None, sentence: "a; b".into(), nature: Nature::Leftover };
        assert_eq!(finding(leftover).level, Level::Note);
    }
}
