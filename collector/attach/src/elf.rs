//! Looks at an executable before it is started: whether the dynamic linker will load the shim into it. Reads the ELF
//! header and nothing else, and judges only what it understands: scripts and unknown formats are fine.

use ggscope_model::mapped::Mapped;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const PT_INTERP: u32 = 3;
/// A program header table that is longer is not looked through.
const MAX_HEADERS: u64 = 1 << 16;

/// Why `LD_PRELOAD` does not reach a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untraceable {
    /// No dynamic linker runs.
    #[error("is statically linked, so ggscope cannot see into it (docs/linking.md says how to link ggscope in)")]
    Static,
    /// The shim is for another machine.
    #[error("is built for another machine than ggscope, so ggscope cannot see into it")]
    OtherMachine,
    /// The dynamic linker ignores `LD_PRELOAD`.
    #[error("runs with another user's or group's rights (set-user-id), so the system keeps ggscope out of it")]
    SetId,
}

/// Why ggscope will not see into the program at `path`, or `None` if nothing speaks against it.
pub fn why_untraceable(path: &Path) -> Option<Untraceable> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let elf = Elf::read(&file)?;
    let own = File::open("/proc/self/exe").ok().and_then(|own| Elf::read(&own));
    if own.is_some_and(|own| (own.wide, own.machine) != (elf.wide, elf.machine)) {
        return Some(Untraceable::OtherMachine);
    }
    if !elf.dynamic && !is_dynamic_linker(path) {
        // A build that has ggscope linked in attaches by itself.
        return (!contains(&file, &[ggscope_format::session::SOCKET_ENV.as_bytes()])).then_some(Untraceable::Static);
    }
    // SAFETY: these take nothing and always succeed.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let sets = |bit, owner, own| metadata.mode() & bit != 0 && owner != own;
    (sets(libc::S_ISUID, metadata.uid(), uid) || sets(libc::S_ISGID, metadata.gid(), gid)).then_some(Untraceable::SetId)
}

/// Whether the program has ggml inside rather than in a shared library.
pub fn carries_ggml(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let libraries: [&[u8]; 3] = [b"libggml.so", b"libggml-base.so", b"libllama.so"];
    Elf::read(&file).is_some() && contains(&file, &[b"ggml_init"]) && !contains(&file, &libraries)
}

/// `ld.so PROGRAM` is a static executable that loads the shim into what it starts.
fn is_dynamic_linker(path: &Path) -> bool {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with("ld-") || name.starts_with("ld.so")
}

fn contains(file: &File, needles: &[&[u8]]) -> bool {
    let Ok(map) = Mapped::of(file) else { return false };
    needles.iter().any(|needle| memchr::memmem::find(&map, needle).is_some())
}

struct Elf {
    wide: bool,
    machine: u16,
    /// It names a dynamic linker.
    dynamic: bool,
}

impl Elf {
    fn read(mut file: &File) -> Option<Elf> {
        use std::os::unix::fs::FileExt;
        let mut header = [0; 64];
        let n = file.read(&mut header).ok()?;
        if n < 52 || header[..4] != *b"\x7fELF" {
            return None;
        }
        let wide = header[4] == 2;
        let big = header[5] == 2;
        let number = |at: usize, len: usize| {
            let bytes = header[at..at + len].iter();
            let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
            if big { bytes.fold(0, add) } else { bytes.rev().fold(0, add) }
        };
        let (offset, size, count) = if wide {
            (number(32, 8), number(54, 2), number(56, 2))
        } else {
            (number(28, 4), number(42, 2), number(44, 2))
        };
        let mut dynamic = false;
        for i in 0..count.min(MAX_HEADERS) {
            let mut kind = [0; 4];
            file.read_exact_at(&mut kind, offset.checked_add(i * size)?).ok()?;
            let kind = if big { u32::from_be_bytes(kind) } else { u32::from_le_bytes(kind) };
            dynamic |= kind == PT_INTERP;
        }
        Some(Elf { wide, machine: number(18, 2) as u16, dynamic })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn ordinary_programs_and_scripts_can_be_traced() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        for path in [Path::new("/proc/self/exe"), Path::new("/bin/sh"), &script, Path::new("/absent")] {
            assert_eq!(why_untraceable(path), None, "{}", path.display());
        }
    }

    #[test]
    fn what_the_linker_keeps_us_out_of_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::fs::read("/bin/sh").unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let mut other = own.clone();
        other[18] ^= 0x3f;
        assert_eq!(why_untraceable(&put("other", &other)), Some(Untraceable::OtherMachine));
        // Without its program headers no dynamic linker is named.
        let mut bare = own.clone();
        bare[56..58].copy_from_slice(&[0, 0]);
        assert_eq!(why_untraceable(&put("static", &bare)), Some(Untraceable::Static));
        assert_eq!(why_untraceable(&put("linked", &[&bare[..], b"GGSCOPE_SOCKET"].concat())), None);
        assert_eq!(why_untraceable(&put("cut", &own[..60])), None);
        let set_id = put("set-id", &own);
        std::fs::set_permissions(&set_id, std::fs::Permissions::from_mode(0o4755)).unwrap();
        // Our own right is no other right.
        assert_eq!(why_untraceable(&set_id), None);
    }

    #[test]
    fn ggml_inside_a_program_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::fs::read("/bin/sh").unwrap();
        let path = dir.path().join("p");
        for (extra, inside) in [(&b""[..], false), (b"ggml_init", true), (b"ggml_init libggml-base.so.0", false)] {
            std::fs::write(&path, [&own[..], extra].concat()).unwrap();
            assert_eq!(carries_ggml(&path), inside);
        }
    }
}
