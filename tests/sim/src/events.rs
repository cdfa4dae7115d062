//! Engine events: the ring that is replayed, the live feed, and their JSON.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;

use crate::body::{Chunks, Torn};
use crate::engine::Habits;
use crate::fault::{BodyAct, Victim};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::world::{Open, World};
use crate::{Ending, Timestamp};

/// How many events an engine remembers.
const RING: usize = 256;
/// How many events may wait for one slow subscriber before some are dropped in silence.
const SUBSCRIBER: usize = 1_024;

#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) action: String,
    pub(crate) actor: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) time: Timestamp,
}

impl Event {
    fn line(&self, legacy: bool) -> Bytes {
        let mut event = json!({
            "Type": self.kind,
            "Action": self.action,
            "Actor": { "ID": self.actor, "Attributes": self.attributes },
            "scope": "local",
            "time": self.time.secs(),
            "timeNano": self.time.nanos(),
        });
        if legacy {
            event["status"] = self.action.clone().into();
            event["id"] = self.actor.clone().into();
            event["from"] = self
                .attributes
                .get("image")
                .cloned()
                .unwrap_or_default()
                .into();
        }
        format!("{event}\n").into()
    }
}

pub(crate) struct Events {
    ring: VecDeque<Event>,
    feed: broadcast::Sender<Event>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            feed: broadcast::channel(SUBSCRIBER).0,
        }
    }

    pub(crate) fn publish(&mut self, event: Event) {
        if self.ring.len() == RING {
            self.ring.pop_front();
        }
        self.ring.push_back(event.clone());
        // Nobody listening is no failure.
        drop(self.feed.send(event));
    }

    /// An engine that starts again remembers nothing.
    pub(crate) fn forget(&mut self) {
        self.ring.clear();
    }

    fn subscribe(&self, query: &EventsQuery) -> (VecDeque<Event>, broadcast::Receiver<Event>) {
        (self.replay(query), self.feed.subscribe())
    }

    fn replay(&self, query: &EventsQuery) -> VecDeque<Event> {
        if query.since.is_none() && query.until.is_none() {
            return VecDeque::new();
        }
        // Newest first, and no further than the first one that is too old: what the clock put before it is lost.
        let newest = self
            .ring
            .iter()
            .rev()
            .take_while(|event| query.since.is_none_or(|since| event.time >= since));
        let mut replay: VecDeque<_> = newest
            .filter(|event| query.passes(event))
            .cloned()
            .collect();
        replay.make_contiguous().reverse();
        replay
    }
}

/// Which events a request asks for.
pub(crate) struct EventsQuery {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    types: Vec<String>,
    actions: Vec<String>,
    actors: Vec<String>,
}

impl EventsQuery {
    pub(crate) fn parse(query: &Query, habits: Habits) -> Result<Self, Refusal> {
        let time = |name| {
            query
                .time(name, habits.time_grammar)
                .map_err(|message| Refusal::new(habits.bad_time_status, message))
        };
        let (since, until) = (time("since")?, time("until")?);
        if let (Some(begin), Some(end)) = (since, until)
            && end < begin
        {
            let told = |name| query.get(name).unwrap_or_default();
            return Err(Refusal::bad(format!(
                "`since` time ({}) cannot be after `until` time ({})",
                told("since"),
                told("until")
            )));
        }
        let mut parsed = Self {
            since,
            until,
            types: Vec::new(),
            actions: Vec::new(),
            actors: Vec::new(),
        };
        for (name, values) in filters(query)? {
            match name.as_str() {
                "type" => parsed.types = values,
                "event" => parsed.actions = values,
                "container" => parsed.actors = values,
                _ => return Err(Refusal::bad(format!("invalid filter '{name}'"))),
            }
        }
        Ok(parsed)
    }

    fn passes(&self, event: &Event) -> bool {
        let any = |wanted: &[String], matches: &dyn Fn(&String) -> bool| {
            wanted.is_empty() || wanted.iter().any(matches)
        };
        // `exec_start: sh` counts as `exec_start`.
        let action = event.action.split(':').next();
        any(&self.types, &|kind| *kind == event.kind)
            && any(&self.actions, &|wanted| {
                *wanted == event.action || Some(wanted.as_str()) == action
            })
            && any(&self.actors, &|actor| {
                event.actor.starts_with(actor) || event.attributes.get("name") == Some(actor)
            })
            && self.until.is_none_or(|until| event.time <= until)
    }
}

