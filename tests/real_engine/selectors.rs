//! Live selectors on real engines: a compose project that churns, and Pulsetail in a container of the engine it reads.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{
    ContainerChangeKind as Change, Selector, StreamLogsRequest, StreamLogsResponse,
};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::{sleep, timeout};
use tonic::Streaming;

use crate::engine::{Dockerd, Options, RunOptions, text, until};
use crate::kind::Kind;
use crate::server::{Server, line, narrow_stream};

const DEADLINE: Duration = Duration::from_secs(60);

fn following(selector: Selector) -> StreamLogsRequest {
    StreamLogsRequest {
        selector: Some(selector),
        follow: true,
        ..StreamLogsRequest::default()
    }
}

/// What a stream brought, by container.
#[derive(Default)]
struct Heard {
    lines: BTreeMap<String, Vec<String>>,
    changes: BTreeMap<String, Vec<Change>>,
    members: Vec<String>,
    gaps: usize,
}

impl Heard {
    fn hear(&mut self, event: Event) {
        let id = |container: Option<pulsetail::proto::ContainerRef>| container.unwrap().id;
        match event {
            Event::Opened(opened) => {
                let members = opened.members.into_iter();
                self.members
                    .extend(members.map(|member| id(member.container)));
            }
            Event::Batch(batch) => {
                let text = |entry| String::from_utf8(line(entry).to_vec()).unwrap();
                let lines = batch.entries.iter().map(text);
                let of = self.lines.entry(id(batch.container)).or_default();
                of.extend(lines);
            }
            Event::ContainerChange(change) => {
                let kind = change.kind();
                self.changes
                    .entry(id(change.container))
                    .or_default()
                    .push(kind);
            }
            Event::Gap(_) => self.gaps += 1,
            _ => {}
        }
    }

    async fn until(
        &mut self,
        stream: &mut Streaming<StreamLogsResponse>,
        wanted: impl Fn(&Self) -> bool,
    ) {
        while !wanted(self) {
            let message = timeout(DEADLINE, stream.message()).await;
            let message = message.unwrap_or_else(|_| panic!("{:?} {:?}", self.lines, self.changes));
            self.hear(message.unwrap().unwrap().event.unwrap());
        }
    }

    fn has(&self, id: &str, kind: Change) -> bool {
        self.changes
            .get(id)
            .is_some_and(|kinds| kinds.contains(&kind))
    }

    fn said(&self, id: &str) -> &[String] {
        self.lines.get(id).map_or(&[], Vec::as_slice)
    }
}

fn of_project(project: &str, service: &str) -> RunOptions {
    let label = |key, value| format!("--label=com.docker.compose.{key}={value}");
    RunOptions {
        flags: vec![label("project", project), label("service", service)],
        ..RunOptions::default()
    }
}

