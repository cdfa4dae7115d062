//! What processes and threads have used so far, from `/proc`.

use std::fs;
use std::ops::{Add, Sub};
use std::path::Path;

/// Processor time in ns, and how often it was given up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu: f64,
    /// The part of `cpu` that was not spent in the kernel; from ticks of 10 ms.
    pub(crate) user: f64,
    pub(crate) switches: f64,
}

impl Usage {
    /// Of all threads of a process.
    pub(crate) fn of(pid: u32) -> Self {
        Self::of_threads(pid, |_| true)
    }

    /// Of the threads of a process with this name.
    pub(crate) fn of_named(pid: u32, name: &str) -> Self {
        Self::of_threads(pid, |thread| thread == name)
    }

    /// Of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        Self::read(Path::new("/proc/thread-self")).unwrap_or_default()
    }

    fn of_threads(pid: u32, counts: impl Fn(&str) -> bool) -> Self {
        let threads = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        let mut sum = Self::default();
        for thread in threads.filter_map(Result::ok) {
            let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            // One that has just ended counts nothing.
            if let Some(usage) = Self::read(&thread.path()).filter(|_| counts(name.trim_end())) {
                sum.cpu += usage.cpu;
                sum.user += usage.user;
                sum.switches += usage.switches;
            }
        }
        sum
    }

    fn read(thread: &Path) -> Option<Self> {
        let text = |name: &str| fs::read_to_string(thread.join(name)).ok();
        let schedstat = text("schedstat")?;
        let cpu: f64 = schedstat.split(' ').next()?.parse().ok()?;
        let stat = text("stat")?;
        // The second field, the name, may hold anything up to the last parenthesis.
        let fields = stat.rsplit_once(')')?.1.split_whitespace();
        let ticks: Vec<f64> = fields
            .skip(11)
            .take(2)
            .filter_map(|f| f.parse().ok())
            .collect();
        let (user, system) = (*ticks.first()?, *ticks.get(1)?);
        let status = text("status")?;
        let switches = status
            .lines()
            .filter(|line| line.contains("_ctxt_switches:"));
        Some(Self {
            cpu,
            user: cpu * user / (user + system).max(1.0),
            switches: switches
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok())
                .sum(),
        })
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            cpu: self.cpu - before.cpu,
            user: self.user - before.user,
            switches: self.switches - before.switches,
        }
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu: self.cpu + other.cpu,
            user: self.user + other.user,
            switches: self.switches + other.switches,
        }
    }
}

/// Bytes of a process that are resident.
pub(crate) fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or_default() * 1024.0
}
