//! A wire between two programs that can be harmed while they run: TCP, so that what comes out of it need not be HTTP.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;
use url::Url;

use Passing::{AsItIs, Garbled, Later};

/// Bytes passed on at once.
const CHUNK: usize = 64 << 10;
/// What is said instead of HTTP.
const GARBAGE: &[u8] = &[0x16, 0x03, 0x01, 0xff, 0x00, 0xfe, 0x0d, 0x0a, 0x80, 0x7f];
/// An answer that is HTTP and JSON, and none of any API's.
const NONSENSE: &str = r#"{"version":"fulu","data":{"message":{"header":[]},"signature":7},"proofs":"none"}"#;

/// What is wrong with a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing.
    None,
    /// Connections are taken, and nothing ever comes back.
    Hangs,
    /// Every request is answered with bytes that are no HTTP.
    Garbage,
    /// Every request is answered 200 with JSON that means nothing.
    Nonsense,
    /// Every answer comes this much later.
    Late(Duration),
    /// Every request comes this much later.
    LateRequests(Duration),
    /// What is posted is garbled.
    GarbledPosts,
}

/// A wire to one program. Cut when dropped.
#[derive(Debug)]
pub struct Wire {
    /// Where it begins.
    pub url: Url,
    harm: watch::Sender<Harm>,
    open: Arc<Mutex<CancellationToken>>,
    serving: AbortHandle,
}

impl Wire {
    /// A wire to the program that listens on a port of the loopback interface, or will.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let (harm, harmed) = watch::channel(Harm::None);
        let open = Arc::new(Mutex::new(CancellationToken::new()));
        let connections = open.clone();
        let serving = tokio::spawn(async move {
            loop {
                let Ok((near, _)) = listener.accept().await else { continue };
                // In this order: what is harmed in between is cut.
                let cut = connections.lock().unwrap().clone();
                let harm = *harmed.borrow();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = carry(near, SocketAddr::from(([127, 0, 0, 1], port)), harm) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        });
        Self { url, harm, open, serving: serving.abort_handle() }
    }

    /// Harms it, or mends it. Connections that are open end.
    ///
    /// # Panics
    /// Never, unless another thread did while it held the lock.
    pub fn set(&self, harm: Harm) {
        self.harm.send_replace(harm);
        std::mem::take(&mut *self.open.lock().unwrap()).cancel();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.serving.abort();
        self.open.lock().unwrap().cancel();
    }
}

/// One connection, as long as it lasts. If nobody listens at the other end, it ends at once.
async fn carry(near: TcpStream, port: SocketAddr, harm: Harm) -> std::io::Result<()> {
    let (from_near, to_near) = near.into_split();
    match harm {
        Harm::Hangs => {
            let swallowed = swallow(from_near).await;
            // Dropped sooner, it would say that nothing will come.
            drop(to_near);
            swallowed
        }
        Harm::Garbage => answer(from_near, to_near, GARBAGE).await,
        Harm::Nonsense => {
            let length = NONSENSE.len();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
            let whole = format!("{head}content-length: {length}\r\n\r\n{NONSENSE}");
            answer(from_near, to_near, whole.as_bytes()).await
        }
        Harm::None => between(from_near, to_near, port, (AsItIs, AsItIs)).await,
        Harm::Late(by) => between(from_near, to_near, port, (AsItIs, Later(by))).await,
        Harm::LateRequests(by) => between(from_near, to_near, port, (Later(by), AsItIs)).await,
        Harm::GarbledPosts => between(from_near, to_near, port, (Garbled, AsItIs)).await,
    }
}

/// How bytes are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    AsItIs,
    Later(Duration),
    Garbled,
}

async fn between(
    from_near: OwnedReadHalf,
    to_near: OwnedWriteHalf,
    port: SocketAddr,
    (there, back): (Passing, Passing),
) -> std::io::Result<()> {
    let (from_far, to_far) = TcpStream::connect(port).await?.into_split();
    tokio::select! {
        ended = pass_on(from_near, to_far, there) => ended,
        ended = pass_on(from_far, to_near, back) => ended,
    }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, how: Passing) -> std::io::Result<()> {
    let (mut bytes, mut posting) = (vec![0; CHUNK], false);
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        match how {
            AsItIs => {}
            Later(by) => tokio::time::sleep(by).await,
            Garbled => garble(&mut bytes[..count], &mut posting),
        }
        to.write_all(&bytes[..count]).await?;
    }
}

