//! What is logged, kept for a look at it.

use std::{
    io,
    sync::{Arc, LazyLock},
};

use flink_job_operator::telemetry::{LogFormat, subscriber};
use parking_lot::Mutex;
use tracing::{
    Dispatch,
    subscriber::{DefaultGuard, NoSubscriber},
};

/// With one subscriber alone, `tracing` asks the thread that first comes by a line of the code whether anybody listens, and
/// keeps the answer for all threads: other tests, which do not listen, would silence it. With two it asks each.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));

/// Everything that this thread logs, at all levels, while the guard lives. A test's runtime has one thread, so this covers
/// its tasks as well.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens.
    pub fn listen() -> (Self, DefaultGuard) {
        LazyLock::force(&SECOND);
        let log = Self::default();
        let writer = log.clone();
        let subscriber = subscriber(LogFormat::Json, Some("trace"), false, move || writer.clone()).unwrap();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// What was logged.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
