//! Ports of the loopback address: free ones, and closed ones.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
};

use parking_lot::Mutex;
use tokio::net::TcpSocket;

/// Below the range of the ports that systems give to outgoing connections (32768 on Linux, 49152 on macOS), so that no
/// client takes a port between its choice and its use, or while the server that owns it restarts.
const PORTS: Range<u16> = 11_000..32_000;
const TRIES: u32 = 1_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port that nobody listens on and that was not given out by this process before.
///
/// Another process may take it in the moment before it is used, so whoever starts a server tries again with another
/// one.
pub fn free() -> io::Result<u16> {
    let seed = RandomState::new();
    let mut given = GIVEN.lock();
    let given = given.get_or_insert_default();
    for attempt in 0..TRIES {
        let offset = seed.hash_one(attempt) % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(offset).unwrap_or_default();
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("no free port in {PORTS:?} after {TRIES} tries"),
    ))
}

/// An address that refuses every connection as long as this lives. A port that is merely free may be another server's by the
/// time it is asked, or may be given to the very client that asks.
#[derive(Debug)]
pub struct Closed {
    /// Bound, so that nobody else gets the port, and not listening.
    _held: TcpSocket,
    address: SocketAddr,
}

impl Closed {
    /// A port of the loopback address.
    ///
    /// # Errors
    ///
    /// If the system has no port left.
    pub fn take() -> io::Result<Self> {
        let held = TcpSocket::new_v4()?;
        held.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = held.local_addr()?;
        Ok(Self { _held: held, address })
    }

    /// Where nobody answers.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}
