//! A beacon node that does as it is told, in a runtime of its own so that it can be killed.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::get,
};
use earnest_chain::BeaconEvent;
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::{
    runtime::Runtime,
    sync::{Semaphore, broadcast, watch},
};
use url::Url;

/// How a group of endpoints answers.
#[derive(Clone)]
pub(crate) enum Answer {
    Good,
    Status(u16),
    Never,
    /// Good, once the gate has a permit.
    Gate(Arc<Semaphore>),
}

/// What the node says of itself.
#[derive(Clone)]
pub(crate) struct Says {
    /// Slot and root byte of its head; its parent has the byte before.
    pub(crate) head: (u64, u8),
    pub(crate) is_syncing: bool,
    pub(crate) is_optimistic: bool,
    pub(crate) el_offline: bool,
    /// How it answers for its state and its head.
    pub(crate) survey: Answer,
    /// How it answers a question, which is the genesis.
    pub(crate) question: Answer,
}

impl Says {
    pub(crate) fn at(slot: u64, byte: u8) -> Self {
        Self {
            head: (slot, byte),
            is_syncing: false,
            is_optimistic: false,
            el_offline: false,
            survey: Answer::Good,
            question: Answer::Good,
        }
    }
}

#[derive(Clone)]
struct Served {
    says: Arc<Mutex<Says>>,
    /// Told in answers to questions, so that it is seen who answered.
    id: u64,
    asked: watch::Sender<usize>,
    events: broadcast::Sender<(&'static str, String)>,
}

pub(crate) struct Node {
    served: Served,
    address: SocketAddr,
    more: Router,
    runtime: Option<Runtime>,
}

impl Node {
    /// A node in order whose head is block `byte` at `slot`.
    pub(crate) async fn at(id: u64, slot: u64, byte: u8) -> Self {
        Self::with_routes(id, Says::at(slot, byte), Router::new()).await
    }

    /// A node with endpoints besides the usual.
    pub(crate) async fn with_routes(id: u64, says: Says, more: Router) -> Self {
        let served = Served {
            says: Arc::new(Mutex::new(says)),
            id,
            asked: watch::channel(0).0,
            events: broadcast::channel(64).0,
        };
        let mut node = Self { served, address: SocketAddr::from(([127, 0, 0, 1], 0)), more, runtime: None };
        node.revive().await;
        node
    }

    pub(crate) fn url(&self) -> Url {
        format!("http://user:secret@{}/?key=secret", self.address).parse().unwrap()
    }

    /// As it is named in logs and events.
    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn says(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.served.says.lock().unwrap());
    }

    /// Questions it was asked.
    pub(crate) fn asked(&self) -> usize {
        *self.served.asked.borrow()
    }

    pub(crate) async fn until_asked(&self, times: usize) {
        self.served.asked.subscribe().wait_for(|asked| *asked >= times).await.unwrap();
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, event: &BeaconEvent) {
        let data = match event {
            BeaconEvent::Head(head) => ("head", serde_json::to_string(head)),
            BeaconEvent::PayloadAttributes(attributes) => {
                ("payload_attributes", serde_json::to_string(attributes))
            }
            BeaconEvent::ChainReorg(reorg) => ("chain_reorg", serde_json::to_string(reorg)),
            other => panic!("not told here: {other:?}"),
        };
        self.served.events.send((data.0, data.1.unwrap())).unwrap();
    }

    /// Ends everything at once: connections break, nobody listens at its port.
    pub(crate) async fn kill(&mut self) {
        let runtime = self.runtime.take().unwrap();
        let ended = move || runtime.shutdown_timeout(std::time::Duration::from_secs(60));
        tokio::task::spawn_blocking(ended).await.unwrap();
    }

    /// Serves at the port that the system gave it first.
    pub(crate) async fn revive(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (served, address) = (self.served.clone(), self.address);
        let router = Router::new()
            .route("/eth/v1/node/syncing", get(syncing))
            .route("/eth/v1/beacon/headers/{id}", get(header))
            .route("/eth/v1/beacon/genesis", get(genesis))
            .route("/eth/v1/events", get(events))
            .with_state(served)
            .merge(self.more.clone());
        let bound = runtime.spawn(async move {
            let listener = tokio::net::TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, router).await });
            address
        });
        self.address = bound.await.unwrap();
        self.runtime = Some(runtime);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn root(byte: u8) -> String {
    format!("0x{}", format!("{byte:02x}").repeat(32))
}

async fn given(how: &Answer, body: Value) -> Response {
    match how {
        Answer::Good => {}
        Answer::Status(status) => {
            let status = StatusCode::from_u16(*status).unwrap();
            return (status, Json(json!({"code": status.as_u16(), "message": "as told"}))).into_response();
        }
        Answer::Never => std::future::pending().await,
        Answer::Gate(gate) => gate.acquire().await.unwrap().forget(),
    }
    Json(body).into_response()
}

async fn syncing(State(served): State<Served>) -> Response {
    let says = served.says.lock().unwrap().clone();
    let state = json!({"data": {
        "head_slot": says.head.0.to_string(), "sync_distance": "7", "is_syncing": says.is_syncing,
        "is_optimistic": says.is_optimistic, "el_offline": says.el_offline,
    }});
    given(&says.survey, state).await
}

async fn header(State(served): State<Served>, Path(id): Path<String>) -> Response {
    let says = served.says.lock().unwrap().clone();
    if id != "head" {
        return given(&Answer::Status(404), Value::Null).await;
    }
    let (slot, byte) = says.head;
    let header = json!({"execution_optimistic": false, "finalized": false, "data": {"root": root(byte), "canonical": true, "header": {
        "message": {
            "slot": slot.to_string(), "proposer_index": "1", "parent_root": root(byte.wrapping_sub(1)),
            "state_root": root(0), "body_root": root(0),
        },
        "signature": format!("0x{}", "00".repeat(96)),
    }}});
    given(&says.survey, header).await
}

async fn genesis(State(served): State<Served>) -> Response {
    served.asked.send_modify(|asked| *asked += 1);
    let how = served.says.lock().unwrap().question.clone();
    let genesis = json!({"data": {
        "genesis_time": served.id.to_string(), "genesis_validators_root": root(0),
        "genesis_fork_version": "0x00000000",
    }});
    given(&how, genesis).await
}

async fn events(State(served): State<Served>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let heard = stream::unfold(served.events.subscribe(), async |mut events| {
        let (name, data) = events.recv().await.ok()?;
        Some((Ok(Event::default().event(name).data(data)), events))
    });
    Sse::new(heard)
}
