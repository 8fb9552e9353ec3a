//! Reads a jar upload without keeping it.

use axum::{
    body::Body,
    extract::{DefaultBodyLimit, FromRequest, Multipart},
};
use hyper::{Request, body::Incoming};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::jobmanager::Jar;

/// An uploaded file.
pub(super) struct Upload {
    pub(super) name: String,
    pub(super) jar: Jar,
}

impl Upload {
    /// Reads `multipart/form-data` with one file; `None` when it is broken or breaks off.
    pub(super) async fn read(request: Request<Incoming>) -> Option<Self> {
        let mut request = request.map(Body::new);
        DefaultBodyLimit::disable().apply(&mut request);
        let mut form = Multipart::from_request(request, &()).await.ok()?;
        let mut field = form.next_field().await.ok()??;
        let name = field.file_name()?.to_owned();
        let (mut length, mut digest, mut head) = (0, Sha256::new(), Vec::new());
        while let Some(chunk) = field.chunk().await.ok()? {
            length += u64::try_from(chunk.len()).ok()?;
            digest.update(&chunk);
            if head.len() < 2 {
                head.extend(chunk.iter().take(2));
            }
        }
        drop(field);
        // Only the end of the form shows that the file is complete.
        if form.next_field().await.ok()?.is_some() {
            return None;
        }
        let sha256 = hex(&digest.finalize());
        let jar = Jar {
            name: name.clone(),
            uploaded: Timestamp::now(),
            length,
            sha256,
            is_zip: head.starts_with(b"PK"),
        };
        Some(Self { name, jar })
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