/// `{"name":["value"]}`, or the older `{"name":{"value":true}}`.
pub(crate) fn filters(query: &Query) -> Result<Vec<(String, Vec<String>)>, Refusal> {
    let Some(text) = query.get("filters") else {
        return Ok(Vec::new());
    };
    let invalid = || Refusal::bad("invalid filter".to_owned());
    let Ok(Value::Object(filters)) = serde_json::from_str(text) else {
        return Err(invalid());
    };
    let filters = filters.into_iter().map(|(name, values)| {
        let values = match values {
            Value::Array(values) => values
                .iter()
                .filter_map(|value| Some(value.as_str()?.to_owned()))
                .collect(),
            Value::Object(values) => values.into_iter().map(|(value, _)| value).collect(),
            _ => return Err(invalid()),
        };
        Ok((name, values))
    });
    filters.collect()
}

/// The body of one request for events.
pub(crate) struct EventStream {
    world: Arc<World>,
    _open: Open,
    query: EventsQuery,
    legacy: bool,
    victim: Victim,
    faults: watch::Receiver<()>,
    backlog: VecDeque<Event>,
    live: broadcast::Receiver<Event>,
    sent: VecDeque<Event>,
    skip: usize,
    cut: Option<(usize, Ending)>,
}

impl EventStream {
    pub(crate) fn open(
        world: &Arc<World>,
        query: EventsQuery,
        legacy: bool,
        victim: Victim,
    ) -> Self {
        let (backlog, live) = world.state().events.subscribe(&query);
        Self {
            world: Arc::clone(world),
            _open: world.open(|stats| &mut stats.event_streams),
            query,
            legacy,
            victim,
            faults: world.faults.subscribe(),
            backlog,
            live,
            sent: VecDeque::new(),
            skip: 0,
            cut: None,
        }
    }

    pub(crate) async fn write(mut self, chunks: Chunks) -> Result<(), Torn> {
        loop {
            self.faults.mark_unchanged();
            if let Some(act) = self.world.strike_body(&mut self.victim) {
                match self.suffer(act, &chunks).await? {
                    None => continue,
                    Some(Ending::Clean) => return Ok(()),
                    Some(Ending::Torn) => return Torn::after_what_was_sent().await,
                }
            }
            let event = match self.next().await {
                Next::Event(event) => event,
                Next::Again => continue,
                Next::End => return Ok(()),
            };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            let line = event.line(self.legacy);
            if let Some((keep, ending)) = self.cut {
                chunks.send(line.slice(..keep.min(line.len()))).await?;
                return if ending == Ending::Clean {
                    Ok(())
                } else {
                    Torn::after_what_was_sent().await
                };
            }
            chunks.send(line).await?;
            self.remember(event);
        }
    }

    async fn next(&mut self) -> Next {
        if let Some(event) = self.backlog.pop_front() {
            return Next::Event(event);
        }
        let until = self
            .query
            .until
            .map(|until| self.world.duration_until(until));
        let deadline = async {
            match until {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Faults first: one that is armed now strikes before the next event. Then events: one that came before the
            // deadline still counts.
            biased;
            _ = self.faults.changed() => Next::Again,
            event = self.live.recv() => match event {
                Ok(event) if self.query.passes(&event) => Next::Event(event),
                Ok(_) | Err(RecvError::Lagged(_)) => Next::Again,
                Err(RecvError::Closed) => Next::End,
            },
            () = deadline => Next::End,
        }
    }

    async fn suffer(&mut self, act: BodyAct, chunks: &Chunks) -> Result<Option<Ending>, Torn> {
        match act {
            BodyAct::Stall => std::future::pending().await,
            BodyAct::Delay(length) => tokio::time::sleep(length).await,
            BodyAct::Inject(bytes) => chunks.send(bytes).await?,
            BodyAct::InjectAndEnd(bytes) => {
                chunks.send(bytes).await?;
                return Ok(Some(Ending::Clean));
            }
            BodyAct::End(ending) => return Ok(Some(ending)),
            BodyAct::CutNext(keep, ending) => self.cut = Some((keep, ending)),
            BodyAct::Skip(count) => self.skip += count,
            BodyAct::Repeat(count) => {
                let from = self.sent.len().saturating_sub(count);
                self.backlog = self
                    .sent
                    .split_off(from)
                    .into_iter()
                    .chain(self.backlog.drain(..))
                    .collect();
            }
            // An event stream reads no files.
            BodyAct::SkipRotated | BodyAct::RereadFile => (),
        }
        Ok(None)
    }

    fn remember(&mut self, event: Event) {
        self.victim.sent += 1;
        if self.sent.len() == RING {
            self.sent.pop_front();
        }
        self.sent.push_back(event);
    }
}

enum Next {
    Event(Event),
    Again,
    End,
}
