//! A follower of real signed streams, honest and not, and of what L1 recorded.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolEvent;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use earnest_bindings::Inbox::BatchRecorded;
use earnest_builder_types::BlsSignature;
use earnest_builder_types::bls::SecretKey;
use earnest_chain::ExecutionClient;
use earnest_client::inbox_watch::InboxWatch;
use earnest_client::inclusion::InclusionFinding;
use earnest_client::{Finding, Follower, FollowerConfig, GatewayClient};
use earnest_protocol::delegation::TrustRoots;
use earnest_protocol::merkle;
use earnest_protocol::messages::{Microblock, StreamEvent};
use earnest_protocol::objects::{
    AllocationEntry, Authority, Commitment, Delegation, DelegationReceipt, OrderingCommitment,
    SignedCommitment, SlotAllocation,
};
use earnest_protocol::ordering::{LinkContent, WindowChain};
use earnest_protocol::signing::{EcdsaSecret, EcdsaSignature, Network, Signed};
use earnest_protocol::stream::{Accepted, Violation};
use earnest_protocol::{RollupId, Slot, Wei};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::server::{limits, serve, soon};

const NETWORK: Network = Network { genesis_fork_version: [1, 2, 3, 4], chain_id: 1337 };
const ROLLUP: RollupId = RollupId(42);
const SLOT: Slot = Slot(77);
const INBOX: Address = Address::repeat_byte(0x1b);

struct Cast {
    committer: EcdsaSecret,
    relay: EcdsaSecret,
    chain: WindowChain,
    now_ms: u64,
}

impl Cast {
    fn new() -> Self {
        let chain = WindowChain::new(ROLLUP, SLOT);
        Self { committer: EcdsaSecret::random(), relay: EcdsaSecret::random(), chain, now_ms: 1_000 }
    }

    fn window(&self) -> StreamEvent {
        let proposer = SecretKey::random().unwrap();
        let entry = AllocationEntry {
            rollup_id: ROLLUP,
            bid_hash: B256::ZERO,
            account: Address::ZERO,
            committer: self.committer.address(),
            delegate: proposer.public_key(),
            price_wei: Wei::default(),
            url: String::new(),
        };
        let allocation =
            SlotAllocation { slot: SLOT, start_ms: 900, auction_root: B256::ZERO, entries: vec![entry] };
        let message = Delegation {
            proposer: proposer.public_key(),
            delegate: proposer.public_key(),
            committer: self.committer.address(),
            slot: SLOT,
            metadata: allocation.to_metadata(),
        };
        let receipt = DelegationReceipt::of(&message, 800).unwrap();
        StreamEvent::Window(Arc::new(Authority {
            delegation: Signed::<_, BlsSignature>::sign(message, &proposer, &NETWORK).unwrap(),
            receipt: Signed::<_, EcdsaSignature>::sign(receipt, &self.relay, &NETWORK).unwrap(),
        }))
    }

    fn link(&self, content: LinkContent) -> OrderingCommitment {
        self.chain.next_link(content, self.now_ms, 0)
    }

    fn sign(&self, link: &OrderingCommitment) -> SignedCommitment {
        let commitment = Commitment::of_ordering(link, Address::ZERO);
        SignedCommitment::sign(commitment, &self.committer, &NETWORK).unwrap()
    }

    /// The microblock that would follow.
    fn draft(&self, txs: &[Bytes]) -> (OrderingCommitment, StreamEvent) {
        let hashes: Vec<B256> = txs.iter().map(keccak256).collect();
        let tx_root = merkle::root(u64::from(self.link(LinkContent::WindowSeal).first_index), &hashes);
        let link =
            self.link(LinkContent::Microblock { tx_count: u32::try_from(txs.len()).unwrap(), tx_root });
        let event =
            StreamEvent::Microblock(Microblock { commitment: self.sign(&link), transactions: txs.to_vec() });
        (link, event)
    }

