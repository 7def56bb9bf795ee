//! Files that are no traces, or no longer whole ones; readers that go away.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::stage::{Process, Stage, evaluations, ggscope, info, run, try_info};
use crate::support::tiny_model::N_LAYER;

/// A trace of `n` tokens.
fn recorded(stage: &Stage, n: u32) -> PathBuf {
    let path = stage.path("run.ggtrace");
    let done = run(stage.record(&["-o", "run.ggtrace"], &stage.generate(n, &[])));
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    path
}

/// Asserts that no command reads the file, and that each says in one line which file is wrong, where and why.
fn assert_refused(stage: &Stage, file: &Path, parts: &[&str]) {
    for command in ["info", "dump", "leaves"] {
        let done = stage.ggscope(&[command.as_ref(), file.as_os_str()]);
        assert_eq!((done.code(), done.stdout.as_str()), (Some(1), ""), "{command}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        for part in [&["ggscope: ", file.to_str().unwrap()], parts].concat() {
            assert!(done.stderr.contains(part), "{part:?} is not in {}", done.stderr);
        }
    }
}

#[test]
fn what_is_not_a_trace_is_refused_with_its_name_and_place() {
    let stage = Stage::new();
    let put = |name: &str, bytes: &[u8]| {
        fs::write(stage.path(name), bytes).unwrap();
        stage.path(name)
    };
    assert_refused(&stage, stage.model(), &["byte 0", "not a ggscope trace"]);
    assert_refused(&stage, &put("text", b"#!/bin/sh\necho this is not a trace\n"), &["byte 0", "not a ggscope trace"]);
    assert_refused(&stage, &put("one byte", b"g"), &["byte 0"]);
    assert_refused(&stage, &put("empty", b""), &["byte 0", "empty"]);
    assert_refused(&stage, &put("zeros", &[0; 100_000]), &["byte 0", "not a ggscope trace"]);
    assert_refused(&stage, &stage.path("absent"), &["No such file"]);
    assert_refused(&stage, stage.dir(), &["not a regular file"]);
    assert_refused(&stage, Path::new("/dev/null"), &["not a regular file"]);
}

#[test]
fn a_trace_of_a_future_version_is_refused_as_such() {
    let stage = Stage::new();
    let path = recorded(&stage, 3);
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&999_u32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert_refused(&stage, &path, &["byte 8", "999"]);
}

#[test]
fn a_trace_that_was_cut_anywhere_opens_up_to_its_last_whole_chunk_or_says_that_there_is_none() {
    let stage = Stage::new();
    let whole = fs::read(recorded(&stage, 700)).unwrap();
    let cut = stage.path("cut.ggtrace");
    let mut opened = vec![];
    // Near both ends, and at places all over.
    let places = (0..40).chain((40..whole.len()).step_by(whole.len() / 60)).chain(whole.len() - 20..whole.len());
    for at in places {
        fs::write(&cut, &whole[..at]).unwrap();
        match try_info(&cut) {
            Ok(info) => {
                assert_eq!(info["complete"], false, "cut at {at}");
                assert!(info["warnings"][0].as_str().unwrap().contains("cut"), "cut at {at}: {info:#}");
                opened.push(info["evaluations"].as_u64().unwrap());
            }
            Err(said) => {
                assert!(opened.is_empty(), "cut at {at}, later than what opened: {said}");
                assert!(said.starts_with("ggscope: ") && said.contains("cut.ggtrace: byte "), "cut at {at}: {said}");
            }
        }
    }
    assert!(opened.is_sorted() && opened.contains(&700), "{opened:?}");
    assert!(opened.iter().any(|&n| n > 0 && n < 700), "one chunk holds all: this test does not test");
    // What is there is as it was.
    fs::write(&cut, &whole[..whole.len() * 2 / 3]).unwrap();
    let n = info(&cut)["evaluations"].as_u64().unwrap();
    assert_eq!(evaluations(&cut), (0..n).collect::<Vec<_>>());
    let rows = |path: &Path| {
        let done =
            stage.ggscope(&["dump".as_ref(), path.as_os_str(), "--jsonl".as_ref(), "--eval".as_ref(), "1".as_ref()]);
        done.stdout
    };
    let path = stage.path("run.ggtrace");
    assert!(!rows(&path).is_empty());
    if n > 1 {
        assert_eq!(rows(&cut), rows(&path));
    }
}

#[test]
fn damage_in_a_trace_costs_the_damaged_part_and_a_warning() {
    let stage = Stage::new();
    let path = recorded(&stage, 700);
    let whole = fs::read(&path).unwrap();
    for part in 1..20 {
        let mut damaged = whole.clone();
        let at = whole.len() * part / 20;
        let end = (at + 64).min(whole.len());
        damaged[at..end].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, damaged).unwrap();
        for command in ["info", "dump", "leaves"] {
            let done = stage.ggscope(&[command.as_ref(), path.as_os_str()]);
            assert!(
                matches!(done.code(), Some(0 | 1)),
                "{command}, damaged at {at}: {:?} {}",
                done.status,
                done.stderr
            );
            assert!(!done.stderr.contains("panicked"), "{command}, damaged at {at}: {}", done.stderr);
        }
        // Whoever asks first what it is that they have is told.
        let info = stage.ggscope(&["info".as_ref(), path.as_os_str()]);
        let told = format!("{}{}", info.stdout, info.stderr);
        let tells = ["damaged", "checksum", "cut", "no chunk begins"].iter().any(|word| told.contains(word));
        assert!(tells || info.code() == Some(1), "info did not notice the damage at {at}: {told}");
    }
}

