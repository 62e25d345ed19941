//! `[unix_socket]`: who may connect to the Unix socket that `listen` names.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::{self, read, wrong};

const EXPECTED: &str = "file permissions in octal as a text such as \"0660\"";
const ALL_PERMISSIONS: u32 = 0o777;

/// `[unix_socket]`: who may connect to the Unix socket that `listen` names. Means nothing to other sockets.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnixSocket {
    /// The permissions of the socket's file; connecting takes the one to write. Default `0660`.
    #[serde(deserialize_with = "read_mode", serialize_with = "write_mode")]
    pub mode: u32,
    /// The name or number of the group that the file belongs to. Default the server's own.
    #[serde(deserialize_with = "value::optional_text", skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Default for UnixSocket {
    fn default() -> Self {
        Self { mode: 0o660, group: None }
    }
}

fn read_mode<'de, D: Deserializer<'de>>(source: D) -> Result<u32, D::Error> {
    read(source, |value| {
        let digits = value.as_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
        mode.filter(|mode| *mode <= ALL_PERMISSIONS).ok_or_else(|| wrong(EXPECTED, value))
    })
}

fn write_mode<S: Serializer>(mode: &u32, sink: S) -> Result<S::Ok, S::Error> {
    sink.collect_str(&format_args!("{mode:04o}"))
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::{errors, load};

    #[test]
    fn permissions_are_read_in_octal() {
        let mode = |text: &str| load(&format!("unix_socket.mode = {text}"), &[]).unwrap().config.unix_socket.mode;
        assert_eq!((mode("'0660'"), mode("'777'"), mode("'600'")), (0o660, 0o777, 0o600));
    }

    #[test]
    fn what_is_no_permissions_is_refused() {
        for text in ["660", "'0o660'", "'1777'", "''", "'rw'", "'888'", "'+66'"] {
            let found = errors(&format!("unix_socket.mode = {text}"), &[]).join("\n");
            assert!(found.contains("must be file permissions in octal"), "{text}: {found}");
        }
        assert!(errors("unix_socket.group = ''", &[]).join("\n").contains("`unix_socket.group`"));
    }
}
