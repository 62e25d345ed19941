//! `user`: as whom agents of a persona run. Either one user of this machine, or a range of numbers of which each session
//! gets one for itself.

use std::fmt;

use serde::{Deserializer, Serialize, Serializer};
use toml::Value;

use crate::config::value::{read, wrong};

const EXPECTED: &str =
    "the name or number of a user such as \"agents\" or 1001, or a range of numbers such as \"200000-265535\"";

/// As whom agents run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// All of them as one user of this machine, by its name or number.
    One(String),
    /// Each session's as a user of its own, which is a number out of this range.
    Range(UidRange),
}

/// Numbers of users, both ends included. The group of each has the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UidRange {
    first: u32,
    last: u32,
}

impl RunAs {
    /// The range, if there is one.
    pub fn range(&self) -> Option<UidRange> {
        match self {
            Self::One(_) => None,
            Self::Range(range) => Some(*range),
        }
    }
}

impl UidRange {
    /// The range from the one number to the other; `None` if it is empty or holds a number that no agent may have: 0 is
    /// root, and the highest stands for "no user" in the system's calls.
    pub fn new(first: u32, last: u32) -> Option<Self> {
        (first > 0 && first <= last && last < u32::MAX).then_some(Self { first, last })
    }

    /// The lowest number.
    pub fn first(self) -> u32 {
        self.first
    }

    /// How many numbers it holds.
    pub fn size(self) -> u32 {
        self.last - self.first + 1
    }

    /// Whether it holds the number.
    pub fn contains(self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }

    /// All numbers once, beginning with the one after `last_given`.
    pub fn after(self, last_given: u32) -> impl Iterator<Item = u32> {
        let next = if self.contains(last_given) && last_given < self.last { last_given + 1 } else { self.first };
        (next..=self.last).chain(self.first..next)
    }
}

impl fmt::Display for RunAs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(user) => formatter.write_str(user),
            Self::Range(range) => range.fmt(formatter),
        }
    }
}

impl fmt::Display for UidRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.first, self.last)
    }
}

impl Serialize for RunAs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads a name, a number or a range.
pub(super) fn run_as<'de, D: Deserializer<'de>>(source: D) -> Result<Option<RunAs>, D::Error> {
    read(source, |value| {
        let user = match value {
            Value::Integer(number) => u32::try_from(*number).ok().map(|number| RunAs::One(number.to_string())),
            Value::String(text) => match ends_of_range(text) {
                Some((first, last)) => Some(RunAs::Range(range(text, first, last)?)),
                None => Some(RunAs::One(text.clone())).filter(|_| is_user_name(text)),
            },
            Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
        };
        user.map(Some).ok_or_else(|| wrong(EXPECTED, value))
    })
}

/// The two numbers of a text such as `200000-265535`. No user's name looks like that.
fn ends_of_range(text: &str) -> Option<(&str, &str)> {
    let (first, last) = text.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(first) && is_number(last)).then_some((first, last))
}

fn range(text: &str, first: &str, last: &str) -> Result<UidRange, String> {
    const HIGHEST: u32 = u32::MAX - 1;
    let ends = first.parse().ok().zip(last.parse().ok());
    ends.and_then(|(first, last)| UidRange::new(first, last)).ok_or_else(|| {
        format!("is {text:?}, which is no range of users: write the lower number first, both from 1 to {HIGHEST}")
    })
}

// Users' names are what the system makes of them, but none has what separates the fields of a file of users.
fn is_user_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|character: char| character == ':' || character.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_gives_each_number_once_and_goes_on_behind_the_last() {
        let range = UidRange::new(7, 10).unwrap();
        assert_eq!((range.first(), range.size(), range.to_string()), (7, 4, "7-10".to_owned()));
        assert_eq!(range.after(8).collect::<Vec<_>>(), [9, 10, 7, 8]);
        for outside in [10, 3, 40] {
            assert_eq!(range.after(outside).collect::<Vec<_>>(), [7, 8, 9, 10], "{outside}");
        }
    }

    #[test]
    fn no_range_holds_root_or_the_number_that_is_nobodys() {
        assert_eq!(UidRange::new(0, 5), None);
        assert_eq!(UidRange::new(6, 5), None);
        assert_eq!(UidRange::new(1, u32::MAX), None);
        assert!(UidRange::new(5, 5).is_some_and(|range| range.contains(5) && !range.contains(6)));
    }
}
