//! Fetching jars from servers and stores that do not mean well.

mod bounds;
mod fetch;
mod memory;
mod refused;
pub(crate) mod s3;

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use devcluster::JarHost;
use flink_job_operator::artifact::{
    ArtifactError, ArtifactPolicy, Fetched, Fetcher, JarSource, JarUri, Lookup, stub_jar,
};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tempfile::TempDir;

/// A jar host, and a policy that allows exactly it.
struct Ground {
    host: JarHost,
    policy: ArtifactPolicy,
    folder: TempDir,
}

impl Ground {
    fn new() -> Self {
        let host = JarHost::start().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut policy = ArtifactPolicy::new(folder.path());
        policy.allowed = [host.url("/"), host.https_url("/")]
            .map(|prefix| prefix.parse().unwrap())
            .into();
        policy.ca_bundle = Some(host.ca_file());
        Self { host, policy, folder }
    }

    fn fetcher(&self) -> Fetcher {
        self.fetcher_with(|_| {})
    }

    fn fetcher_with(&self, change: impl FnOnce(&mut ArtifactPolicy)) -> Fetcher {
        let mut policy = self.policy.clone();
        change(&mut policy);
        Fetcher::new(policy).unwrap()
    }

    /// Serves a jar under a path and says where.
    fn jar(&self, path: &str, jar: Bytes) -> JarSource {
        self.host.serve(path, jar);
        source(&self.host.url(path))
    }

    /// All files in the cache, those of parts included.
    fn files(&self) -> usize {
        let folders = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let folders = folders.filter(|path| path.is_dir());
        let files = folders.flat_map(|path| std::fs::read_dir(path).unwrap());
        files
            .filter(|file| {
                file.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("artifact-")
            })
            .count()
    }
}

fn source(uri: &str) -> JarSource {
    JarSource {
        namespace: "team-a".to_owned(),
        uri: JarUri::parse(uri).expect(uri),
        sha256: None,
    }
}

/// A jar of about `bytes` bytes, different for each `salt`: a zip file may begin with anything that begins like one.
fn jar_of(bytes: usize, salt: u8) -> Bytes {
    let mut jar = b"PK\x03\x04".to_vec();
    jar.resize(bytes, salt);
    jar.extend(stub_jar());
    jar.into()
}

/// The error of a fetch, with the promise that its message is short and that nothing is left on disk.
async fn error_of(ground: &Ground, fetcher: &Fetcher, source: &JarSource) -> ArtifactError {
    let error = fetcher.fetch(source).await.expect_err("fetched");
    assert!(error.to_string().chars().count() <= 512, "{error}");
    assert_eq!((fetcher.cache_use().bytes, ground.files()), (0, 0), "{error}");
    error
}

fn content(fetched: &Fetched) -> Bytes {
    std::fs::read(fetched.path()).unwrap().into()
}

/// A name server that says what the test wants: one answer after the other, the last one for ever.
#[derive(Clone, Default)]
struct Names {
    answers: Arc<Mutex<HashMap<String, Vec<Vec<IpAddr>>>>>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    fn answer(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|ip| ip.parse().expect(ip)).collect();
        self.answers.lock().entry(name.to_owned()).or_default().push(addresses);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Lookup for Names {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock();
        let answer = answers.get_mut(&host).map(|answers| {
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0].clone()
            }
        });
        Box::pin(async move { answer.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

/// A server that sends the same bytes to everybody, whatever they are, and counts its connections.
struct RawHost {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl RawHost {
    fn start(reply: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, reply) = (listener.local_addr().unwrap(), reply.into());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                let (mut stream, mut head) = (stream.unwrap(), Vec::new());
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        break;
                    }
                    head.extend(byte);
                }
                let _ = stream.write_all(&reply);
            }
        });
        Self { address, connections }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
