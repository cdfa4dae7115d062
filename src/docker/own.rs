//! Which container this process runs in, if it runs in one.
//!
//! Nothing says so outright. The name of its cgroup holds the container's id, where
//! the engine shows it; the files that the engine mounts over `/etc/hostname` and
//! its like lie in a folder of that name; the host name is the id's beginning unless
//! somebody chose another. The last two can be another container's, whose network
//! this one shares: then nobody is taken for it.

use std::fs;
use std::sync::{Arc, OnceLock};

use tracing::{info, warn};

use super::container::{Container, ContainerId};
use super::inventory::Inventory;

/// Files that the engine mounts into every container.
const MOUNTED: [&str; 4] = [
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/run/.containerenv",
];
/// Digits of the id in a host name that nobody chose.
const SHORT: usize = 12;

/// The container of this process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Own(Arc<Traces>);

#[derive(Debug, Default)]
struct Traces {
    /// From the cgroup: of this container or one it is nested in.
    cgroup: Vec<ContainerId>,
    /// From the mounts: of the container whose network this one has.
    mounted: Vec<ContainerId>,
    host_name: String,
    /// Once known; the answer does not change.
    known: OnceLock<Option<ContainerId>>,
}

impl Own {
    /// That of this process.
    pub fn of_process() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::of(
            &read("/proc/self/cgroup"),
            &read("/proc/self/mountinfo"),
            &read("/proc/sys/kernel/hostname"),
        )
    }

    fn of(cgroup: &str, mountinfo: &str, host_name: &str) -> Self {
        let mounted = mountinfo.lines().filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (root, place) = (fields.next()?, fields.next()?);
            MOUNTED.contains(&place).then_some(root)
        });
        Self(Arc::new(Traces {
            cgroup: ids(cgroup),
            mounted: mounted.flat_map(ids).collect(),
            host_name: host_name.trim().to_owned(),
            known: OnceLock::new(),
        }))
    }

    /// Its id, by what the engine listed; `None`: it runs in no container of this
    /// engine, or it cannot be told in which.
    pub fn find(&self, inventory: &Inventory) -> Option<ContainerId> {
        // Before the engine was listed nothing can be known.
        inventory.engine.as_ref()?;
        *self.0.known.get_or_init(|| {
            let found = self.0.find(inventory);
            if let Some(container) = found {
                info!(%container, "runs in a container of this engine, which it leaves out");
            }
            found
        })
    }
}

impl Traces {
    fn find(&self, inventory: &Inventory) -> Option<ContainerId> {
        let listed = |id: &&ContainerId| inventory.containers.contains_key(*id);
        // The innermost comes last.
        if let Some(id) = self.cgroup.iter().rev().find(listed) {
            return Some(*id);
        }
        let by_name = || {
            let text = &*self.host_name;
            let short = ContainerId::range(text).filter(|_| text.len() == SHORT);
            let (first, last) = short?;
            let mut found = inventory.containers.range(first..=last);
            found.next().map(|(id, _)| *id)
        };
        let found = self.mounted.iter().find(listed).copied().or_else(by_name)?;
        let (id, known) = (found.to_string(), inventory.containers.get(&found));
        let shares = |other: &&Arc<Container>| {
            let of = other.network_of.as_ref();
            of.is_some_and(|of| *of == id || known.is_some_and(|known| known.name == *of))
        };
        match inventory.containers.values().find(shares) {
            None => Some(found),
            Some(other) => {
                warn!(
                    container = %found,
                    other = %other.id,
                    "runs in one of these containers and cannot tell in which; leaves out none"
                );
                None
            }
        }
    }
}

/// Every id in a text: 64 hex digits between other characters.
fn ids(text: &str) -> Vec<ContainerId> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter_map(ContainerId::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::engine::Identity;

    fn id(byte: u8) -> ContainerId {
        ContainerId::from_bytes([byte; 32])
    }

    /// Containers 1 to 3, of which the third may share a network.
    fn inventory(network_of: Option<&str>) -> Inventory {
        let containers = (1..=3).map(|byte| {
            let mut container = Container::bare(id(byte));
            container.name = format!("c{byte}");
            container.network_of = network_of.filter(|_| byte == 3).map(str::to_owned);
            (container.id, Arc::new(container))
        });
        Inventory {
            engine: Some(Arc::new(Identity {
                kind: "docker",
                version: String::new(),
                api_version: String::new(),
                id: String::new(),
                host_name: String::new(),
            })),
            containers: containers.collect(),
            ..Inventory::default()
        }
    }

    fn mount(byte: u8, place: &str) -> String {
        let root = format!("/var/lib/docker/containers/{}/hostname", id(byte));
        format!("1501 1492 254:1 {root} {place} rw,relatime - ext4 /dev/vda1 rw\n")
    }

    #[test]
    fn the_cgroup_says_it_however_it_is_named() {
        let all = inventory(None);
        for cgroup in [
            format!("12:pids:/docker/{}\n0::/system.slice\n", id(2)),
            format!("0::/system.slice/docker-{}.scope\n", id(2)),
            format!("0::/machine.slice/libpod-{}.scope/container\n", id(2)),
            format!("0::/docker/{}/docker/{}\n", id(1), id(2)),
            // An engine inside of a container lists its own alone.
            format!("0::/docker/{}/docker/{}\n", id(2), id(9)),
        ] {
            assert_eq!(Own::of(&cgroup, "", "").find(&all), Some(id(2)), "{cgroup}");
        }
    }

    #[test]
    fn without_it_the_mounted_files_or_the_host_name_do() {
        let all = inventory(None);
        let mounts = mount(2, "/etc/hostname");
        assert_eq!(Own::of("0::/\n", &mounts, "web").find(&all), Some(id(2)));
        // On the host, folders of other containers are mounted elsewhere.
        let shm = mount(2, "/var/lib/docker/containers/x/mounts/shm");
        assert_eq!(Own::of("0::/\n", &shm, "web").find(&all), None);
        let short = &id(3).to_string()[..12];
        assert_eq!(
            Own::of("", "", &format!("{short}\n")).find(&all),
            Some(id(3))
        );
        assert_eq!(Own::of("", "", &short[..8]).find(&all), None);
        assert_eq!(Own::of("", "", "030303").find(&all), None);
    }

    #[test]
    fn nobody_is_taken_for_it_where_a_network_is_shared() {
        let mounts = mount(2, "/etc/hosts");
        for of in [&*id(2).to_string(), "c2"] {
            let shared = inventory(Some(of));
            assert_eq!(Own::of("0::/\n", &mounts, "").find(&shared), None);
            let cgroup = format!("0::/docker/{}\n", id(3));
            assert_eq!(Own::of(&cgroup, &mounts, "").find(&shared), Some(id(3)));
        }
    }

    #[test]
    fn nothing_is_known_before_the_engine_was_listed() {
        let own = Own::of("", &mount(2, "/etc/hostname"), "");
        assert_eq!(own.find(&Inventory::default()), None);
        assert_eq!(own.find(&inventory(None)), Some(id(2)));
        assert_eq!(Own::default().find(&inventory(None)), None);
    }
}
