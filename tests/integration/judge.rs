//! Every stream that a test reads is held against the contract, together with the one it resumes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use prost::Message;
use pulsetail::proto::StreamLogsResponse;
use pulsetail_client::history::{History, Least, Rules, Verdict};
use pulsetail_client::proto;

/// All that was received so far, for who resumes it.
static RECEIVED: Mutex<Vec<Arc<Mutex<History>>>> = Mutex::new(Vec::new());

/// Judges a stream when it is dropped.
pub(crate) struct Judge(Arc<Mutex<History>>);

impl Judge {
    /// For a stream resumed from these cursors. If another one gave them, both are judged as one.
    pub(crate) fn of(cursors: &[String]) -> Self {
        let knows = |history: &&Arc<Mutex<History>>| {
            let history = held(history);
            cursors.iter().any(|cursor| history.knows(cursor))
        };
        let mut received = held(&RECEIVED);
        let earlier = received
            .iter()
            .find(knows)
            .map(|history| held(history).clone());
        let mut history = earlier.unwrap_or_else(|| {
            History::new(Rules {
                // A test may go before the server has looked again.
                provisional: true,
                ..Rules::default()
            })
        });
        history.begin(cursors.iter().map(String::as_str));
        let history = Arc::new(Mutex::new(history));
        received.push(Arc::clone(&history));
        Self(history)
    }

    pub(crate) fn message(&mut self, message: &StreamLogsResponse) {
        held(&self.0).message(&received(message));
    }

    /// The engine's clock will be set: stamps go back.
    pub(crate) fn clock_is_set(&mut self) {
        held(&self.0).clock_is_set();
    }

    /// The stream ended with OK.
    pub(crate) fn completed(&mut self) {
        held(&self.0).completed();
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let report = held(&self.0).judge();
        let violated = report.verdict(&Least::default()) == Verdict::Violated;
        assert!(!violated || thread::panicking(), "{report}");
    }
}

/// A message as the client library has it.
pub(crate) fn received(message: &StreamLogsResponse) -> proto::StreamLogsResponse {
    let message = proto::StreamLogsResponse::decode(&*message.encode_to_vec());
    message.expect("it was encoded")
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that failed may have held it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
