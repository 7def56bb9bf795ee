//! Which file, and which byte of it, an address of this process is mapped from.

use std::ops::Range;

/// A file that is mapped into the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses.
    pub range: Range<u64>,
    /// Offset in the file of the first address, in bytes.
    pub offset: u64,
    /// Path as the kernel knows it.
    pub path: String,
    /// Device: its major number, then 32 bits of its minor number.
    pub device: u64,
    /// Inode on the device.
    pub inode: u64,
}

/// All file mappings, ascending.
pub struct Maps(Vec<Mapping>);

impl Maps {
    /// Reads `/proc/self/maps`; empty if that is not possible.
    pub fn of_self() -> Maps {
        std::fs::read("/proc/self/maps").map_or(Maps(vec![]), |text| Maps::parse(&String::from_utf8_lossy(&text)))
    }

    /// Reads the format of proc(5).
    pub fn parse(text: &str) -> Maps {
        Maps(text.lines().filter_map(parse_line).collect())
    }

    /// The mapping that holds the address, and where in the file the address is.
    pub fn find(&self, addr: u64) -> Option<(&Mapping, u64)> {
        let i = self.0.partition_point(|m| m.range.end <= addr);
        let mapping = self.0.get(i).filter(|m| m.range.contains(&addr))?;
        Some((mapping, addr - mapping.range.start + mapping.offset))
    }
}

fn parse_line(line: &str) -> Option<Mapping> {
    // start-end perms offset dev inode path; the path may hold spaces.
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let offset = fields.nth(1)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    let path = fields.next()?.trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let hex = |s: &str| u64::from_str_radix(s, 16).ok();
    let shared_memory = path.starts_with("/dev/") || path.starts_with("/memfd:") || path.starts_with("/SYSV");
    (path.starts_with('/') && !shared_memory).then_some(())?;
    let device = hex(major)? << 32 | hex(minor)?;
    Some(Mapping {
        range: hex(start)?..hex(end)?,
        offset: hex(offset)?,
        path: path.replace("\\012", "\n"),
        device,
        inode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
7f00-7f80 r--p 00001000 fe:00 42                         /models/my model (ü).gguf
7f80-7fa0 rw-p 00000000 00:00 0
7fb0-7fc0 rw-s 00000000 00:01 9                          /dev/shm/ggscope-1-0
7fd0-7fe0 r--s 00000000 fe:00 43                         /models/gone.gguf (deleted)
8000-8010 rw-p 00000000 00:00 0                          [heap]
";

    #[test]
    fn an_address_in_a_file_has_a_path_and_an_offset() {
        let maps = Maps::parse(MAPS);
        let (mapping, offset) = maps.find(0x7f10).unwrap();
        assert_eq!((mapping.path.as_str(), offset), ("/models/my model (ü).gguf", 0x1010));
        assert_eq!((mapping.device, mapping.inode), (0xfe << 32, 42));
        assert_eq!(maps.find(0x7fd0).unwrap().0.path, "/models/gone.gguf");
    }

    #[test]
    fn anonymous_memory_heap_and_shared_memory_are_no_files() {
        let maps = Maps::parse(MAPS);
        for addr in [0x7eff, 0x7f80, 0x7fb8, 0x7fe0, 0x8008] {
            assert!(maps.find(addr).is_none(), "{addr:#x}");
        }
    }

    #[test]
    fn this_very_program_is_mapped() {
        let maps = Maps::of_self();
        let (mapping, _) = maps.find(parse_line as fn(&str) -> Option<Mapping> as usize as u64).unwrap();
        assert_eq!(mapping.path, std::env::current_exe().unwrap().to_string_lossy());
    }
}