/// Gives a container another name, and another one its old name.
async fn rename_and_recreate(
    engine: &Dockerd,
    project: &str,
    web: &str,
    (heard, stream): (&mut Heard, &mut Streaming<StreamLogsResponse>),
) {
    let [name, old] = ["web", "old"].map(|name| format!("{project}-{name}"));
    block_in_place(|| engine.docker(&["rename", &name, &old]));
    heard
        .until(stream, |heard| heard.has(web, Change::Renamed))
        .await;
    let script = "echo again; sleep 1000";
    let again = block_in_place(|| engine.run(&name, &of_project(project, "web"), script));
    heard
        .until(stream, |heard| heard.said(&again) == ["again"])
        .await;
    block_in_place(|| engine.remove(&old));
    heard
        .until(stream, |heard| heard.has(web, Change::Removed))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compose_project_that_churns_is_followed_whole() {
    for engine in Kind::present().filter_map(Dockerd::shared) {
        let project = format!("sel{:?}", engine.kind()).to_lowercase();
        let run = |name: &str, service: &str, script: &str| {
            let name = format!("{project}-{name}");
            block_in_place(|| engine.run(&name, &of_project(&project, service), script))
        };
        let web = run("web", "web", "while :; do echo web; sleep 1; done");
        let server = Server::start(engine, &[]).await;
        let selector = Selector {
            compose_project: project.clone(),
            ..Selector::default()
        };
        let mut stream = server.stream(following(selector)).await;
        let mut heard = Heard::default();
        heard
            .until(&mut stream, |heard| !heard.said(&web).is_empty())
            .await;
        assert_eq!(heard.members, std::slice::from_ref(&web));
        // Over before anybody looks.
        let jobs: Vec<_> = (0..10)
            .map(|n| {
                run(
                    &format!("job-{n}"),
                    "job",
                    &format!("seq $(({n} * 100)) $(({n} * 100 + 99))"),
                )
            })
            .collect();
        for (n, job) in jobs.iter().enumerate() {
            heard
                .until(&mut stream, |heard| heard.said(job).len() == 100)
                .await;
            let numbers = heard.said(job).iter().map(|text| text.parse().unwrap());
            let numbers: Vec<usize> = numbers.collect();
            assert_eq!(numbers, (n * 100..(n + 1) * 100).collect::<Vec<_>>());
            assert_eq!(heard.changes[job][0], Change::Joined);
        }
        assert_eq!(heard.gaps, 0);
        rename_and_recreate(engine, &project, &web, (&mut heard, &mut stream)).await;
        block_in_place(|| {
            engine.remove(&format!("{project}-web"));
            (0..10).for_each(|n| engine.remove(&format!("{project}-job-{n}")));
        });
        for job in &jobs {
            heard
                .until(&mut stream, |heard| heard.has(job, Change::Removed))
                .await;
        }
        server.stop().await;
    }
}

/// The binary in a container: it is linked to the machine's own libraries.
fn pulsetail(engine: &Dockerd, shared: &Path, flags: &[&str], own: &[&str]) -> String {
    let binary = env!("CARGO_BIN_EXE_pulsetail");
    let volume = |from: &str, to: &str| format!("--volume={from}:{to}");
    let mut options = RunOptions {
        flags: vec![
            volume("/lib", "/lib:ro"),
            volume("/lib64", "/lib64:ro"),
            volume("/usr/lib", "/usr/lib:ro"),
            volume(binary, "/pulsetail:ro"),
            volume(&shared.to_string_lossy(), "/shared"),
            volume(&engine.socket().to_string_lossy(), "/var/run/docker.sock"),
        ],
        ..RunOptions::default()
    };
    options
        .flags
        .extend(flags.iter().map(|flag| (*flag).to_owned()));
    let own = own.join(" ");
    let script = format!(
        "exec /pulsetail serve --listen unix:///shared/p.sock --log-level debug --rotation 500ms {own}"
    );
    let id = engine.run("pulsetail", &options, &script);
    until("it listens", || shared.join("p.sock").exists());
    id
}

/// Lines that a container has written.
fn written(engine: &Dockerd, name: &str) -> usize {
    let logs = engine.docker(&["logs", name]);
    let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    count(&logs.stdout) + count(&logs.stderr)
}

async fn heard_by(engine: &Dockerd, flags: &[&str], own: &[&str]) -> (bool, usize) {
    let folder = TempDir::new().unwrap();
    let id = block_in_place(|| pulsetail(engine, folder.path(), flags, own));
    let all = Selector {
        all: true,
        ..Selector::default()
    };
    let socket = format!("unix://{}", folder.path().join("p.sock").display());
    let mut stream = narrow_stream(&socket, following(all)).await;
    let mut heard = Heard::default();
    let script = "echo hello; sleep 1000";
    let other = block_in_place(|| engine.run("other", &RunOptions::default(), script));
    heard
        .until(&mut stream, |heard| heard.said(&other) == ["hello"])
        .await;
    sleep(Duration::from_secs(1)).await;
    let before = block_in_place(|| written(engine, "pulsetail"));
    sleep(Duration::from_secs(3)).await;
    let grown = block_in_place(|| written(engine, "pulsetail")) - before;
    let is_member = heard.members.contains(&id) || heard.has(&id, Change::Joined);
    let said = !heard.said(&id).is_empty();
    println!(
        "{:?} {flags:?} {own:?}: own container followed: {is_member}, {grown} lines in 3 s",
        engine.kind()
    );
    block_in_place(|| {
        engine.remove("other");
        engine.remove("pulsetail");
    });
    (is_member || said, grown)
}

/// Runs it in a container in the ways that show it where it is, or do not.
async fn leaves_itself_out(engine: &Dockerd) {
    let kind = engine.kind();
    for flags in [
        &[][..],
        &["--hostname=other"],
        &["--hostname=other", "--cgroupns=private"],
        &["--hostname=other", "--cgroupns=host"],
    ] {
        let (is_member, grown) = heard_by(engine, flags, &[]).await;
        assert!(!is_member, "{kind:?} {flags:?}");
        assert!(grown < 100, "{kind:?} {flags:?}: {grown} lines of its own");
    }
    let (is_member, _) = heard_by(engine, &[], &["--include-self"]).await;
    assert!(is_member, "{kind:?}: it was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_container_it_leaves_itself_out_and_its_output_settles() {
    for kind in Kind::present() {
        let engine = block_in_place(|| Dockerd::start(kind, Options::default()));
        leaves_itself_out(&engine).await;
        block_in_place(|| drop(engine));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_does_where_cgroups_are_those_of_v2() {
    for kind in Kind::present() {
        let options = Options {
            cgroup_v2: true,
            ..Options::default()
        };
        let engine = block_in_place(|| Dockerd::start(kind, options));
        let version = ["info", "--format", "{{.CgroupVersion}}"];
        let version = text(&block_in_place(|| engine.docker(&version)));
        assert_eq!(version.trim(), "2", "{kind:?}: void");
        leaves_itself_out(&engine).await;
        // Beside whom it shares a network with, by the cgroup alone.
        block_in_place(|| engine.run("peer", &RunOptions::default(), "sleep 1000"));
        let flags = ["--network=container:peer", "--cgroupns=host"];
        let (is_member, _) = heard_by(&engine, &flags, &[]).await;
        assert!(!is_member, "{kind:?} {flags:?}");
        block_in_place(|| drop(engine));
    }
}
