//! Feeds chains from the contract's messages.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::Chain;
use super::entry::{Gap, nanos, received};
use super::report::{Findings, Report, Rule, Violation};
use super::{Rules, Truth};
use crate::cursors::id;
use crate::proto::stream_logs_response::Event;
use crate::proto::{
    self, ContainerChangeKind, ContainerRef, GapCause, LogBatch, NoticeKind, Opened, Progress,
    StreamLogsResponse,
};

/// Longest cursor that the contract allows.
const MAX_CURSOR: usize = 160;

/// Chains of every container of a subscription and its resumes.
#[derive(Debug, Clone)]
pub struct History {
    rules: Rules,
    chains: BTreeMap<String, Chain>,
    /// What is left of chains that ended.
    ended: Report,
    findings: Findings,
    stream: Stream,
}

/// One stream: its counts, and whom it reads.
#[derive(Debug, Clone, Default)]
struct Stream {
    /// Containers whose chains it goes on with: resumed, or members before.
    goes_on: BTreeSet<String>,
    members: BTreeSet<String>,
    messages: u64,
    entries: u64,
    closed: bool,
    verified: Option<i64>,
}

impl History {
    /// A history of nothing.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            chains: BTreeMap::new(),
            ended: Report::default(),
            findings: Findings::new(rules.most_violations),
            stream: Stream::default(),
        }
    }

    /// A stream begins, resumed from these cursors. What came from behind them
    /// must come again. A cursor that no chain here was given begins a new one.
    pub fn begin<'a>(&mut self, cursors: impl IntoIterator<Item = &'a str>) {
        self.stream = Stream::default();
        for cursor in cursors {
            let known = self.chains.iter_mut().find_map(|(id, chain)| {
                let resumed = chain.resume(cursor).ok();
                resumed.map(|()| id.clone())
            });
            self.stream.goes_on.extend(known);
        }
    }

    /// The engine's clock is set while it writes: stamps go back.
    pub fn clock_is_set(&mut self) {
        self.rules.clock_steps = true;
        self.chains.values_mut().for_each(Chain::clock_stepped);
    }

    /// A message came.
    pub fn message(&mut self, message: &StreamLogsResponse) {
        let first = self.stream.messages == 0;
        let opens = matches!(message.event, Some(Event::Opened(_)));
        if first != opens {
            self.wrong("`opened` does not come first, and once");
        }
        if self.stream.closed {
            self.wrong("a message behind `closing`");
        }
        match &message.event {
            Some(Event::Opened(opened)) => self.opened(opened),
            Some(Event::Batch(batch)) => self.batch(batch),
            Some(Event::Gap(gap)) => self.gap(gap),
            Some(Event::ContainerChange(change)) => self.change(change),
            Some(Event::Progress(progress)) => self.progress(progress),
            Some(Event::Notice(notice)) if notice.kind() == NoticeKind::ClockStep => {
                self.clock_is_set();
            }
            Some(Event::Closing(closing)) => {
                self.stream.closed = true;
                match &closing.progress {
                    Some(progress) => self.progress(progress),
                    None => self.wrong("`closing` without counts"),
                }
            }
            Some(Event::CaughtUp(_) | Event::Notice(_)) | None => {}
        }
        self.stream.messages += 1;
    }

    /// The stream ended with OK: everything asked for was delivered or reported.
    pub fn completed(&mut self) {
        if !self.stream.closed {
            self.wrong("OK without `closing`");
        }
        self.of_members().for_each(Chain::completed);
    }

    /// A cursor that was given was refused.
    pub fn refused(&mut self, why: &str) {
        self.findings.add(Rule::Resumable, 0, || {
            format!("a cursor was refused: {why}")
        });
    }

    /// A container that was selected all along was no member.
    pub fn left_out(&mut self, container: &str) {
        self.ended.violations.push(Violation {
            rule: Rule::Covered,
            container: container.to_owned(),
            behind: 0,
            what: "ran all along, and was no member".to_owned(),
        });
    }

    /// What was wrong with another read of the same server.
    pub fn also(&mut self, read: Report) {
        self.ended.violations.extend(read.violations);
        self.ended.more_violations += read.more_violations;
    }

    /// What was wrong so far.
    pub fn judge(&self) -> Report {
        self.judge_against(&BTreeMap::new())
    }

    /// What was wrong so far, against the lines of those containers (by id) whose
    /// lines are known.
    pub fn judge_against(&self, truths: &BTreeMap<String, Truth>) -> Report {
        let mut report = self.ended.clone();
        report.violations.extend(self.findings.kept.iter().cloned());
        report.more_violations += self.findings.more;
        for (id, chain) in &self.chains {
            report.add(named(id, chain.judge(truths.get(id))));
        }
        report
    }

    /// Whether a chain here was given this cursor.
    pub fn knows(&self, cursor: &str) -> bool {
        self.chains.values().any(|chain| chain.knows(cursor))
    }

    /// The chain of a container, by its id.
    pub fn chain(&self, id: &str) -> Option<&Chain> {
        self.chains.get(id)
    }

    /// The containers that are members of the stream now, by their ids.
    pub fn members(&self) -> &BTreeSet<String> {
        &self.stream.members
    }

    /// The containers that have a chain, by their ids.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.chains.keys().map(String::as_str)
    }

    fn of_members(&mut self) -> impl Iterator<Item = &mut Chain> {
        let members = &self.stream.members;
        let of = self.chains.iter_mut();
        of.filter_map(|(id, chain)| members.contains(id).then_some(chain))
    }

    fn wrong(&mut self, what: &str) {
        let behind = self.stream.messages;
        self.findings.add(Rule::Counted, 0, || {
            format!("{what}, behind {behind} messages")
        });
    }

    /// The chain of a member; a container that is none is told.
    fn of(&mut self, container: Option<&ContainerRef>) -> &mut Chain {
        let id = id(container);
        if !self.stream.members.contains(id) {
            self.wrong(&format!("something of {id:?}, which is no member"));
        }
        let rules = self.rules;
        self.chains
            .entry(id.to_owned())
            .or_insert_with(|| Chain::new(rules))
    }

    fn join(&mut self, member: &proto::Member) {
        let id = id(member.container.as_ref());
        self.stream.members.insert(id.to_owned());
        // One that left and joins again goes on where it was.
        if self.stream.goes_on.insert(id.to_owned())
            && let Some(chain) = self.chains.remove(id)
        {
            self.ended.add(named(id, chain.judge(None)));
        }
        let rules = self.rules;
        let chain = self.chains.entry(id.to_owned());
        let chain = chain.or_insert_with(|| Chain::new(rules));
        chain.cursor(&member.cursor);
        if member.cursor.is_empty() || member.cursor.len() > MAX_CURSOR {
            self.wrong(&format!("a member with the cursor {:?}", member.cursor));
        }
    }

    fn opened(&mut self, opened: &Opened) {
        let effective = opened.effective.as_ref();
        self.rules.filtered |= effective.is_some_and(|request| {
            !request.streams.is_empty() || request.filter.is_some() || request.until.is_some()
        });
        opened.members.iter().for_each(|member| self.join(member));
        if self.rules.filtered {
            self.chains.values_mut().for_each(Chain::set_filtered);
        }
    }

    fn batch(&mut self, batch: &LogBatch) {
        if batch.entries.is_empty() {
            self.wrong("a batch without entries");
        }
        if batch.cursor.is_empty() || batch.cursor.len() > MAX_CURSOR {
            self.wrong(&format!("a batch with the cursor {:?}", batch.cursor));
        }
        self.stream.entries += batch.entries.len() as u64;
        let chain = self.of(batch.container.as_ref());
        let mut odd = 0;
        for entry in &batch.entries {
            match received(entry) {
                Some(entry) => chain.entry(&entry),
                None => odd += 1,
            }
        }
        chain.cursor(&batch.cursor);
        if odd > 0 {
            self.wrong(&format!("{odd} entries without line or time"));
        }
    }

    fn gap(&mut self, gap: &proto::Gap) {
        let removed = gap.cause() == GapCause::ContainerRemoved;
        let id = id(gap.container.as_ref());
        // One that was removed while the client was away is no member any more.
        let chain = match removed && !self.stream.members.contains(id) {
            true => self.chains.get_mut(id),
            false => Some(self.of(gap.container.as_ref())),
        };
        let Some(chain) = chain else { return };
        chain.cursor(&gap.cursor);
        chain.gap(Gap {
            skip: gap.cause() == GapCause::EngineSkip,
            after_time: gap.after_time.as_ref().and_then(nanos),
            before_time: gap.before_time.as_ref().and_then(nanos),
            certain: gap.certain,
            missing_entries: gap.missing_entries,
        });
    }

    fn change(&mut self, change: &proto::ContainerChange) {
        let kind = change.kind();
        if let Some(member) = change
            .member
            .as_ref()
            .filter(|_| kind == ContainerChangeKind::Joined)
        {
            return self.join(member);
        }
        if kind == ContainerChangeKind::Unreadable {
            return;
        }
        self.of(change.container.as_ref()).cursor(&change.cursor);
        if kind == ContainerChangeKind::Removed || kind == ContainerChangeKind::Deselected {
            self.stream.members.remove(id(change.container.as_ref()));
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let counted = (progress.entries_sent, progress.messages_sent);
        let had = (self.stream.entries, self.stream.messages);
        if counted != had {
            self.wrong(&format!(
                "{had:?} entries and messages came, {counted:?} were sent"
            ));
        }
        for position in &progress.positions {
            let id = position.container_id.clone();
            let name = String::new();
            self.of(Some(&ContainerRef { id, name }))
                .cursor(&position.cursor);
        }
        let verified = progress.verified_time.as_ref().and_then(nanos);
        if verified < self.stream.verified {
            self.wrong("`verified_time` went back");
        }
        self.stream.verified = verified;
        if let Some(verified) = verified {
            self.of_members().for_each(|chain| chain.verified(verified));
        }
    }
}

fn named(id: &str, mut report: Report) -> Report {
    for violation in &mut report.violations {
        id.clone_into(&mut violation.container);
    }
    report
}
