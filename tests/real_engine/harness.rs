//! The harness itself: what the other tests take for granted about their engines.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::engine::{Dockerd, Options, RunOptions, Signal, text, until};
use crate::kind::Kind;

#[test]
fn what_a_container_wrote_comes_back() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        for (name, driver) in [("json-file-log", "json-file"), ("local-log", "local")] {
            let options = RunOptions {
                driver: Some(driver),
                max_size: Some("1m"),
                max_file: Some(3),
                ..RunOptions::default()
            };
            engine.run(name, &options, "seq 3; exit 7");
            assert_eq!(engine.wait(name), 7);
            assert_eq!(text(&engine.docker(&["logs", name])), "1\n2\n3");
            engine.remove(name);
        }
    }
}

#[test]
fn a_terminal_is_one_raw_stream() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        engine.run(
            "tty-log",
            &RunOptions {
                tty: true,
                ..RunOptions::default()
            },
            "echo out; echo err >&2",
        );
        engine.wait("tty-log");
        assert_eq!(
            engine.docker(&["logs", "tty-log"]).stdout,
            b"out\r\nerr\r\n"
        );
        engine.remove("tty-log");
    }
}

#[test]
fn containers_run_with_the_options_asked_for() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let options = RunOptions {
            compress: Some(true),
            max_size: Some("1m"),
            max_file: Some(2),
            restart: Some("always"),
            flags: vec!["--label=a=b".into()],
            ..RunOptions::default()
        };
        let id = engine.run("with-options", &options, "sleep 1000");
        let format = "{{.Id}} {{.HostConfig.LogConfig.Config}} {{.HostConfig.RestartPolicy.Name}} {{.Config.Labels}}";
        let found = text(&engine.docker(&["inspect", "--format", format, "with-options"]));
        assert_eq!(
            found,
            format!("{id} map[compress:true max-file:2 max-size:1m] always map[a:b]")
        );
        assert!(engine.data_root().join("containers").join(id).is_dir());
        assert_eq!(text(&engine.exec_wait("with-options", "echo in")), "in");
        engine.remove("with-options");

        engine.run(
            "by-itself",
            &RunOptions {
                auto_remove: true,
                ..RunOptions::default()
            },
            "true",
        );
        until("the container removes itself", || {
            !engine
                .try_docker(&["inspect", "by-itself"])
                .status
                .success()
        });
    }
}

#[test]
fn an_engine_can_be_stopped_killed_and_restarted() {
    for kind in Kind::present() {
        let engine = Dockerd::start(
            kind,
            Options {
                live_restore: true,
                flags: vec!["--label=own=yes".into()],
                ..Options::default()
            },
        );
        assert_eq!(engine.kind(), kind);
        engine.run("survivor", &RunOptions::default(), "sleep 1000");
        let first = engine.pid();

        let socket = format!("unix://{}", engine.socket().display());
        let mut client = Command::new("/usr/bin/docker")
            .args(["-H", &socket, "events"])
            .spawn()
            .unwrap();
        until("an open connection counts", || engine.connections() == 1);
        engine.signal(Signal::Stop);
        assert_eq!(engine.connections(), 1);
        engine.signal(Signal::Continue);
        client.kill().unwrap();
        client.wait().unwrap();
        until("closed connections do not count", || {
            engine.connections() == 0
        });

        engine.restart();
        engine.signal(Signal::Kill);
        engine.come_back();
        assert_ne!(engine.pid(), first);
        assert!(engine.log().contains("API listen on"));
        assert!(engine.cpu() > Duration::ZERO);
        assert_eq!(
            text(&engine.docker(&["info", "--format", "{{.Labels}}"])),
            "[own=yes]"
        );
        let running = "{{.State.Running}}";
        assert_eq!(
            text(&engine.docker(&["inspect", "--format", running, "survivor"])),
            "true"
        );
    }
}

#[test]
fn a_dropped_engine_leaves_nothing_behind() {
    for kind in Kind::present() {
        let engine = Dockerd::start(kind, Options::default());
        engine.run("running", &RunOptions::default(), "sleep 1000");
        engine.run("paused", &RunOptions::default(), "sleep 1000");
        engine.docker(&["pause", "paused"]);
        let folder = engine.socket().parent().unwrap().to_path_buf();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!processes_and_mounts(&name).is_empty());
        drop(engine);
        assert_eq!(processes_and_mounts(&name), Vec::<String>::new());
        assert!(!folder.exists());
        let mut controllers = fs::read_dir("/sys/fs/cgroup").unwrap();
        assert!(!controllers.any(|controller| controller.unwrap().path().join(&name).exists()));
    }
}

/// Every process and mount with the name in its arguments, cgroup or path.
fn processes_and_mounts(name: &str) -> Vec<String> {
    let read =
        |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").expect("Linux") {
        let path = process.expect("Linux").path();
        let arguments = read(path.join("cmdline"));
        // A zombie has no arguments, and waits for nothing but its parent.
        if arguments.contains(name)
            || (!arguments.is_empty() && read(path.join("cgroup")).contains(name))
        {
            found.push(arguments);
        }
    }
    found.extend(
        read("/proc/mounts".into())
            .lines()
            .filter(|line| line.contains(name))
            .map(Into::into),
    );
    found
}
