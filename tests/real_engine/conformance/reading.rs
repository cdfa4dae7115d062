//! Logs: every query of the table to every container of the table.

use std::io;

use super::http::Address;
use super::logs::Script;
use super::shape::{Shape, Stamps};
use super::{Pair, differences, queries};

/// Versions of the API that every engine knows; each query is asked in one of them.
const PREFIXES: [&str; 3] = ["", "/v1.40", "/v1.41"];

#[tokio::test]
async fn every_log_reads_alike_by_every_query() {
    let mut found = Vec::new();
    for pair in Pair::all() {
        let known = Script::all()
            .into_iter()
            .map(|script| (script.is_tty(), script.name));
        for (tty, name) in known.chain([(false, "unknown".to_owned())]) {
            let [real, simulated] = Side::both(pair, &name, tty).await.unwrap();
            for (number, query) in queries::all(real.stamps.len()).iter().enumerate() {
                let prefix = PREFIXES[number % PREFIXES.len()];
                let (real, simulated) =
                    tokio::join!(real.ask(prefix, query), simulated.ask(prefix, query));
                let question = format!("{prefix} {name} {query}");
                found.extend(pair.difference(&question, &real.unwrap(), &simulated.unwrap()));
            }
        }
    }
    assert!(found.is_empty(), "{}", differences(&found));
}

/// One log in one engine.
struct Side {
    address: Address,
    container: String,
    tty: bool,
    known: Stamps,
    stamps: Vec<i64>,
}

impl Side {
    async fn both(pair: &Pair, name: &str, tty: bool) -> io::Result<[Self; 2]> {
        let [real, simulated] = pair.addresses();
        Ok([
            Self::new(real, name, tty).await?,
            Self::new(simulated, name, tty).await?,
        ])
    }

    async fn new(address: Address, name: &str, tty: bool) -> io::Result<Self> {
        let target = format!("/containers/{}/logs?{}", name, queries::EVERYTHING);
        let known = Stamps::of(&address.get(&target).await?, tty);
        Ok(Self {
            address,
            container: name.to_owned(),
            tty,
            stamps: known.nanos(),
            known,
        })
    }

    /// `None` if the query means a stamp that the log does not have.
    async fn ask(&self, prefix: &str, query: &str) -> io::Result<Option<Shape>> {
        let Some(query) = queries::fill(query, &self.stamps) else {
            return Ok(None);
        };
        let answer = self
            .address
            .get(&format!(
                "{prefix}/containers/{}/logs?{query}",
                self.container
            ))
            .await?;
        Ok(Some(Shape::of(&answer, self.tty, &self.known)))
    }
}
