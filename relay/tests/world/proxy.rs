//! A beacon node's address that can be killed and that another may take.

use std::net::SocketAddr;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use url::Url;

/// Passes connections on to a node, until it is dropped: then all of them break.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Proxy {
    /// At an address, or at any that is free.
    pub(crate) async fn start(at: Option<SocketAddr>, node: &Url) -> Self {
        let at = at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = node.socket_addrs(|| None).unwrap()[0];
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    if let Ok(mut node) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut stream, &mut node).await;
                    }
                });
            }
        });
        Self { address, task }
    }

    pub(crate) fn url(&self) -> Url {
        url(self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The base of an API at an address.
pub(crate) fn url(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}")).unwrap()
}
