//! Other users: their programs are not recorded, and their collectors get nothing. Becoming another user needs root: without
//! it these tests are reported as skipped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use ggscope_format::FORMAT_VERSION;
use ggscope_format::session::{Hello, frame};
use std::io::{Read, Write};

use crate::stage::{Daemon, Stage, ggscope, run, shim, until};

/// A user who has nothing.
const NOBODY: u32 = 65534;

/// A daemon of nobody's, whose socket everybody can reach.
fn nobodys_daemon(stage: &Stage) -> Daemon {
    // What this user's tests are built into, another one may not be able to enter.
    let folder = stage.path("bin");
    fs::create_dir(&folder).unwrap();
    for file in [ggscope(), shim()] {
        fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
    }
    let own = stage.path("nobody");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(stage.dir(), everybody.clone()).unwrap();
    fs::set_permissions(&own, everybody.clone()).unwrap();

    let mut command = Command::new(folder.join("ggscope"));
    command.args(["daemon", "-d", "traces"]).current_dir(&own).env("GGSCOPE_SOCKET", own.join("daemon.sock"));
    command.env_remove("LD_PRELOAD").env("HOME", &own).uid(NOBODY).gid(NOBODY);
    let daemon = stage.started_daemon(command);
    fs::set_permissions(own.join("daemon.sock"), fs::Permissions::from_mode(0o777)).unwrap();
    daemon
}

#[test]
#[ignore = "becoming another user needs root: `make test` runs it where it can"]
fn a_program_does_not_attach_to_another_users_collector() {
    let stage = Stage::new();
    let expected = stage.untraced(30, &[]);
    let daemon = nobodys_daemon(&stage);
    let mut host = stage.preloaded(stage.generate(30, &[]));
    host.env("GGSCOPE_SOCKET", stage.path("nobody/daemon.sock"));
    let done = run(host);
    assert_eq!((done.code(), &done.stdout), (Some(0), &expected));
    assert_eq!(done.stderr, "ggscope: this process is not traced: the collector belongs to another user\n");
    assert!(!daemon.said().contains("attached, to"), "{}", daemon.said());
    daemon.stop();
    assert_eq!(fs::read_dir(stage.path("nobody/traces")).unwrap().count(), 0);
}

#[test]
#[ignore = "becoming another user needs root: `make test` runs it where it can"]
fn a_collector_refuses_another_users_process() {
    let stage = Stage::new();
    let daemon = nobodys_daemon(&stage);
    // Says the right words, and is not asked for more.
    let mut stream = UnixStream::connect(stage.path("nobody/daemon.sock")).unwrap();
    let hello = Hello { version: FORMAT_VERSION, pid: std::process::id(), exe: "/bin/liar".into(), ..Hello::default() };
    // It may have hung up already.
    let _ = stream.write_all(&frame(&hello));
    let mut answer = vec![];
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    until("the refusal", || daemon.said().contains("did not attach"));
    assert!(daemon.said().contains("user"), "{}", daemon.said());
    daemon.stop();
    assert_eq!(fs::read_dir(stage.path("nobody/traces")).unwrap().count(), 0);
}

#[test]
#[ignore = "becoming another user needs root: `make test` runs it where it can"]
fn a_socket_is_for_its_user_alone() {
    let stage = Stage::new();
    let daemon = stage.daemon(&[]);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(stage.socket().parent().unwrap().to_owned()), 0o700);
    daemon.stop();
}
