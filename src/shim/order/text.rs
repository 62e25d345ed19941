//! Paths, arguments and variables in JSON: as strings where they are UTF-8, else as lists of bytes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Text of the operating system to be written.
struct Written<'a>(&'a OsStr);

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.to_str() {
            Some(text) => serializer.serialize_str(text),
            None => serializer.collect_seq(self.0.as_bytes()),
        }
    }
}

/// Text of the operating system that was read.
struct Read(OsString);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Read;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Read, E> {
                Ok(Read(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Read, A::Error> {
                let mut text = Vec::new();
                while let Some(byte) = bytes.next_element()? {
                    text.push(byte);
                }
                Ok(Read(OsString::from_vec(text)))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// One text.
pub(super) mod one {
    use super::{Deserialize, Deserializer, OsStr, OsString, Read, Serialize, Serializer, Written};

    pub(in super::super) fn serialize<S: Serializer>(text: impl AsRef<OsStr>, to: S) -> Result<S::Ok, S::Error> {
        Written(text.as_ref()).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, T: From<OsString>>(from: D) -> Result<T, D::Error> {
        Ok(Read::deserialize(from)?.0.into())
    }
}

/// A text that may be missing.
pub(super) mod option {
    use super::{Deserialize, Deserializer, OsStr, OsString, Read, Serialize, Serializer, Written};

    pub(in super::super) fn serialize<S: Serializer>(
        text: &Option<impl AsRef<OsStr>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_ref().map(|text| Written(text.as_ref())).serialize(to)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, T: From<OsString>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(Option::<Read>::deserialize(from)?.map(|text| text.0.into()))
    }
}

/// A list of texts.
pub(super) mod list {
    use super::{Deserialize, Deserializer, OsString, Read, Serializer, Written};

    pub(in super::super) fn serialize<S: Serializer>(texts: &[OsString], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(texts.iter().map(|text| Written(text)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
        Ok(Vec::<Read>::deserialize(from)?.into_iter().map(|text| text.0).collect())
    }
}

/// Names with values: a list of pairs, since a name in JSON would have to be UTF-8.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use super::{Deserialize, Deserializer, OsString, Read, Serializer, Written};

    pub(in super::super) fn serialize<S: Serializer>(
        pairs: &BTreeMap<OsString, OsString>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(pairs.iter().map(|(name, value)| (Written(name), Written(value))))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<OsString, OsString>, D::Error> {
        Ok(Vec::<(Read, Read)>::deserialize(from)?.into_iter().map(|(name, value)| (name.0, value.0)).collect())
    }
}