    fn microblock(&mut self, txs: &[Bytes]) -> StreamEvent {
        let (link, event) = self.draft(txs);
        self.chain.append(&link, txs).unwrap();
        event
    }

    fn seal(&mut self) -> (OrderingCommitment, StreamEvent) {
        let link = self.link(LinkContent::WindowSeal);
        self.chain.append(&link, &[]).unwrap();
        (link.clone(), StreamEvent::Seal(self.sign(&link)))
    }

    fn config(&self, inbox: Option<InboxWatch>) -> FollowerConfig {
        let roots =
            TrustRoots { network: NETWORK, relay: self.relay.address(), proposer: None, slasher: None };
        FollowerConfig { rollup: ROLLUP, roots, policy: None, inbox, last_event_id: None }
    }
}

fn txs(bytes: &[u8]) -> Vec<Bytes> {
    bytes.iter().map(|byte| Bytes::from(vec![2, *byte])).collect()
}

/// A gateway that tells these events, and then nothing more.
async fn gateway(events: &[StreamEvent]) -> GatewayClient {
    let text: String = (1..)
        .zip(events)
        .map(|(id, event)| format!("id: {id}\nevent: {}\ndata: {}\n\n", event.name(), event.data().unwrap()))
        .collect();
    let stream = move || {
        let body = axum::body::Body::from_stream(futures::StreamExt::chain(
            futures::stream::iter([Ok::<_, std::io::Error>(text.clone())]),
            futures::stream::pending(),
        ));
        async move { ([("content-type", "text/event-stream")], body).into_response() }
    };
    let url = serve(Router::new().route("/ordering/v1/rollups/42/stream", get(stream))).await;
    GatewayClient::new(&url, limits()).unwrap()
}

async fn accepted(follower: &mut Follower) -> Accepted {
    match soon(follower.next()).await.unwrap() {
        Finding::Accepted { accepted, .. } => *accepted,
        other => panic!("{other:?}"),
    }
}

