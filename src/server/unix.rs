//! A Unix socket with a file: made ready aside, then put in its place.
//!
//! The socket gets its permissions under another name, and only then the name that clients know: nobody connects who
//! may not. Its place is reached through an open directory, because a socket's address holds 107 bytes and a directory's
//! path any number. A file that a killed server has left is replaced; one that somebody listens on, or that is no
//! socket, never is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::config::{Listen, UnixSocket};
use crate::shim::user;

use super::listener::{ListenError, refused};

/// The file of a socket, removed when this is dropped unless another one has taken its name.
#[derive(Debug)]
pub(super) struct SocketFile {
    directory: File,
    name: PathBuf,
    identity: (u64, u64),
}

/// Opens a socket at this path.
pub(super) fn open(
    path: &Path,
    settings: &UnixSocket,
    most_waiting: i32,
) -> Result<(UnixListener, SocketFile), ListenError> {
    let address = Listen::Unix(path.to_owned());
    let refuse = |error: io::Error| refused(&address, error);
    let group = settings.group.as_deref().map(group).transpose()?;
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(parent);
    let directory = directory.map_err(refuse)?;
    give_way(&directory, &name, &address)?;
    let aside = PathBuf::from(format!(".frontdesk-{}", std::process::id()));
    remove(&directory, &aside).map_err(refuse)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    );
    let socket = socket.map_err(|errno| refuse(errno.into()))?;
    let bound = SocketAddrUnix::new(within(&directory, &aside)).and_then(|aside| rustix::net::bind(&socket, &aside));
    bound.map_err(|errno| refuse(errno.into()))?;
    if let Some((written, gid)) = group {
        let given = rustix::fs::chownat(&directory, &aside, None, Some(gid), AtFlags::SYMLINK_NOFOLLOW);
        given.map_err(|errno| {
            let _ = remove(&directory, &aside);
            ListenError::Group { group: written.to_owned(), why: io::Error::from(errno).to_string() }
        })?;
    }
    let placed = rustix::fs::chmodat(&directory, &aside, Mode::from_raw_mode(settings.mode), AtFlags::empty())
        .and_then(|()| rustix::net::listen(&socket, most_waiting))
        .and_then(|()| rustix::fs::renameat(&directory, &aside, &directory, &name));
    placed.map_err(|errno| refuse(errno.into()))?;
    let identity = identity(&directory, &name).map_err(refuse)?;
    Ok((UnixListener::from(socket), SocketFile { directory, name, identity }))
}

/// Whether the name is free, or a socket has it on which nobody listens.
fn give_way(directory: &File, name: &Path, address: &Listen) -> Result<(), ListenError> {
    let found = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(refused(address, errno.into())),
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(ListenError::NoSocket { address: address.clone() });
    }
    match UnixStream::connect(within(directory, name)) {
        Ok(_) => Err(ListenError::Taken { address: address.clone() }),
        // A server that is gone left it, or one is about to.
        Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        Err(error) => Err(refused(address, error)),
    }
}

fn group(written: &str) -> Result<(&str, Gid), ListenError> {
    match user::group(written) {
        Ok(gid) => Ok((written, Gid::from_raw(gid))),
        Err(why) => Err(ListenError::Group { group: written.to_owned(), why }),
    }
}

fn remove(directory: &File, name: &Path) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn identity(directory: &File, name: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(within(directory, name))?;
    Ok((found.dev(), found.ino()))
}

/// A path that leads through an open directory.
fn within(directory: &File, name: &Path) -> PathBuf {
    Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name)
}

/// Connects to the Unix socket at a path, however long that is.
///
/// # Errors
/// What the system said.
pub(crate) async fn connect(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(parent)?;
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    tokio::net::UnixStream::connect(within(&directory, Path::new(name))).await
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.directory, &self.name).is_ok_and(|found| found == self.identity) {
            let _ = remove(&self.directory, &self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Config;
    use crate::server::listener::Listener;

    async fn listen(path: &Path, mode: u32) -> Result<Listener, ListenError> {
        let unix_socket = UnixSocket { mode, group: None };
        Listener::open(&Config { listen: Listen::Unix(path.to_owned()), unix_socket, ..Config::default() }, None).await
    }

    #[tokio::test]
    async fn a_socket_has_its_permissions_and_its_file_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("frontdesk.sock");
        for mode in [0o600, 0o660, 0o666] {
            let listener = listen(&path, mode).await.unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
            let (accepted, connected) = tokio::join!(listener.accept(), connect(&path));
            assert!(accepted.is_ok() && connected.is_ok());
            drop(listener);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }

    #[tokio::test]
    async fn what_a_killed_server_left_is_replaced_and_what_is_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("frontdesk.sock");
        // The standard library's own sockets leave their files.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());

        let second = listen(&path, 0o600).await.unwrap();

        let error = listen(&path, 0o600).await.err().unwrap().to_string();
        assert!(
            error.ends_with("is taken; stop what listens there, or choose another address with --listen"),
            "{error}"
        );
        assert!(connect(&path).await.is_ok());
        drop(second);
        fs::write(&path, "precious").unwrap();
        let error = listen(&path, 0o600).await.err().unwrap().to_string();
        assert!(error.contains("is a file that is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_file_that_another_server_has_put_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("frontdesk.sock");
        let first = listen(&path, 0o600).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _second = listen(&path, 0o600).await.unwrap();

        drop(first);

        assert!(connect(&path).await.is_ok());
    }

    #[tokio::test]
    async fn a_path_may_be_longer_than_a_sockets_address() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("n".repeat(crate::config::listen::LONGEST_SOCKET_NAME));
        let listener = listen(&path, 0o600).await.unwrap();
        assert!(connect(&path).await.is_ok());
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_group_that_there_is_not_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let unix_socket = UnixSocket { group: Some("no-such-group".into()), ..UnixSocket::default() };
        let listen = Listen::Unix(directory.path().join("frontdesk.sock"));
        let opened = Listener::open(&Config { listen, unix_socket, ..Config::default() }, None).await;
        let error = opened.err().unwrap().to_string();
        assert!(error.contains("\"no-such-group\"") && error.contains("`unix_socket.group`"), "{error}");
    }
}