#[test]
fn an_existing_file_is_not_overwritten_without_force() {
    let stage = Stage::new();
    let expected = stage.untraced(10, &[]);
    let path = stage.path("precious.ggtrace");
    fs::write(&path, "precious").unwrap();
    let generate = stage.generate(10, &[]);
    let refused = run(stage.record(&["-o", "precious.ggtrace"], &generate));
    // Before the program has run for an hour, not after.
    assert_eq!((refused.code(), refused.stdout.as_str()), (Some(1), ""));
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("precious.ggtrace"), "{}", refused.stderr);
    assert!(refused.stderr.contains("exists already") && refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    let forced = run(stage.record(&["-o", "precious.ggtrace", "--force"], &generate));
    assert_eq!((forced.code(), &forced.stdout), (Some(0), &expected));
    crate::stage::assert_whole(&path, &expected);
}

#[test]
fn a_place_that_cannot_be_written_is_noticed_before_the_program_runs() {
    let stage = Stage::new();
    let nothing = stage.path("nothing");
    let pipe = std::ffi::CString::new(stage.path("pipe").as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: a path of our own that ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    std::os::unix::fs::symlink(stage.path("not there"), &nothing).unwrap();
    for (output, why) in [
        ("no/such/directory/run.ggtrace", "No such file"),
        (".", "is a directory"),
        ("pipe", "not a regular file"),
        ("/dev/full", "not a regular file"),
        ("nothing", "a link to a file that does not exist"),
    ] {
        let done = run(stage.record(&["-o", output], &stage.generate(10, &[])));
        assert_eq!((done.code(), done.stdout.as_str()), (Some(1), ""), "{}", done.stderr);
        assert!(done.stderr.contains("cannot write") && done.stderr.contains(why), "{}", done.stderr);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let stage = Stage::new();
    let path = recorded(&stage, 700);
    for format in [&[][..], &["--jsonl"]] {
        let mut command = stage.command(ggscope());
        command.arg("dump").arg(&path).args(format).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(!first.is_empty());
        // The pipe is closed now, and most is not printed.
        let done = child.wait_with_output().unwrap();
        assert_eq!((done.status.code(), String::from_utf8_lossy(&done.stderr).as_ref()), (Some(0), ""));
    }
    assert!(info(&path)["operators"].as_u64().unwrap() > 700 * 10 * N_LAYER);
}

#[test]
fn a_model_whose_path_has_spaces_and_letters_of_any_script_is_named_as_it_is() {
    let name = "mein Modell – größer, 模型 'q' $HOME.gguf";
    let stage = Stage::with_model(name);
    let expected = stage.untraced(10, &[]);
    let done = run(stage.record(&["-o", "run ünï.ggtrace"], &stage.generate(10, &[])));
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected));
    let trace = stage.path("run ünï.ggtrace");
    crate::stage::assert_whole(&trace, &expected);
    assert_eq!(info(&trace)["model"]["path"], stage.model().to_str().unwrap());
    let rows = crate::stage::dump(&trace);
    let sources = rows.iter().flat_map(|row| row["src"].as_array().unwrap()).filter(|src| src["memory"] == "DISK");
    let files: Vec<&str> = sources.map(|src| src["file"].as_str().unwrap()).collect();
    assert!(!files.is_empty() && files.iter().all(|file| *file == stage.model().to_str().unwrap()));
}

#[test]
fn a_filter_or_a_capture_that_finds_nothing_is_said() {
    let stage = Stage::new();
    let path = stage.path("run.ggtrace");
    let done = run(stage.record(&["-o", "run.ggtrace", "--capture", "no_such_tensor"], &stage.generate(3, &[])));
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("nothing was captured of `no_such_tensor`"), "{}", done.stderr);
    let dump = stage.ggscope(&["dump".as_ref(), path.as_os_str(), "--op".as_ref(), "NO_SUCH".as_ref()]);
    assert_eq!(dump.code(), Some(0));
    assert!(dump.stderr.contains("nothing matches"), "{}", dump.stderr);
}

#[test]
fn a_model_that_changes_while_it_is_recorded_ends_neither_the_program_nor_the_recorder() {
    let cut = |model: &Path| fs::File::options().write(true).open(model).unwrap().set_len(100).unwrap();
    let overwrite = |model: &Path| {
        let bytes = fs::metadata(model).unwrap().len() as usize;
        fs::write(model, vec![0x55; bytes]).unwrap();
    };
    let replace = |model: &Path| {
        fs::write(model.with_extension("new"), "not a model").unwrap();
        fs::rename(model.with_extension("new"), model).unwrap();
    };
    let delete = |model: &Path| fs::remove_file(model).unwrap();
    for change in [&cut as &dyn Fn(&Path), &overwrite, &replace, &delete] {
        let stage = Stage::new();
        let expected = stage.untraced(30, &[]);
        // The program has read the file, and does not need it any more.
        let generate = stage.generate(30, &["--no-mmap", "--delay-ms", "20"]);
        let running = Process::start(stage.record(&["-o", "run.ggtrace"], &generate));
        running.wait_for_lines(3);
        change(stage.model());
        let done = running.done();
        assert_eq!((done.code(), done.stdout), (Some(0), expected), "{}", done.stderr);
        let info = info(&stage.path("run.ggtrace"));
        assert_eq!((&info["complete"], &info["model"]["n_layer"]), (&true.into(), &N_LAYER.into()), "{info:#}");
    }
}
