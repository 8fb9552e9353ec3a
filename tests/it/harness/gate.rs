//! Addresses that tests stand between the operator and a Flink: each forwards, falls silent, or talks nonsense.
//!
//! The operator is told at its start which addresses sessions may name, so they are made before it, and each test takes
//! one of its own.

use std::{
    net::TcpListener as StdListener,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// More than there are tests.
const GATES: usize = 128;

/// What is behind a gate.
#[derive(Debug, Clone)]
pub enum Behind {
    /// A server, `HOST:PORT`.
    Server(String),
    /// Nothing: connections are closed at once.
    Nothing,
    /// A server that takes connections and requests, and never answers.
    Silence,
    /// A server that answers every request with these bytes.
    Says(String),
}

/// One address. It goes on as it was left when its test ends.
#[derive(Debug)]
pub struct Gate {
    url: String,
    behind: watch::Sender<Behind>,
}

static ALL: LazyLock<Vec<Gate>> = LazyLock::new(open);

impl Gate {
    /// An address that nobody else has.
    pub fn take() -> &'static Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let free = ALL.get(NEXT.fetch_add(1, Ordering::Relaxed));
        free.expect("more gates are needed: raise GATES")
    }

    /// All addresses, taken or not, with and without TLS.
    pub fn urls() -> impl Iterator<Item = String> {
        ALL.iter().flat_map(|gate| [gate.url.clone(), gate.secured_url()])
    }

    /// `http://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// `https://HOST:PORT`, for what speaks TLS.
    pub fn secured_url(&self) -> String {
        self.url.replacen("http:", "https:", 1)
    }

    /// Puts something else behind it. Connections that are open are closed.
    pub fn put(&self, behind: Behind) {
        self.behind.send_replace(behind);
    }

    /// Puts the server of a `http://HOST:PORT` behind it.
    pub fn lead_to(&self, url: &str) {
        self.put(Behind::Server(url.trim_start_matches("http://").to_owned()));
    }

    /// Answers every request with this.
    pub fn say(&self, status: &str, content_type: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}");
        self.put(Behind::Says(format!("{head}\r\nConnection: close\r\n\r\n{body}")));
    }
}

/// Opens all gates on a thread of their own: tests have a runtime each.
fn open() -> Vec<Gate> {
    let mut listeners = Vec::new();
    let mut gates = Vec::new();
    for _ in 0..GATES {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (behind, seen) = watch::channel(Behind::Nothing);
        let url = format!("http://{}", listener.local_addr().unwrap());
        gates.push(Gate { url, behind });
        listeners.push((listener, seen));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    std::thread::Builder::new()
        .name("gates".into())
        .spawn(move || {
            runtime.block_on(async {
                for (listener, seen) in listeners {
                    tokio::spawn(accept(TcpListener::from_std(listener).unwrap(), seen));
                }
                std::future::pending::<()>().await;
            });
        })
        .unwrap();
    gates
}

async fn accept(listener: TcpListener, seen: watch::Receiver<Behind>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut seen = seen.clone();
        tokio::spawn(async move {
            let behind = seen.borrow_and_update().clone();
            tokio::select! {
                () = talk(client, behind) => {}
                _ = seen.changed() => {}
            }
        });
    }
}

async fn talk(mut client: TcpStream, behind: Behind) {
    match behind {
        Behind::Nothing => {}
        Behind::Silence => std::future::pending().await,
        Behind::Server(address) => {
            if let Ok(mut server) = TcpStream::connect(address).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        }
        Behind::Says(text) => {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if !matches!(client.read_buf(&mut head).await, Ok(1..)) {
                    return;
                }
            }
            let _ = client.write_all(text.as_bytes()).await;
            let _ = client.shutdown().await;
        }
    }
}
