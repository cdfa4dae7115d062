//! A simulated Docker Engine: an HTTP/1.1 server of the Engine API whose containers, logs and failures are scripted.
//!
//! It stores and reads logs by the rules that real engines were seen to follow, and it fails in the ways they were seen to fail.
//! It starts no processes, keeps everything in memory, and knows nothing of the program that reads from it.
//!
//! ```
//! use pulsetail_sim::{Driver, Ending, Engine, Fault, Sim};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let sim = Sim::new(Engine::docker_20_10());
//! let web = sim.container("web").driver(Driver::json_file().max_size(100_000).max_file(3)).run();
//! web.stdout("listening\n");
//! web.fault(Fault::end(Ending::Torn).after(1).on_follow());
//!
//! let io = sim.connect()?; // speak HTTP over it: GET /v1.41/containers/web/logs?stdout=1&follow=1
//! web.exit(0);
//! # drop(io);
//! # Ok(())
//! # }
//! ```
//!
//! **Time** is a wall clock that moves with Tokio's, also with a paused one, and can be stepped. **Nothing is random**: ids follow from names,
//! stamps from the clock. **Tasks** belong to [`Sim`] and end with it.
//!
//! What it leaves out: `details` of logs, filters and `limit` of lists (all refused with 501), drivers of which it has no
//! constructor, and every endpoint that changes something. Parameters it does not know are ignored, as the engine does.

mod body;
mod clock;
mod connection;
mod container;
mod copier;
mod describe;
mod driver;
mod engine;
mod events;
mod fault;
mod instance;
mod log;
mod query;
mod record;
mod refusal;
mod request;
mod server;
mod sim;
mod stream;
mod timestamp;
mod world;

pub use container::{Container, NewContainer};
pub use driver::Driver;
pub use engine::Engine;
pub use fault::{Ending, Fault};
pub use record::{Record, Stream};
pub use request::{Endpoint, Request, Stats};
pub use sim::Sim;
pub use timestamp::Timestamp;
