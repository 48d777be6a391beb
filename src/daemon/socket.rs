//! The Unix socket of the control API: created so that no other user can ever open it; and the identity of
//! its clients.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Group, Uid, getuid};

use crate::api::access::Peer;
use crate::config::runtime;
use crate::model::Role;

/// The owner and the group may connect.
const MODE: u32 = 0o660;
/// Longest wait for another daemon that makes a socket in the same directory.
const TURN: Duration = Duration::from_secs(2);

/// The socket's file; removed when the daemon ends, if it is still this daemon's.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

/// Listens at `path`. A socket left by a daemon that has ended is replaced, that of a running one is an
/// error.
///
/// The socket is bound under another name, gets its mode and group, and is then renamed: it never has other
/// permissions under its own name, and is never missing in between.
pub(super) fn open(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(directory)?;
    let _turn = turn(directory)?;
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) if is_alive(path)? => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there"));
        }
        _ => {}
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    // Left by a daemon that had the same process number and was killed right here.
    if std::fs::symlink_metadata(&draft).is_ok_and(|there| there.file_type().is_socket()) {
        std::fs::remove_file(&draft)?;
    }
    let kind = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, kind, None)?;
    // On Linux the mode of the file is the mode of the descriptor, less the umask.
    fchmod(&socket, Mode::from_bits_truncate(MODE))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(&draft)?)?;
    let made = dress(&draft, group()).and_then(|()| {
        listen(&socket, Backlog::MAXALLOWABLE)?;
        std::fs::rename(&draft, path)
    });
    if let Err(error) = made {
        let _ = std::fs::remove_file(&draft);
        return Err(error);
    }
    let there = std::fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), id: (there.dev(), there.ino()) };
    Ok((UnixListener::from(socket), file))
}

/// Mode and group of a socket that does not listen yet.
fn dress(draft: &Path, group: Option<Gid>) -> io::Result<()> {
    if let Some(group) = group {
        // Without the right to change groups the socket stays with the daemon's own group.
        if let Err(error) = std::os::unix::fs::lchown(draft, None, Some(group.as_raw())) {
            tracing::warn!("the API's socket can't be given to the group {}: {error}", runtime::GROUP);
        }
    }
    // Giving a file away may take bits from its mode, and so may the umask.
    std::fs::set_permissions(draft, std::fs::Permissions::from_mode(MODE))
}

/// The group of those who may use the socket, if the host has it.
pub(super) fn group() -> Option<Gid> {
    Group::from_name(runtime::GROUP).ok().flatten().map(|group| group.gid)
}

/// Everybody may look for the socket, only the daemon's user may put one there.
fn make_directory(directory: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o755).create(directory) {
        Ok(()) => std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// One daemon at a time looks whether another one lives.
fn turn(directory: &Path) -> io::Result<Flock<File>> {
    let end = Instant::now() + TURN;
    let mut file = File::open(directory)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() >= end => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "its directory is locked"));
            }
            Err((back, nix::errno::Errno::EWOULDBLOCK)) => file = back,
            Err((_, error)) => return Err(error.into()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a daemon listens there: a full queue counts, too.
fn is_alive(path: &Path) -> io::Result<bool> {
    let kind = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, kind, None)?;
    Ok(match connect(socket.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::ENOENT) => false,
        Err(nix::errno::Errno::EACCES) => return Err(nix::errno::Errno::EACCES.into()),
        _ => true,
    })
}

impl SocketFile {
    /// Where it is found: it was bound under another name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a client that looks for the socket finds this daemon's.
    pub(super) fn is_ours(&self) -> bool {
        let ours = |there: std::fs::Metadata| (there.dev(), there.ino()) == self.id;
        std::fs::symlink_metadata(&self.path).is_ok_and(ours)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_ours() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The peer of a connection: root and the daemon's own user are admins, members of `group` have the role
/// `members`, all others have none.
pub(super) fn peer(stream: &impl AsFd, group: Option<Gid>, members: Role) -> io::Result<Peer> {
    let who = getsockopt(stream, sockopt::PeerCredentials)?;
    let role = if who.uid() == 0 || Uid::from_raw(who.uid()) == getuid() {
        Some(Role::Admin)
    } else {
        let belongs = |group: Gid| who.gid() == group.as_raw() || groups(stream).contains(&group.as_raw());
        group.is_some_and(belongs).then_some(members)
    };
    Ok(Peer::Socket { uid: who.uid(), role })
}

/// The supplementary groups that the peer's process had when it connected (socket(7), `SO_PEERGROUPS`,
/// since Linux 4.13); none where the kernel does not report them.
fn groups(stream: &impl AsFd) -> Vec<libc::gid_t> {
    /// `NGROUPS_MAX` of Linux.
    const MOST: usize = 65_536;
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = (groups.len() * size_of::<libc::gid_t>()) as libc::socklen_t;
        let fd = stream.as_fd().as_raw_fd();
        // SAFETY: `length` is the size in bytes of the buffer behind the pointer, which lives over the
        // call; the kernel writes no more than that and sets `length` to what it wrote or would need.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut length,
            )
        };
        let count = length as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return groups;
        }
        let small = io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE);
        if !small || count <= groups.len() || count > MOST {
            return Vec::new();
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/api.sock");
        let (listener, file) = open(&path).unwrap();
        let mode = |path: &Path| std::fs::symlink_metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), MODE);
        assert_eq!(open(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let _client = UnixStream::connect(&path).unwrap();
        drop(listener);
        // Killed: its file stays.
        std::mem::forget(file);
        let (listener, file) = open(&path).unwrap();
        assert_eq!(mode(&path), MODE);
        drop((listener, file));
        assert!(!path.exists(), "a stop takes it away");
        std::fs::write(&path, "mine").unwrap();
        assert_eq!(open(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(open(&path).is_err() && !folder.path().join("elsewhere").exists(), "links are not followed");
    }

    #[test]
    fn a_file_of_another_daemon_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let (listener, first) = open(&path).unwrap();
        drop(listener);
        let (_listener, _second) = open(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }

    #[test]
    fn our_own_user_is_admin() {
        let (one, _two) = UnixStream::pair().unwrap();
        let Peer::Socket { uid, role } = peer(&one, None, Role::Viewer).unwrap() else {
            panic!("it is a socket")
        };
        assert_eq!((uid, role), (getuid().as_raw(), Some(Role::Admin)));
        assert!(groups(&one).len() < 1000);
    }
}
