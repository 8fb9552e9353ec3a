//! Streams a body to disk: hashed on the way, bounded in bytes and in patience.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncWriteExt, BufWriter};

use super::{
    cache::{Cache, Part},
    error::ArtifactError,
    http::Body,
    jar::{self, JarFault},
    policy::{ArtifactPolicy, Pace},
    sum::Sha256Sum,
};

/// Bytes that are gathered before they are written.
const WRITE_BYTES: usize = 128 << 10;

/// Receives a body into a new part of the cache and judges whether it is a jar.
pub(super) async fn receive(
    body: Body,
    at: &str,
    cache: &Cache,
    policy: &ArtifactPolicy,
) -> Result<(Part, Sha256Sum), ArtifactError> {
    let not_a_jar = |fault| ArtifactError::NotAJar {
        at: at.to_owned(),
        fault,
    };
    let too_large = || ArtifactError::TooLarge {
        at: at.to_owned(),
        limit: policy.max_bytes,
    };
    let disk = |error: std::io::Error| ArtifactError::disk(at, &error);
    if body.encoded {
        return Err(not_a_jar(JarFault::Encoded));
    }
    if body.length.is_some_and(|length| length > policy.max_bytes) {
        return Err(too_large());
    }
    let name = |fault| match fault {
        JarFault::NotZip if body.html => not_a_jar(JarFault::Html),
        JarFault::NotZip
        | JarFault::Html
        | JarFault::Encoded
        | JarFault::Truncated
        | JarFault::Damaged
        | JarFault::Empty => not_a_jar(fault),
    };

    let (mut part, file) = cache.part().map_err(disk)?;
    let mut file = BufWriter::with_capacity(WRITE_BYTES, tokio::fs::File::from_std(file));
    let mut hasher = Sha256::new();
    let mut head = Vec::new();
    let mut received = 0_u64;
    let mut chunks = Paced::new(body.chunks, policy.pace);
    while let Some(chunk) = chunks.next(at).await? {
        received += chunk.len() as u64;
        if received > policy.max_bytes {
            return Err(too_large());
        }
        if head.len() < 4 {
            head.extend(chunk.iter().take(64));
            if head.len() >= 4 {
                jar::check_head(&head).map_err(name)?;
            }
        }
        let no_room = |_| ArtifactError::CacheFull { at: at.to_owned() };
        cache.reserve(&mut part, chunk.len() as u64).map_err(no_room)?;
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(disk)?;
    }
    file.flush().await.map_err(disk)?;
    drop(file);

    let path = part.path().to_owned();
    let judged = tokio::task::spawn_blocking(move || jar::check_file(&path)).await;
    match judged
        .map_err(std::io::Error::other)
        .and_then(|judged| judged)
        .map_err(disk)?
    {
        Ok(()) => Ok((part, Sha256Sum::from_bytes(hasher.finalize().into()))),
        Err(JarFault::Truncated) if !body.framed => Err(ArtifactError::CutShort { at: at.to_owned() }),
        Err(fault) => Err(name(fault)),
    }
}

/// A stream that must keep a pace. Only the time spent waiting for it counts, not ours.
struct Paced {
    chunks: BoxStream<'static, Result<Bytes, ArtifactError>>,
    pace: Pace,
    waited: Duration,
    bytes: u64,
}

impl Paced {
    fn new(chunks: BoxStream<'static, Result<Bytes, ArtifactError>>, pace: Pace) -> Self {
        Self {
            chunks,
            pace,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    async fn next(&mut self, at: &str) -> Result<Option<Bytes>, ArtifactError> {
        loop {
            let left = self.pace.window.saturating_sub(self.waited);
            let asked = Instant::now();
            let chunk = tokio::time::timeout(left, self.chunks.next()).await;
            self.waited += asked.elapsed();
            match chunk {
                Ok(Some(chunk)) => {
                    let chunk = chunk?;
                    self.bytes += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(None) => return Ok(None),
                Err(_) if self.bytes < self.pace.bytes() => {
                    let bytes_per_second = self.pace.bytes_per_second;
                    return Err(ArtifactError::TooSlow {
                        at: at.to_owned(),
                        bytes_per_second,
                    });
                }
                Err(_) => (self.waited, self.bytes) = (Duration::ZERO, 0),
            }
        }
    }
}
