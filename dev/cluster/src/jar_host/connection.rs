//! HTTP/1.1, one request for each connection. Written by hand because a proper server would refuse to lie about the
//! length of a body or to end in the middle of it.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{Request, State, answer};

const HEAD_LIMIT: usize = 64 * 1024;
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
/// A slow body is sent in pieces this far apart.
const PIECE_EVERY: Duration = Duration::from_millis(50);

/// Answers all connections of the listener, each in a task of its own.
pub(super) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            // An error is a client that went away, which some tests want.
            let _ = match tls {
                None => serve(stream, &state, false).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, &state, true).await,
                    Err(error) => Err(error),
                },
            };
        });
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, state: &Mutex<State>, tls: bool) -> io::Result<()> {
    let Some(mut request) = read(&mut stream, tls).await? else {
        return Ok(());
    };
    let answer = {
        let mut state = state.lock();
        let tags = request
            .headers
            .iter()
            .find(|(name, _)| name == "if-none-match")
            .map(|(_, tags)| tags.as_str());
        let answer = answer::answer(&state, &request.method, &request.path, tags);
        request.status = answer.status;
        state.requests.push(request.clone());
        answer
    };
    tokio::time::sleep(answer.delay).await;
    let reason = http::StatusCode::from_u16(answer.status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason.unwrap_or("Unknown"));
    for (name, value) in &answer.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    if request.method != "HEAD" {
        let piece = answer.pace.map_or(usize::MAX, |pace| (pace / 20).max(1));
        for (number, piece) in answer.body.chunks(piece).enumerate() {
            if number > 0 {
                tokio::time::sleep(PIECE_EVERY).await;
            }
            stream.write_all(piece).await?;
            stream.flush().await?;
        }
        if answer.endless {
            // Until the client goes away, which is an error.
            loop {
                stream.write_all(&ZEROS).await?;
            }
        }
    }
    stream.shutdown().await
}

/// The head of a request, or `None` when the client closed without one.
async fn read<S: AsyncRead + Unpin>(stream: &mut S, tls: bool) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD_LIMIT {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(ToOwned::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Some(Request {
        method,
        path,
        query,
        headers,
        tls,
        status: 0,
    }))
}
