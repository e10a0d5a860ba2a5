//! `kill -9` at any moment loses no acknowledged receipt and yields no second commitment for a position (design §10):
//! a gateway in a process of its own, under load, killed again and again.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Bytes, U256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent;
use earnest_bindings::Inbox::BatchRecorded;
use earnest_client::{GatewayClient, Limits};
use earnest_devnet::{Network, NetworkOptions};
use earnest_protocol::{
    RollupId, Slot, delegation::TrustRoots, inbox, messages::StreamEvent, stream::StreamChecker,
};
use earnest_tests::{
    account::Account,
    binary::RoleProcess,
    ledger::Ledger,
    patience::{now_ms, until},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;
use url::Url;

/// Kills.
const ROUNDS: u32 = 20;
/// How long the gateway lives in one round, milliseconds from its first answer: from hardly at all to most of a slot.
const LIFE_MS: std::ops::Range<u64> = 5..1_600;
/// Receipts asked for again after each kill, the newest: what was acknowledged last is what a kill could lose.
const ASKED_AGAIN: usize = 25;
/// Time between two transactions of a searcher.
const GAP: Duration = Duration::from_millis(15);
/// Searchers of each rollup.
const SEARCHERS: usize = 3;
/// Starts before giving up: while the gateway is down another process may take its port.
const STARTS: u32 = 5;
const ROLLUPS: [RollupId; 2] = [RollupId(42_069), RollupId(42_070)];

#[derive(Debug)]
struct Shared {
    gateway: GatewayClient,
    ledger: Mutex<Ledger>,
    loading: AtomicBool,
    /// Answers that were lost, or refusals: what was sent is sent again until there is a receipt.
    repeated: AtomicU64,
    events: AtomicU64,
}

impl Shared {
    /// One account's transactions, each after the receipt of the one before, whatever happens in between.
    async fn search(self: Arc<Self>, rollup: RollupId) {
        let account = Account::random(rollup);
        let mut nonce = 0;
        while self.loading.load(Ordering::Relaxed) {
            tokio::time::sleep(GAP).await;
            let raw = account.transfer(nonce);
            nonce += 1;
            while let Err(error) = self.place(rollup, &raw).await {
                assert!(
                    error.is_transient()
                        || error.refusal().is_some_and(|refusal| refusal.code == "not_holder"),
                    "{error}"
                );
                if !self.loading.load(Ordering::Relaxed) {
                    return;
                }
                self.repeated.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
    }

    async fn place(&self, rollup: RollupId, raw: &Bytes) -> Result<bool, earnest_client::ClientError> {
        let receipt = self.gateway.submit_raw(rollup, raw.0.clone()).await?;
        Ok(self.ledger.lock().unwrap().receipt(receipt, raw))
    }

    /// Follows one rollup across every restart, checking each event.
    async fn follow(self: Arc<Self>, rollup: RollupId, trust: TrustRoots) {
        let mut stream = self.gateway.stream(rollup, None);
        let mut checker = StreamChecker::new(rollup, trust, None);
        loop {
            let event = stream.next().await.unwrap().event;
            checker.on(&event).unwrap_or_else(|violation| panic!("rollup {rollup}: {violation}"));
            self.note(&event);
        }
    }

    fn note(&self, event: &StreamEvent) {
        self.events.fetch_add(1, Ordering::Relaxed);
        match event {
            StreamEvent::Window(_) => {}
            StreamEvent::Microblock(microblock) => {
                self.ledger.lock().unwrap().commitment(&microblock.commitment);
            }
            StreamEvent::Seal(seal) => {
                self.ledger.lock().unwrap().commitment(seal);
            }
        }
    }

    /// Asks for receipts again, by hash and by sending the transaction again: both give the first one. Those of the
    /// newest windows, which the gateway still answers for. Returns how many there were.
    async fn ask_again(&self) -> u64 {
        let mut known: Vec<_> = self.ledger.lock().unwrap().receipts().cloned().collect();
        known.sort_unstable_by_key(|(receipt, _)| (receipt.slot, receipt.segment, receipt.index));
        let newest = known.last().map(|(receipt, _)| receipt.slot).unwrap_or_default();
        let mut asked = 0;
        for (receipt, raw) in known.iter().rev().take(ASKED_AGAIN) {
            let again = self.gateway.receipt(receipt.rollup_id, receipt.tx_hash).await.unwrap();
            assert_eq!(again.as_ref(), Some(receipt), "a receipt that was given is not given again");
            let json = serde_json::to_string(&again).unwrap();
            assert_eq!(json, serde_json::to_string(&receipt).unwrap());
            asked += 1;
            // Two windows later the gateway takes it as new.
            if receipt.slot == newest && self.holds(receipt.rollup_id, newest).await {
                match self.place(receipt.rollup_id, raw).await {
                    Ok(known) => assert!(known, "not known any more"),
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
        }
        asked
    }

    /// Whether the gateway's open window is this one.
    async fn holds(&self, rollup: RollupId, slot: Slot) -> bool {
        let info = self.gateway.info().await.unwrap();
        let window = info.rollups.iter().find(|it| it.id == rollup).and_then(|it| it.window);
        window.is_some_and(|window| window.slot == slot && window.seal_ms > now_ms() + 100)
    }

    /// The whole stream from its beginning, as the journal has it now, says what was said before.
    async fn replay(&self, rollup: RollupId) -> u64 {
        let wanted: usize = {
            let ledger = self.ledger.lock().unwrap();
            ledger.positions().filter(|position| position.0 == rollup).count()
        };
        let mut stream = self.gateway.stream(rollup, Some("0".to_owned()));
        let (mut seen, mut events) = (std::collections::BTreeSet::new(), 0);
        while seen.len() < wanted {
            let next = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
            let event = next.expect("the stream lacks commitments that were seen").unwrap().event;
            events += 1;
            let commitment = match &event {
                StreamEvent::Window(_) => continue,
                StreamEvent::Microblock(microblock) => &microblock.commitment,
                StreamEvent::Seal(seal) => seal,
            };
            let ordering = self.ledger.lock().unwrap().commitment(commitment);
            seen.insert((ordering.slot, ordering.segment, ordering.number));
        }
        events
    }
}

/// The gateway's configuration as the devnet wrote it, to listen where the devnet's did.
fn patched_config(folder: &Path, gateway: &Url) -> PathBuf {
    let path = folder.join("gateway.toml");
    let mut config: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let address = gateway.socket_addrs(|| None).unwrap()[0];
    config.insert("listen".to_owned(), toml::Value::String(address.to_string()));
    let patched = folder.join("gateway-alone.toml");
    std::fs::write(&patched, toml::to_string(&config).unwrap()).unwrap();
    patched
}

async fn start(config: &Path, url: &Url, folder: &Path, round: u32) -> RoleProcess {
    for attempt in 0..STARTS {
        let log = folder.join(format!("gateway-{round}-{attempt}.log"));
        if let Some(process) = RoleProcess::start("gateway", config, url, log).await {
            return process;
        }
    }
    let log = folder.join(format!("gateway-{round}-{}.log", STARTS - 1));
    panic!("the gateway does not start:\n{}", std::fs::read_to_string(log).unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_no_receipt_and_signs_no_second_order() {
    let folder = tempfile::tempdir().unwrap();
    let options = NetworkOptions {
        rollups: vec![],
        bare_rollups: ROLLUPS.map(|rollup| rollup.0).into(),
        data_dir: Some(folder.path().to_owned()),
        ..NetworkOptions::default()
    };
    let mut network = Network::start(&options).await.unwrap();
    network.stop_gateway().await;
    let url = network.ready().gateway.clone();
    let config = patched_config(folder.path(), &url);
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let shared = Arc::new(Shared {
        gateway: GatewayClient::new(&url, Limits::default()).unwrap(),
        ledger: Mutex::new(Ledger::new(network.trust())),
        loading: AtomicBool::new(true),
        repeated: AtomicU64::new(0),
        events: AtomicU64::new(0),
    });
    let mut process = start(&config, &url, folder.path(), 0).await;
    until("a window", Duration::from_secs(40), async || {
        let info = shared.gateway.info().await.ok()?;
        info.rollups.iter().all(|rollup| rollup.window.is_some()).then_some(())
    })
    .await;
    let mut searchers = JoinSet::new();
    let mut followers = JoinSet::new();
    for rollup in ROLLUPS {
        followers.spawn(Arc::clone(&shared).follow(rollup, network.trust()));
        for _ in 0..SEARCHERS {
            searchers.spawn(Arc::clone(&shared).search(rollup));
        }
    }

    let mut asked = 0;
    for round in 1..=ROUNDS {
        tokio::time::sleep(Duration::from_millis(random.random_range(LIFE_MS))).await;
        process.kill().await;
        process = start(&config, &url, folder.path(), round).await;
        asked += shared.ask_again().await;
        println!("kill {round}: {} receipts", shared.ledger.lock().unwrap().receipt_count());
        if let Some(ended) = followers.try_join_next() {
            panic!("a follower ended: {ended:?}");
        }
    }
    shared.loading.store(false, Ordering::Relaxed);
    while let Some(ended) = searchers.join_next().await {
        ended.unwrap();
    }
    asked += shared.ask_again().await;

    println!("waiting for L1");
    let recorded = on_l1(&network, &shared).await;
    println!("replaying");
    let mut replayed = 0;
    for rollup in ROLLUPS {
        replayed += shared.replay(rollup).await;
    }
    assert!(followers.try_join_next().is_none(), "a follower ended");
    followers.shutdown().await;
    assert!(process.terminate().await.success());
    {
        let ledger = shared.ledger.lock().unwrap();
        println!(
            "{ROUNDS} kills, {} receipts ({} requests repeated), {asked} asked for again and the same, {} commitments, {} \
         events followed, {replayed} replayed, {recorded} batches on L1",
            ledger.receipt_count(),
            shared.repeated.load(Ordering::Relaxed),
            ledger.commitment_count(),
            shared.events.load(Ordering::Relaxed),
        );
        assert!(
            ledger.receipt_count() > 50 && asked > 20 && recorded > 5,
            "too little happened to say anything"
        );
    }
    network.stop().await;
}

/// Waits until the batch of every segment that holds a receipt is on L1, and finds each receipt's transaction at its
/// place there. Returns how many batches.
async fn on_l1(network: &Network, shared: &Shared) -> usize {
    let receipts: Vec<_> = shared.ledger.lock().unwrap().receipts().cloned().collect();
    let segments: std::collections::BTreeSet<(RollupId, Slot, u16)> =
        receipts.iter().map(|(receipt, _)| (receipt.rollup_id, receipt.slot, receipt.segment)).collect();
    let inbox = network.ready().contracts["Inbox"];
    let rpc = network.execution.rpc();
    let filter =
        Filter::new().address(inbox).event_signature(BatchRecorded::SIGNATURE_HASH).from_block(0_u64);
    let mut batches = std::collections::BTreeMap::new();
    for (rollup, slot, segment) in &segments {
        let what = format!("rollup {rollup}, slot {slot}, segment {segment} on L1");
        let transaction = until(&what, Duration::from_secs(120), async || {
            let logs = rpc.logs(&filter.clone().topic1(U256::from(rollup.0))).await.ok()?;
            logs.iter().find_map(|log| {
                let event = BatchRecorded::decode_log(&log.inner).unwrap().data;
                // Not every execution client keeps to the filter's topics.
                let found = (event.rollupId, event.slot, event.segment) == (rollup.0, slot.0, *segment);
                found.then_some(log.transaction_hash?)
            })
        })
        .await;
        let transaction = rpc.transaction(transaction).await.unwrap().unwrap();
        let calldata = alloy_consensus::Transaction::input(transaction.inner.inner()).clone();
        let batch = inbox::decode_submit(&calldata, &network.ready().network).unwrap();
        shared.ledger.lock().unwrap().commitment(&batch.signed);
        batches.insert((*rollup, *slot, *segment), batch.txs);
    }
    for (receipt, raw) in &receipts {
        let txs = &batches[&(receipt.rollup_id, receipt.slot, receipt.segment)];
        let index = usize::try_from(receipt.index).unwrap();
        assert_eq!(txs.get(index), Some(raw), "{} is not at its place on L1", receipt.tx_hash);
    }
    batches.len()
}