/// Garbles the body of what is posted, at its length. `posting` says whether the bytes go on with a request that posts, and is kept.
fn garble(bytes: &mut [u8], posting: &mut bool) {
    let body = if bytes.starts_with(b"GET ") {
        *posting = false;
        bytes.len()
    } else if bytes.starts_with(b"POST ") {
        *posting = true;
        bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(bytes.len(), |end| end + 4)
    } else if *posting {
        0
    } else {
        bytes.len()
    };
    for byte in bytes[body..].iter_mut().filter(|byte| **byte == b'a') {
        *byte = b'b';
    }
}

async fn swallow(mut from: OwnedReadHalf) -> std::io::Result<()> {
    let mut bytes = vec![0; CHUNK];
    while from.read(&mut bytes).await? > 0 {}
    Ok(())
}

/// Answers a request once its head is there, whatever it is.
async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, with: &[u8]) -> std::io::Result<()> {
    let mut bytes = vec![0; CHUNK];
    if from.read(&mut bytes).await? > 0 {
        to.write_all(with).await?;
        to.shutdown().await?;
    }
    // Closed with unread bytes, a connection is reset, and the answer may be lost with it.
    swallow(from).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::e2e::http_client;
    use axum::{Router, routing::get};
    use std::time::Instant;

    async fn program() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().route("/", get(async || "as it is").post(async |said: String| said));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        port
    }

    #[tokio::test]
    async fn a_wire_passes_on_and_does_not_and_passes_on_again() {
        let wire = Wire::to(program().await).await;
        // A client of its own each time: one that was cut may be tried before it is known to be.
        let ask = async || http_client().get(wire.url.clone()).send().await?.text().await;
        assert_eq!(ask().await.unwrap(), "as it is");

        wire.set(Harm::Garbage);
        assert!(ask().await.is_err());
        wire.set(Harm::Nonsense);
        assert_eq!(ask().await.unwrap(), NONSENSE);

        let late = Duration::from_millis(150);
        wire.set(Harm::Late(late));
        let from = Instant::now();
        assert_eq!(ask().await.unwrap(), "as it is");
        assert!(from.elapsed() >= late);

        wire.set(Harm::LateRequests(late));
        let from = Instant::now();
        assert_eq!(ask().await.unwrap(), "as it is");
        assert!(from.elapsed() >= late);
        wire.set(Harm::GarbledPosts);
        assert_eq!(ask().await.unwrap(), "as it is");
        let post = http_client().post(wire.url.clone()).body("signature: 0xaa");
        assert_eq!(post.send().await.unwrap().text().await.unwrap(), "signbture: 0xbb");

        // A request that hangs ends when the wire is mended, not before.
        wire.set(Harm::Hangs);
        let mut asking =
            tokio::spawn(http_client().get(wire.url.clone()).timeout(Duration::from_secs(60)).send());
        assert!(tokio::time::timeout(late, &mut asking).await.is_err());
        wire.set(Harm::None);
        assert!(asking.await.unwrap().is_err());
        assert_eq!(ask().await.unwrap(), "as it is");
    }

    #[test]
    fn only_the_body_of_what_is_posted_is_garbled() {
        let mut posting = false;
        let mut garbled = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            garble(&mut bytes, &mut posting);
            String::from_utf8(bytes).unwrap()
        };
        for (text, expected) in [
            ("GET /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1\r\n\r\n"),
            ("POST /a HTTP/1.1\r\n\r\na", "POST /a HTTP/1.1\r\n\r\nb"),
            ("ca", "cb"),
            ("GET /a HTTP/1.1\r\n", "GET /a HTTP/1.1\r\n"),
            ("a: a\r\n\r\n", "a: a\r\n\r\n"),
        ] {
            assert_eq!(garbled(text), expected);
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_a_connection_ends() {
        let [port] = earnest_devnet::process::free_ports::<1>().unwrap();
        let wire = Wire::to(port).await;
        assert!(http_client().get(wire.url.clone()).send().await.is_err());
    }
}