async fn violation(follower: &mut Follower) -> Violation {
    match soon(follower.next()).await.unwrap() {
        Finding::Violation { violation, .. } => *violation,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_honest_window_is_accepted_link_by_link() {
    let mut cast = Cast::new();
    let mut events = vec![cast.window(), cast.microblock(&txs(&[1, 2, 3])), cast.microblock(&txs(&[4]))];
    events.push(events[1].clone());
    let (seal, event) = cast.seal();
    events.push(event);
    let mut follower = Follower::new(&gateway(&events).await, cast.config(None));
    assert!(matches!(accepted(&mut follower).await, Accepted::Window { slot: SLOT, .. }));
    for (number, count) in [(0, 3), (1, 1)] {
        let Accepted::Microblock(link) = accepted(&mut follower).await else { panic!("no microblock") };
        assert_eq!((link.number, link.tx_count), (number, count));
    }
    assert_eq!(accepted(&mut follower).await, Accepted::Seal(seal), "the repeated one is passed over");
}

#[tokio::test]
async fn every_lie_is_a_violation() {
    // Two microblocks for one position.
    let mut cast = Cast::new();
    let (_, other) = cast.draft(&txs(&[9]));
    let events = [cast.window(), cast.microblock(&txs(&[1])), other];
    let mut follower = Follower::new(&gateway(&events).await, cast.config(None));
    accepted(&mut follower).await;
    accepted(&mut follower).await;
    assert!(matches!(violation(&mut follower).await, Violation::Equivocation { .. }));

    // Transactions other than those signed.
    let mut cast = Cast::new();
    let StreamEvent::Microblock(mut swapped) = cast.microblock(&txs(&[1])) else { panic!("no microblock") };
    swapped.transactions = txs(&[2]);
    let events = [cast.window(), StreamEvent::Microblock(swapped)];
    let mut follower = Follower::new(&gateway(&events).await, cast.config(None));
    accepted(&mut follower).await;
    assert!(matches!(violation(&mut follower).await, Violation::Unsound(_)));

    // A committer that nobody named.
    let mut cast = Cast::new();
    let window = cast.window();
    cast.committer = EcdsaSecret::random();
    let events = [window, cast.microblock(&txs(&[1]))];
    let mut follower = Follower::new(&gateway(&events).await, cast.config(None));
    accepted(&mut follower).await;
    assert!(matches!(violation(&mut follower).await, Violation::Unauthorized { .. }));

    // A slasher that the rollup does not name.
    let mut cast = Cast::new();
    let events = [cast.window(), cast.microblock(&txs(&[1]))];
    let mut config = cast.config(None);
    config.roots.slasher = Some(Address::repeat_byte(0x51));
    let mut follower = Follower::new(&gateway(&events).await, config);
    accepted(&mut follower).await;
    assert!(matches!(violation(&mut follower).await, Violation::Slasher { .. }));

    // A receipt of another relay.
    let mut cast = Cast::new();
    let events = [cast.window()];
    cast.relay = EcdsaSecret::random();
    let mut follower = Follower::new(&gateway(&events).await, cast.config(None));
    assert!(matches!(violation(&mut follower).await, Violation::Authority { .. }));
}

/// An execution client that knows one block and these logs.
#[derive(Clone, Default)]
struct L1 {
    logs: Arc<Mutex<Vec<Value>>>,
}

async fn rpc(State(l1): State<L1>, Json(request): Json<Value>) -> Json<Value> {
    let result = match request["method"].as_str().unwrap() {
        "eth_getBlockByNumber" => {
            let mut block: alloy_rpc_types_eth::Block = Default::default();
            block.header.inner.number = 100;
            block.header.inner.timestamp = 500;
            serde_json::to_value(block).unwrap()
        }
        "eth_getLogs" => {
            let filter = &request["params"][0];
            assert_eq!(filter["toBlock"], "0x64");
            Value::Array(l1.logs.lock().clone())
        }
        other => panic!("{other}"),
    };
    Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
}

fn log(committer: Address, seal: &OrderingCommitment, tx_root: B256) -> Value {
    let event = BatchRecorded {
        rollupId: seal.rollup_id.0,
        slot: seal.slot.0,
        committer,
        segment: seal.segment,
        txRoot: tx_root,
        count: seal.first_index,
        time: 400,
    };
    let data = event.encode_log_data();
    json!({
        "address": INBOX, "topics": data.topics(), "data": data.data, "blockNumber": "0x63",
        "blockHash": B256::repeat_byte(9), "transactionHash": B256::repeat_byte(8), "transactionIndex": "0x0",
        "logIndex": "0x0", "removed": false,
    })
}

#[tokio::test]
async fn a_seal_is_looked_for_on_l1_and_must_be_there_as_it_was_signed() {
    for honest in [true, false] {
        let mut cast = Cast::new();
        let mut events = vec![cast.window(), cast.microblock(&txs(&[1, 2]))];
        let (seal, event) = cast.seal();
        events.push(event);
        let l1 = L1::default();
        let root = if honest { seal.tx_root } else { B256::ZERO };
        let stranger = log(Address::ZERO, &seal, B256::ZERO);
        *l1.logs.lock() = vec![stranger, log(cast.committer.address(), &seal, root)];
        let url = serve(Router::new().route("/", post(rpc)).with_state(l1)).await;
        let watch = InboxWatch {
            execution: ExecutionClient::new(url).unwrap(),
            inbox: INBOX,
            poll: Duration::from_millis(10),
            timing: None,
        };
        let mut follower = Follower::new(&gateway(&events).await, cast.config(Some(watch)));
        for _ in 0..3 {
            accepted(&mut follower).await;
        }
        let finding = soon(follower.next()).await.unwrap();
        assert_eq!(finding.is_violation(), !honest);
        match finding {
            Finding::Inclusion(InclusionFinding::Included(record)) if honest => assert_eq!(record.block, 99),
            Finding::Inclusion(InclusionFinding::Differs { .. }) if !honest => {}
            other => panic!("{other:?}"),
        }
    }
}
