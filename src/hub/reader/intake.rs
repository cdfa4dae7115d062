//! From what the engine sent to the machine, and from there to the packer.

use std::time::Duration;

use bytes::Bytes;

use super::{Reader, Stop};
use crate::docker::{Chunk, Record, RecordRef};
use crate::tail::{Delivery, Entry, Event, Next};

/// Bytes of records whose lines are packed together: finding out where the machine
/// stands costs as much as a line.
const HANDFUL: usize = 4 * 1024;

impl Reader {
    pub(super) fn take(&mut self, mut chunk: Chunk) -> Result<Next, Stop> {
        self.look_for_name();
        self.proof = chunk.proof.take();
        self.place.moves();
        // They were there together: looking at the clock costs more than some.
        let now = self.begun.elapsed();
        let mut bytes = 0;
        loop {
            let next =
                chunk.next_with(|record, bundle| self.take_record(record, bundle, now, &mut bytes));
            let Some(next) = next else {
                break;
            };
            let next = match next {
                Ok(next) => next,
                Err(error) => {
                    self.pack();
                    return Err(self.failed(error));
                }
            };
            if next != Next::More {
                self.pack();
                return Ok(next);
            }
        }
        self.pack();
        Ok(Next::More)
    }

    /// `bytes`: of lines that wait for their position.
    fn take_record(
        &mut self,
        record: RecordRef<'_>,
        bundle: &Bytes,
        now: Duration,
        bytes: &mut usize,
    ) -> Next {
        self.backoff.reset();
        let len = record.payload.len();
        let takes_line = len <= HANDFUL && self.live.takes_line(&record);
        if *bytes > 0 && (!takes_line || *bytes + len > HANDFUL) {
            self.pack();
            *bytes = 0;
        }
        if !takes_line {
            return self.tell_at(Event::Record(Record::of_bundle(record, bundle)), now);
        }
        let (line, next) = self.live.take_line(&record, now, &mut self.deliveries);
        if let Some(line) = line {
            *bytes += len;
            self.count(&line);
            self.packer.entry(&line, None);
        }
        // What is no line belongs to exactly this place.
        if !self.deliveries.is_empty() {
            self.pack();
            *bytes = 0;
        }
        next
    }

    /// Tells the packer where the machine stands, behind the lines that wait for it.
    fn pack(&mut self) {
        // What is held back is before the machine's position.
        if self.deliveries.is_empty() && !self.packer.is_behind() {
            return;
        }
        self.packer.push(&mut self.deliveries, self.live.position());
    }

    pub(super) fn tell(&mut self, event: Event) -> Next {
        self.tell_at(event, self.begun.elapsed())
    }

    fn tell_at(&mut self, event: Event, now: Duration) -> Next {
        let mut deliveries = std::mem::take(&mut self.deliveries);
        // Only a lease's end makes what comes then be held; a record's does not.
        let may_hold = self.live.has_ended() || !matches!(event, Event::Record(_));
        let before = may_hold.then(|| self.live.position());
        let next = self.live.on(event, now, &mut deliveries);
        let after = self.live.position();
        for delivery in &deliveries {
            if let Delivery::Entry(entry) | Delivery::Late(entry, _) = delivery {
                self.count(entry);
            }
        }
        // A probe that shows more than came proves nothing.
        if let Some(proof) = self.answered.take()
            && deliveries.contains(&Delivery::Verified)
        {
            self.proof = Some(proof);
            self.packer.asked_at(self.probed);
        }
        if let Some(before) = before.filter(|_| self.live.has_ended()) {
            self.runs.hold(before, deliveries, after, &mut self.packer);
        } else {
            self.packer.push(&mut deliveries, after);
            self.deliveries = deliveries;
        }
        next
    }

    fn count<L: AsRef<[u8]>>(&mut self, entry: &Entry<L>) {
        self.work.data = true;
        self.work.entries += 1;
        self.work.bytes += entry.line.as_ref().len() as u64;
    }
}
