//! What went through.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

/// A request that changes something, as it arrived, and what became of it.
#[derive(Debug, Clone)]
pub struct Write {
    /// When it arrived.
    pub time: Timestamp,
    /// `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// The path, without a query.
    pub path: String,
    /// What was sent.
    pub body: Bytes,
    /// The status that the server answered; None when it was not forwarded, or not answered yet.
    pub status: Option<u16>,
    /// What was done to it here.
    pub note: &'static str,
}

/// A request that only reads, as it arrived, and what became of it.
#[derive(Debug, Clone)]
pub struct Read {
    /// When it arrived.
    pub time: Timestamp,
    /// The path, without a query.
    pub path: String,
    /// Whether it asks for changes from now on (`watch=true`), and not for what is there.
    pub watch: bool,
    /// The status that the server answered; None when it has not answered yet.
    pub status: Option<u16>,
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.strftime("%H:%M:%S%.3f");
        let verb = if self.watch { "WATCH" } else { "GET" };
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        write!(f, "{time} {verb} {} -> {status}", self.path)
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.strftime("%H:%M:%S%.3f");
        write!(f, "{time} {} {}", self.method, self.path)?;
        match self.status {
            Some(status) => write!(f, " -> {status}")?,
            None => write!(f, " -> -")?,
        }
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        // What a reader of a trace wants to know of a status, a patch and an Event.
        for pointer in [
            "/status/phase",
            "/status/conditions/0/reason",
            "/status/intent/submit/tries",
            "/status/intent/cancel/purpose",
            "/metadata/finalizers",
            "/jobId",
            "/reason",
        ] {
            if let Some(value) = body.pointer(pointer) {
                write!(f, " {}={value}", pointer.rsplit('/').next().unwrap_or_default())?;
            }
        }
        if self.note.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.note)
        }
    }
}
