//! The JSON documents in which an engine describes itself and its containers.

use serde_json::{Value, json};

use crate::Timestamp;
use crate::engine::hex_id;
use crate::instance::{Instance, Phase};
use crate::world::State;

const KERNEL: &str = "6.1.0-sim";
const GO: &str = "go1.24";
/// What the engine prints for a time that never came.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(crate) fn version(state: &State) -> Value {
    let engine = &state.engine;
    let details = json!({
        "ApiVersion": engine.api_max.to_string(),
        "Arch": "amd64",
        "GitCommit": "simulated",
        "GoVersion": GO,
        "KernelVersion": KERNEL,
        "MinAPIVersion": engine.api_min.to_string(),
        "Os": "linux",
    });
    let mut version = details.clone();
    version["Platform"] = json!({ "Name": "Simulated Docker Engine" });
    let name = match engine.habits.is_podman {
        true => "Podman Engine",
        false => "Engine",
    };
    version["Components"] =
        json!([{ "Name": name, "Version": engine.version, "Details": details }]);
    version["Version"] = engine.version.into();
    version
}

pub(crate) fn info(state: &mut State) -> Value {
    let count = |phase| {
        state
            .instances
            .iter()
            .filter(|instance| instance.phase == phase)
            .count()
    };
    let (running, paused, all) = (
        count(Phase::Running),
        count(Phase::Paused),
        state.instances.len(),
    );
    let now = state.clock.now();
    let engine = &state.engine;
    json!({
        "ID": engine.id(),
        "Name": engine.host,
        "ServerVersion": engine.version,
        "LoggingDriver": "json-file",
        "Containers": all,
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": all - running - paused,
        "Images": 1,
        "Driver": "overlay2",
        "CgroupDriver": "systemd",
        "CgroupVersion": "2",
        "SystemTime": now.to_string(),
        "KernelVersion": KERNEL,
        "OperatingSystem": "Simulated",
        "OSType": "linux",
        "Architecture": "x86_64",
        "NCPU": 2,
        "MemTotal": 8_589_934_592_u64,
        "DockerRootDir": "/var/lib/docker",
        "ExperimentalBuild": false,
        "LiveRestoreEnabled": true,
        "Labels": [],
        "Warnings": null,
    })
}

/// Newest first; stopped containers only if asked for.
pub(crate) fn list(state: &mut State, all: bool) -> Value {
    let now = state.clock.now();
    let listed = state
        .instances
        .iter()
        .rev()
        .filter(|instance| all || instance.phase.is_up());
    listed.map(|instance| summary(instance, now)).collect()
}

fn summary(instance: &Instance, now: Timestamp) -> Value {
    json!({
        "Id": instance.id,
        "Names": [format!("/{}", instance.name)],
        "Image": instance.image,
        "ImageID": image_id(instance),
        "Command": "simulated",
        "Created": instance.created.secs(),
        "Ports": [],
        "Labels": instance.labels,
        "State": instance.phase.name(),
        "Status": status(instance, now),
        "HostConfig": { "NetworkMode": "none" },
        "NetworkSettings": { "Networks": {} },
        "Mounts": [],
    })
}

pub(crate) fn inspect(instance: &Instance) -> Value {
    let phase = instance.phase;
    let time =
        |time: Option<Timestamp>| time.map_or_else(|| NEVER.to_owned(), |time| time.to_string());
    json!({
        "Id": instance.id,
        "Created": instance.created.to_string(),
        "Path": "simulated",
        "Args": [],
        "State": {
            "Status": phase.name(),
            "Running": phase.is_up(),
            "Paused": phase == Phase::Paused,
            "Restarting": false,
            "OOMKilled": false,
            "Dead": phase == Phase::Dead,
            "Pid": if phase.is_up() { 4_242 } else { 0 },
            "ExitCode": instance.exit_code,
            "Error": "",
            "StartedAt": time(instance.started),
            "FinishedAt": time(instance.finished),
        },
        "Image": image_id(instance),
        "Name": format!("/{}", instance.name),
        "RestartCount": 0,
        "Driver": "overlay2",
        "Platform": "linux",
        "HostConfig": {
            "NetworkMode": "none",
            "LogConfig": instance.log.driver.config(),
            "AutoRemove": instance.auto_remove,
        },
        "Mounts": [],
        "Config": {
            "Hostname": instance.id[..12],
            "Tty": instance.tty,
            "Env": [],
            "Cmd": ["simulated"],
            "Image": instance.image,
            "Labels": instance.labels,
        },
        "NetworkSettings": { "Networks": {} },
    })
}

fn image_id(instance: &Instance) -> String {
    format!("sha256:{}", hex_id(&instance.image, 0))
}

/// The words of `docker ps`.
fn status(instance: &Instance, now: Timestamp) -> String {
    let ago =
        |then: Option<Timestamp>| words(now.secs() - then.map_or(now.secs(), Timestamp::secs));
    match instance.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running => format!("Up {}", ago(instance.started)),
        Phase::Paused => format!("Up {} (Paused)", ago(instance.started)),
        Phase::Exited => format!(
            "Exited ({}) {} ago",
            instance.exit_code,
            ago(instance.finished)
        ),
        Phase::Removing => "Removal In Progress".to_owned(),
        Phase::Dead => "Dead".to_owned(),
    }
}

fn words(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1_800) / 3_600);
    match (seconds, minutes, hours) {
        (..1, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., ..48) => format!("{hours} hours"),
        (.., ..336) => format!("{} days", hours / 24),
        _ => format!("{} weeks", hours / 168),
    }
}
