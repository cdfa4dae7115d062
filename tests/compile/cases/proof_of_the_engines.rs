//! The twin: it hands on what reading the engine's answer gave it.

use pulsetail::docker::{Records, Verified};
use pulsetail::supervisor::{Failure, Task, Turn};

struct Reader(Option<Records>);

impl Task for Reader {
    type Proof = Verified;

    async fn turn(&mut self) -> Result<Turn<Verified>, Failure> {
        let Some(records) = self.0.take() else {
            return Ok(Turn::Idle);
        };
        Ok(match records.last().await {
            Ok((_, proof)) => Turn::Progress(proof),
            Err(error) => Turn::Blocked(error.to_string()),
        })
    }
}

fn main() {}
