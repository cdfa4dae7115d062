//! The processes of a private engine, and the folder that is all theirs.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};

use crate::engine::{ENGINE_DEADLINE, Options};
use crate::kind::Kind;

/// Its name is also the name of the engine's cgroup.
pub(crate) fn new_folder() -> PathBuf {
    for n in 0.. {
        let folder = env::temp_dir().join(format!("pulsetail-engine-{}-{n}", process::id()));
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            made => {
                return made
                    .map(|()| folder)
                    .expect("the folder for temporary files is writable");
            }
        }
    }
    unreachable!("numbers do not end")
}

fn cgroup(folder: &Path) -> String {
    folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

pub(crate) fn spawn_reaper(folder: &Path) -> Child {
    Command::new("sh")
        .args(["-c", include_str!("reap.sh"), "reap.sh"])
        .arg(folder)
        .arg(cgroup(folder))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of reach of a Ctrl-C.
        .process_group(0)
        .spawn()
        .expect("there is a shell")
}

pub(crate) fn spawn_dockerd(kind: Kind, options: &Options, folder: &Path) -> Child {
    let path = |name: &str| folder.join(name);
    fs::write(path("daemon.json"), "{}").expect("the engine's folder is writable");
    let log = File::options()
        .create(true)
        .append(true)
        .open(path("dockerd.log"))
        .expect("it is writable still");
    let mut command = match options.cgroup_v2 {
        true => kind.dockerd_on_cgroup_v2(),
        false => kind.dockerd(),
    };
    command.arg("--config-file").arg(path("daemon.json"));
    command.arg("--data-root").arg(path("data"));
    command.arg("--exec-root").arg(path("exec"));
    command.arg("--pidfile").arg(path("pid"));
    command
        .arg("--host")
        .arg(format!("unix://{}", path("docker.sock").display()));
    command
        .arg("--cgroup-parent")
        .arg(format!("/{}", cgroup(folder)));
    command
        .args(options.live_restore.then_some("--live-restore"))
        .args(&options.flags);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("descriptors are left"))
        .stderr(log);
    command.process_group(0).spawn().expect("dockerd starts")
}

pub(crate) fn ping(socket: &Path) -> io::Result<bool> {
    let mut connection = UnixStream::connect(socket)?;
    connection.set_read_timeout(Some(ENGINE_DEADLINE))?;
    connection.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer.contains(" 200 "))
}
