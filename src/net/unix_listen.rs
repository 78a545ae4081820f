//! The Unix socket's file.
//!
//! Owns: making it, its rights, telling a stale one from a living one, and removing it. Does not know: accepting.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::endpoint::{kernel_path, socket_file};
use super::listener::BindError;
use crate::config::Process;

/// Where groups have numbers.
const GROUP_FILE: &str = "/etc/group";

/// A socket file that is ours. Dropping it removes the file, unless somebody has put another in its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: meta.dev(), inode: meta.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| meta.dev() == self.device && meta.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Listens on the socket of `listen_port` in `dir`. The abstract namespace has no file.
pub(super) fn bind(
    dir: &Path,
    process: &Process,
) -> Result<(UnixListener, Option<SocketFile>, PathBuf), BindError> {
    let path = socket_file(dir, process.listen_port);
    let failed = |error| BindError::Unix { path: path.clone(), error };
    let in_namespace = dir.as_os_str().as_encoded_bytes().first() == Some(&b'@');
    if !in_namespace {
        clear_the_place(&path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    let addr = SockAddr::unix(kernel_path(&path)).map_err(failed)?;
    match socket.bind(&addr) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return Err(BindError::UnixInUse(path));
        }
        bound => bound.map_err(failed)?,
    }
    let mut file = None;
    if !in_namespace {
        file = Some(SocketFile::of(&path).map_err(failed)?);
        // Nobody can connect before `listen`, so nobody sees the file with other rights.
        set_rights(&path, process).map_err(failed)?;
    }
    socket.listen(backlog(process.listen_backlog)).map_err(failed)?;
    Ok((socket.into(), file, path))
}

/// A backlog as the system call wants it.
pub(super) fn backlog(configured: u32) -> i32 {
    i32::try_from(configured).unwrap_or(i32::MAX)
}

/// Removes a socket on which nobody answers. A living one, and a file that is no socket, stay.
fn clear_the_place(path: &Path) -> Result<(), BindError> {
    let failed = |error| BindError::Unix { path: path.to_owned(), error };
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    // PostgreSQL's own; it may be about to listen.
    if Path::new(&lock).exists() {
        return Err(BindError::UnixInUse(path.to_owned()));
    }
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            let text = "the file exists and is no socket";
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, text)));
        }
        Ok(_) => {}
    }
    if answers(path) {
        return Err(BindError::UnixInUse(path.to_owned()));
    }
    std::fs::remove_file(path).map_err(failed)
}

/// Whether a process holds the socket. A full queue is an answer, and so is every doubt.
fn answers(path: &Path) -> bool {
    let asked = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?; // a full queue must not hold up the start
        socket.connect(&SockAddr::unix(path)?)?;
        drop(UnixStream::from(socket));
        Ok(())
    };
    match asked() {
        Ok(()) => true,
        Err(error) => error.kind() != io::ErrorKind::ConnectionRefused,
    }
}

fn set_rights(path: &Path, process: &Process) -> io::Result<()> {
    if let Some(group) = &process.unix_socket_group {
        let text = std::fs::read_to_string(GROUP_FILE).unwrap_or_default();
        let gid = group_number(group, &text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("unix_socket_group: unknown group {group:?}"))
        })?;
        std::os::unix::fs::chown(path, None, Some(gid))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(process.unix_socket_mode & 0o777))
}

/// A number, or a name that the group file knows.
fn group_number(group: &str, group_file: &str) -> Option<u32> {
    if let Ok(number) = group.parse() {
        return Some(number);
    }
    group_file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_number_or_a_name_of_the_group_file() {
        let file = "root:x:0:\npostgres:x:117:alice,bob\nbroken\n";
        assert_eq!(group_number("postgres", file), Some(117));
        assert_eq!(group_number("4711", file), Some(4711));
        assert_eq!(group_number("alice", file), None);
        assert_eq!(group_number("broken", file), None);
    }
}
