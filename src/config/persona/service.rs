//! The name of a service, as a persona writes it.

use serde::Deserializer;

use crate::config::value::{read, wrong};

pub(super) fn service<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    const EXPECTED: &str = "the name of a service in the service mapping such as \"ROBOTS\"";
    read(source, |value| {
        let name = value.as_str().filter(|name| !name.is_empty());
        name.map(|name| Some(name.to_owned())).ok_or_else(|| wrong(EXPECTED, value))
    })
}
