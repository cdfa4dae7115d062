//! The 32 adversarial cases that a reader of an engine's logs has to stand, by number. Each drives the whole service
//! against the simulated engine; what a client receives is held against the contract besides, by the histories' validator.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pulsetail_sim::{Container, Endpoint, Request, Sim};

use crate::harness::{Server, until, write};
use crate::subscriber::{Subscriber, lines_of};

mod bytes;
mod clock;
mod faults;
mod files;
mod life;
mod limits;
mod order;
mod size;

/// How many there are.
const CASES: u32 = 32;

#[test]
fn every_case_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/adversarial");
    let files = fs::read_dir(folder).expect("it is a folder");
    let numbers = files.flat_map(|file| {
        let source = fs::read_to_string(file.expect("it is a file").path()).expect("it is text");
        let file = syn::parse_file(&source).expect("it is Rust");
        file.items.into_iter().filter_map(number_of)
    });
    let tested: BTreeSet<u32> = numbers.collect();
    let missing: Vec<_> = (1..=CASES).filter(|n| !tested.contains(n)).collect();
    assert!(missing.is_empty(), "cases without a test: {missing:?}");
}

/// The number of the case that an item is the test of.
fn number_of(item: syn::Item) -> Option<u32> {
    let syn::Item::Fn(function) = item else {
        return None;
    };
    let is_test = |attribute: &syn::Attribute| {
        let last = attribute.path().segments.last();
        last.is_some_and(|segment| segment.ident == "test")
    };
    let is_ignored = |attribute: &syn::Attribute| attribute.path().is_ident("ignore");
    let tested = function.attrs.iter().any(is_test) && !function.attrs.iter().any(is_ignored);
    let name = function.sig.ident.to_string();
    let number = name.strip_prefix("case_")?.split('_').next()?.parse();
    number.ok().filter(|_| tested)
}

/// Every stored line came, once, in the order of the log, and no gap says otherwise.
fn assert_exact(heard: &Subscriber, container: &Container) {
    assert!(heard.lines() == lines_of(container), "not what is stored");
    assert!(heard.gaps().is_empty(), "{:?}", heard.gaps());
    assert!(heard.all_entries().all(|entry| !entry.late));
}

/// The `tail` of every request for a container's log, with or without `follow`; `None`: all of it.
fn tails(sim: &Sim, container: &str, follow: bool) -> Vec<Option<u32>> {
    let requests = sim.requests().into_iter();
    let of_it = requests.filter(|r| r.endpoint == Endpoint::Logs && r.target.contains(container));
    let of_it = of_it.filter(|r| r.target.contains(&format!("follow={follow}")));
    let tail = |request: Request| {
        let pair = |pair: &str| pair.strip_prefix("tail=").map(|tail| tail.parse().ok());
        request.target.split(['?', '&']).find_map(pair)
    };
    of_it.filter_map(tail).collect()
}

/// How often a quiet log's last record was looked at.
fn probes(sim: &Sim, container: &str) -> usize {
    let tails = tails(sim, container, false).into_iter();
    tails.filter(|tail| *tail == Some(1)).count()
}

/// Waits until what was read is quiet: the next rotation will be a probe.
async fn until_quiet(sim: &Sim, container: &Container) {
    let before = probes(sim, container.id());
    until(|| probes(sim, container.id()) > before).await;
}

/// Writes lines until the server has opened another lease; how many in all.
async fn write_until_rotated(server: &Server, container: &Container, mut written: usize) -> usize {
    let leases = server.leases();
    until(|| {
        write(container, written..written + 1);
        written += 1;
        server.leases() > leases
    })
    .await;
    written
}
