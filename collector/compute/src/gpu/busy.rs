//! Which GPUs some processes use, so that analyses stay away from the GPU of the program that is being traced.
//!
//! A process that has no NVIDIA device file open uses none. Of one that has, NVML says which; where NVML is missing, or does
//! not know the process (it counts processes of the host, which have other ids inside of a container), all are taken to
//! be in use.

use nvml_wrapper::Nvml;
use std::path::Path;

/// For each GPU, named by its UUID, whether one of the processes uses it.
pub(crate) fn in_use(processes: &[u32], uuids: &[String]) -> Vec<bool> {
    let open = processes.iter().any(|&process| opens_gpu(Path::new("/proc"), process));
    if !open {
        return vec![false; uuids.len()];
    }
    judge(&uuids.iter().map(|uuid| nvml_lists(processes, uuid)).collect::<Vec<_>>())
}

/// What NVML knows of each GPU, of processes that use at least one.
fn judge(listed: &[Option<bool>]) -> Vec<bool> {
    let known = listed.contains(&Some(true));
    listed.iter().map(|one| !known || one.unwrap_or(true)).collect()
}

/// Has it a file like /dev/nvidia0 open? Yes, if that cannot be found out; no, if the process is gone.
fn opens_gpu(proc: &Path, process: u32) -> bool {
    match std::fs::read_dir(proc.join(process.to_string()).join("fd")) {
        Ok(files) => files.flatten().any(|file| {
            std::fs::read_link(file.path()).is_ok_and(|target| {
                let number = target.to_str().and_then(|target| target.strip_prefix("/dev/nvidia"));
                number.is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
            })
        }),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn nvml_lists(processes: &[u32], uuid: &str) -> Option<bool> {
    let nvml = Nvml::init().ok()?;
    let device = nvml.device_by_uuid(uuid).ok()?;
    let running = device.running_compute_processes().ok()?;
    Some(running.iter().any(|process| processes.contains(&process.pid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_with_a_device_file_open_use_a_gpu() {
        let proc = tempfile::tempdir().unwrap();
        for (process, target) in [(7, "/dev/nvidia0"), (8, "/dev/nvidiactl"), (9, "/dev/null")] {
            let files = proc.path().join(process.to_string()).join("fd");
            std::fs::create_dir_all(&files).unwrap();
            std::os::unix::fs::symlink(target, files.join("3")).unwrap();
        }
        assert!(opens_gpu(proc.path(), 7));
        assert!(!opens_gpu(proc.path(), 8));
        assert!(!opens_gpu(proc.path(), 9));
        assert!(!opens_gpu(proc.path(), 10), "gone");
        // Tests beside this one may have opened a GPU, in this process.
        let mut other = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let opens = opens_gpu(Path::new("/proc"), other.id());
        other.kill().and_then(|()| other.wait()).unwrap();
        assert!(!opens);
    }

    #[test]
    fn what_nvml_does_not_know_is_in_use() {
        assert_eq!(judge(&[Some(true), Some(false), None]), [true, false, true]);
        assert_eq!(judge(&[Some(false), Some(false)]), [true, true], "it counts other processes than ours");
        assert_eq!(judge(&[None]), [true]);
    }
}
