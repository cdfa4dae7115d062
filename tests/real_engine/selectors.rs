//! Live selectors on real engines: a compose project that churns, and Pulsetail in a container of the engine it reads.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use pulsetail::proto::stream_logs_response::Event;
use pulsetail::proto::{
    ContainerChangeKind as Change, Selector, StreamLogsRequest, StreamLogsResponse,
};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tonic::Streaming;

use crate::engine::{Dockerd, Options, RunOptions, text, until};
use crate::kind::Kind;
use crate::server::{Server, line, narrow_stream};

const DEADLINE: Duration = Duration::from_secs(60);
/// Lines of another container at once, and those of its own that a server may write then: of streams that broke.
const BURST: usize = 1_000;
const OWN: usize = 20;
/// A server whose output has settled writes nothing for so long; it has settled after so many looks.
const QUIET: Duration = Duration::from_secs(3);
const LOOKS: usize = 5;

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

/// What a server in a container did while somebody followed every container.
#[derive(Debug)]
struct Own {
    is_member: bool,
    /// Whether lines of its own were delivered.
    said: bool,
    /// Lines that it wrote behind a burst of another's.
    wrote: usize,
    /// Whether it wrote no more then, while all that was delivered was read.
    settled: bool,
}

async fn observed(engine: &Dockerd, flags: &[&str], own: &[&str]) -> Own {
    let folder = TempDir::new().unwrap();
    let id = block_in_place(|| pulsetail(engine, folder.path(), flags, own));
    let all = Selector {
        all: true,
        ..Selector::default()
    };
    let socket = format!("unix://{}", folder.path().join("p.sock").display());
    let mut stream = narrow_stream(&socket, following(all)).await;
    let mut heard = Heard::default();
    let script =
        format!("echo hello; until [ -e /shared/go ]; do sleep 0.1; done; seq {BURST}; sleep 1000");
    let options = RunOptions {
        flags: vec![format!("--volume={}:/shared", folder.path().display())],
        ..RunOptions::default()
    };
    let other = block_in_place(|| engine.run("other", &options, &script));
    let written = || block_in_place(|| written(engine, "pulsetail"));
    heard
        .until(&mut stream, |heard| heard.said(&other) == ["hello"])
        .await;
    let before = written();
    fs::write(folder.path().join("go"), "").unwrap();
    heard
        .until(&mut stream, |heard| heard.said(&other).len() == 1 + BURST)
        .await;
    let (mut last, mut settled) = (written(), false);
    for _ in 0..LOOKS {
        // It is read on meanwhile: each line delivered could bring about another.
        let reading = heard.until(&mut stream, |_| false);
        assert!(timeout(QUIET, reading).await.is_err(), "it reads for ever");
        let known = last;
        last = written();
        settled = last == known;
        if settled {
            break;
        }
    }
    let own = Own {
        is_member: heard.members.contains(&id) || heard.has(&id, Change::Joined),
        said: !heard.said(&id).is_empty(),
        wrote: last - before,
        settled,
    };
    println!("{:?} {flags:?}: {own:?}", engine.kind());
    block_in_place(|| {
        engine.remove("other");
        engine.remove("pulsetail");
    });
    own
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
        let own = observed(engine, flags, &[]).await;
        assert!(!own.is_member && !own.said, "{kind:?} {flags:?}: {own:?}");
        assert!(
            own.settled && own.wrote <= OWN,
            "{kind:?} {flags:?}: {own:?}"
        );
    }
    // Whatever it wrote about lines that it delivers would be delivered, and so on.
    let own = observed(engine, &[], &["--include-self"]).await;
    assert!(own.is_member && own.said, "{kind:?}: void: {own:?}");
    assert!(own.settled && own.wrote <= OWN, "{kind:?}: {own:?}");
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
        let own = observed(&engine, &flags, &[]).await;
        assert!(!own.is_member && !own.said, "{kind:?} {flags:?}: {own:?}");
        block_in_place(|| drop(engine));
    }
}
