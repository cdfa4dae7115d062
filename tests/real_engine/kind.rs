//! The two kinds of engine, and where `tests/setup.sh` put them. Starts none.

use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use futures_util::future::join_all;

/// Debian's client: it speaks API 1.41, which both engines know.
pub(crate) const DOCKER: &str = "/usr/bin/docker";
const OLD_DOCKERD: &str = "/usr/sbin/dockerd";
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Which engine: the two differ in what `since`, `tail` and `follow` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Debian's 20.10, API 1.41: follow streams skip, repeat and stall.
    Old,
    /// A current moby, API 1.56.
    New,
}

impl Kind {
    /// Those of both kinds that this machine can run.
    pub(crate) fn present() -> impl Iterator<Item = Self> {
        [Self::Old, Self::New]
            .into_iter()
            .filter(|kind| kind.available())
    }

    /// Whether this machine can run it. If not, says so past the test runner's capture, and fails the test where
    /// `PULSETAIL_REQUIRE_ENGINE=1`.
    pub(crate) fn available(self) -> bool {
        let Some(missing) = self.missing() else {
            return true;
        };
        let line =
            format!("NOT TESTED on the {self:?} engine: {missing}; run tests/setup.sh as root\n");
        assert!(
            env::var("PULSETAIL_REQUIRE_ENGINE").as_deref() != Ok("1"),
            "{line}"
        );
        io::stderr().write_all(line.as_bytes()).ok();
        false
    }

    fn missing(self) -> Option<String> {
        if fs::metadata("/proc/self").map_or(true, |own| own.uid() != 0) {
            return Some("not root".into());
        }
        let mut needed = vec![PathBuf::from(DOCKER), image_tar()];
        needed.extend(match self {
            Self::Old => vec![
                OLD_DOCKERD.into(),
                "/usr/bin/containerd".into(),
                "/usr/sbin/runc".into(),
            ],
            Self::New => ["dockerd", "containerd", "containerd-shim-runc-v2", "runc"]
                .map(|name| new_engine_bin().join(name))
                .to_vec(),
        });
        let absent = needed.into_iter().find(|path| !path.exists())?;
        Some(format!("{} is missing", absent.display()))
    }

    /// Its dockerd, with the flags that hold for every engine of the tests.
    pub(crate) fn dockerd(self) -> Command {
        self.with_flags(Command::new(self.path()))
    }

    /// The same where cgroups are those of v2: a hierarchy that every Linux has, though on a machine with v1 without
    /// controllers. No bound of a container holds there.
    pub(crate) fn dockerd_on_cgroup_v2(self) -> Command {
        let script = "mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\" \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script])
            .arg(self.path());
        self.with_flags(command)
    }

    fn path(self) -> PathBuf {
        match self {
            Self::Old => OLD_DOCKERD.into(),
            Self::New => new_engine_bin().join("dockerd"),
        }
    }

    fn with_flags(self, mut command: Command) -> Command {
        match self {
            Self::Old => command.env("PATH", SYSTEM_PATH),
            Self::New => command
                .env(
                    "PATH",
                    format!("{}:{SYSTEM_PATH}", new_engine_bin().display()),
                )
                .args([
                    "--ip-forward=false",
                    "--feature=containerd-snapshotter=false",
                    "--storage-driver=overlay2",
                    "--seccomp-profile=unconfined",
                ]),
        };
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.arg("--exec-opt=native.cgroupdriver=cgroupfs");
        command
    }
}

/// Runs a test on both kinds at once; what one finds does not hide what the other does.
pub(crate) async fn on_each<F: Future<Output = ()> + Send + 'static>(test: impl Fn(Kind) -> F) {
    let tests: Vec<_> = Kind::present()
        .map(|kind| tokio::spawn(test(kind)))
        .collect();
    let ends = join_all(tests).await;
    let failed = ends.iter().filter(|end| end.is_err()).count();
    assert_eq!(failed, 0, "failed on {failed} engines, see above");
}

fn cache() -> PathBuf {
    let variable = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    variable("PULSETAIL_TEST_CACHE")
        .or_else(|| Some(user()?.join("pulsetail")))
        .unwrap_or_default()
}

fn new_engine_bin() -> PathBuf {
    cache().join("engine-new/bin")
}

/// The root file system of the one image: static busybox and its links.
pub(crate) fn image_tar() -> PathBuf {
    cache().join("busybox.tar")
}
