//! File systems that other hosts, or programs, change without this host's kernel noticing.

use std::path::Path;

use nix::sys::statfs::statfs;

/// Types of `statfs(2)` (linux/magic.h and the file systems' own sources): NFS, SMB, CIFS, SMB2,
/// Ceph, FUSE (sshfs, GlusterFS, virtiofs), 9P, AFS, kAFS, Coda, Lustre, GFS2, OCFS2, Plan 9 of
/// virtual machines (vboxsf), VMware's shared folders.
const DISTANT: [u32; 15] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x00c3_6400,
    0x6573_5546,
    0x0102_1997,
    0x5346_414f,
    0x6b41_4653,
    0x7375_7245,
    0x0bd0_0bd0,
    0x0116_1970,
    0x7461_636f,
    0x786f_4256,
    0xbacb_acbc,
];

/// Whether changes below `root` may come without a report. A root that is away is looked for
/// often: it may be a mount that comes back.
pub(super) fn is_distant(root: &Path) -> bool {
    // The constants are 32 bits wide; the field's width and sign differ between processors.
    statfs(root).map_or(true, |found| DISTANT.contains(&(found.filesystem_type().0 as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_keeps_is_near() {
        assert!(!is_distant(Path::new("/proc")));
        assert!(!is_distant(Path::new(env!("CARGO_MANIFEST_DIR"))));
        assert!(is_distant(Path::new("/no/such/place")));
    }
}
