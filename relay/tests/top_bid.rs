//! The top-bid WebSocket: what builders see of the auction, and how readers are bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod world;

use alloy_primitives::Address;
use earnest_builder_types::{BidSubmission, TopBidUpdate};
use earnest_relay::Bounds;
use futures::{SinkExt, StreamExt};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, protocol::CloseFrame},
};
use world::{PATIENCE, Setting, World, answer, unhurried, workshop::Workshop};

const PATH: &str = "/relay/v1/builder/top_bid";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

fn setting(bounds: Bounds) -> Setting {
    Setting { slot_ms: 6_000, timing: unhurried(), bounds, ..Setting::default() }
}

async fn open(world: &World, path: &str) -> Result<Socket, (u16, serde_json::Value)> {
    let url = format!("ws://{}{path}", world.relay.local_addr);
    match connect_async(url).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            Err((response.status().as_u16(), serde_json::from_slice(&body).unwrap_or_default()))
        }
        Err(error) => panic!("{error}"),
    }
}

/// The next message that is no ping; tungstenite answers those.
async fn message(socket: &mut Socket) -> Option<Message> {
    let next = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.unwrap()
}

async fn update(socket: &mut Socket) -> TopBidUpdate {
    match message(socket).await {
        Some(Message::Binary(bytes)) => TopBidUpdate::from_ssz(&bytes).unwrap(),
        other => panic!("no update: {other:?}"),
    }
}

/// Why the relay closed; what came before is passed over.
async fn closed(socket: &mut Socket) -> CloseFrame {
    loop {
        match message(socket).await {
            Some(Message::Close(Some(frame))) => return frame,
            Some(Message::Binary(_)) => {}
            other => panic!("not closed with a reason: {other:?}"),
        }
    }
}

fn leads(world: &World, update: &TopBidUpdate, block: &BidSubmission) {
    let trace = block.message();
    let now_ms = world.now_ms();
    assert!(update.timestamp <= now_ms && now_ms - update.timestamp < 60_000, "{update:?} at {now_ms}");
    let expected = TopBidUpdate::new(trace, block.payload().block_number(), update.timestamp);
    assert_eq!(*update, expected);
    assert_eq!(update.fee_recipient, Address::repeat_byte(0xfe));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_seen_and_a_fall_too() {
    let world = World::start(setting(Bounds::default())).await;
    world.register().await;
    let workshop = Workshop::open(&world, 1).await;
    let mut early = open(&world, PATH).await.unwrap();
    let first = workshop.bid(&world, 1, 10, false).await;
    leads(&world, &update(&mut early).await, &first);
    // Who comes later is told what leads; the path that other relays have is the same stream.
    let mut late = open(&world, "/ws/v1/top_bid").await.unwrap();
    leads(&world, &update(&mut late).await, &first);

    let second = workshop.bid(&world, 2, 30, true).await;
    // No news: worth less, and the same again.
    let third = workshop.bid(&world, 3, 20, false).await;
    workshop.submit(&world, &second, true).await;
    // The leader bids less than it did, and than another.
    let fallen = workshop.block(&world, 2, 5, 9).await;
    workshop.submit(&world, &fallen, true).await;
    for socket in [&mut early, &mut late] {
        leads(&world, &update(socket).await, &second);
        leads(&world, &update(socket).await, &third);
    }
    early.close(None).await.unwrap();
    late.send(Message::Close(None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_told() {
    let world = World::start(setting(Bounds::default())).await;
    let mut socket = open(&world, PATH).await.unwrap();
    let stopped = tokio::spawn(world.stop());
    let frame = closed(&mut socket).await;
    assert_eq!((u16::from(frame.code), frame.reason.as_str()), (1001, "the relay is stopping"));
    drop(socket);
    tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_for_each_client_and_in_all() {
    for (streams, per_client, status) in [(9, 2, 429), (6, 9, 503)] {
        let bounds = Bounds { streams, streams_per_client: per_client, ..Bounds::default() };
        let world = World::start(setting(bounds)).await;
        let first = open(&world, PATH).await.unwrap();
        let _second = open(&world, PATH).await.unwrap();
        let (refused, body) = open(&world, PATH).await.unwrap_err();
        assert_eq!((refused, &body["code"]), (status, &json!("too_many_streams")), "{body}");
        drop(first);
        open_by_then(&world).await;
    }
}

/// Opens a stream as soon as there is a place.
async fn open_by_then(world: &World) -> Socket {
    let opening = async {
        loop {
            if let Ok(socket) = open(world, PATH).await {
                return socket;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, opening).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_is_dropped_with_a_reason() {
    let bounds = Bounds { streams_per_client: 1, stream_idle_ms: 600, ..Bounds::default() };
    let world = World::start(setting(bounds)).await;
    let mut idle = TcpStream::connect(world.relay.local_addr).await.unwrap();
    let hello = format!(
        "GET {PATH} HTTP/1.1\r\nhost: relay\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {}\r\n\r\n",
        "AAAAAAAAAAAAAAAAAAAAAA=="
    );
    idle.write_all(hello.as_bytes()).await.unwrap();
    idle.readable().await.unwrap();
    // It reads nothing, so it answers no ping; its place is free when the relay gave it up.
    let mut next = open_by_then(&world).await;
    let mut got = Vec::new();
    idle.read_to_end(&mut got).await.unwrap();
    let reason = b"no pong came; connect again and answer pings";
    let close =
        [&[0x88, u8::try_from(2 + reason.len()).unwrap()], &1008u16.to_be_bytes()[..], reason].concat();
    assert!(
        got.starts_with(b"HTTP/1.1 101 ") && got.ends_with(&close),
        "{:?}",
        String::from_utf8_lossy(&got)
    );
    // One that answers pings stays, for longer than the other had.
    let patient = tokio::time::timeout(Duration::from_millis(1_800), message(&mut next)).await;
    assert!(patient.is_err(), "{patient:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_talks_is_dropped_with_a_reason() {
    let world = World::start(setting(Bounds::default())).await;
    let mut socket = open(&world, PATH).await.unwrap();
    for _ in 0..100 {
        if socket.send(Message::text("hello")).await.is_err() {
            break;
        }
    }
    let frame = closed(&mut socket).await;
    assert_eq!(u16::from(frame.code), 1008);
    assert!(frame.reason.as_str().starts_with("too many messages"), "{frame:?}");
    let mut socket = open(&world, PATH).await.unwrap();
    socket.send(Message::text("x".repeat(2_000))).await.unwrap();
    assert!(!matches!(message(&mut socket).await, Some(Message::Binary(_))), "too large a message ends it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_websocket_is_refused() {
    let world = World::start(setting(Bounds::default())).await;
    type Headers = &'static [(&'static str, &'static str)];
    let cases: [(&str, Headers, u16); 3] = [
        (PATH, &[], 400),
        ("/ws/v1/top_bid", &[("connection", "upgrade"), ("upgrade", "h2c")], 400),
        (PATH, &[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "8")], 400),
    ];
    for (path, headers, status) in cases {
        let mut request = world.http.get(world.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (found, body) = answer(request.send().await.unwrap()).await;
        assert_eq!((found, &body["code"]), (status, &json!(status)), "{body}");
        assert!(body["message"].as_str().unwrap().ends_with("this is a WebSocket"), "{body}");
    }
}
