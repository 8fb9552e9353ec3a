//! The line between a client and the API server, which can be cut and mended.

use std::net::SocketAddr;

use kube::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A TCP forwarder on a port of its own. While it is cut, connections stay open and take data, and nothing arrives; what was
/// sent meanwhile arrives late, when it is mended.
pub(super) struct Link {
    address: SocketAddr,
    cut: watch::Sender<bool>,
    forwarder: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl Link {
    pub(super) async fn to(config: &Config) -> Self {
        let server = format!("127.0.0.1:{}", config.cluster_url.port_u16().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, state) = watch::channel(false);
        let forwarder = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, state) = (server.clone(), state.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else {
                        return;
                    };
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = server.into_split();
                    tokio::join!(
                        forward(client_in, server_out, state.clone()),
                        forward(server_in, client_out, state)
                    );
                });
            }
        });
        Self {
            address,
            cut,
            forwarder,
        }
    }

    /// The same configuration, by way of this line.
    pub(super) fn config(&self, config: &Config) -> Config {
        let mut config = config.clone();
        config.cluster_url = format!("https://{}", self.address).parse().unwrap();
        config
    }

    pub(super) fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub(super) fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut cut: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if cut.wait_for(|cut| !*cut).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
