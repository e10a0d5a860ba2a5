//! The gateway's rollups, searchers that keep them busy, nodes that follow the signed order and look for it on L1, and what all
//! of them come to: the promises.

use std::{collections::BTreeMap, time::Duration};

use alloy_primitives::U256;
use earnest_chain::ExecutionClient;
use earnest_client::{GatewayClient, Limits, follower::FollowerConfig, inbox_watch::InboxWatch};
use earnest_devnet::{
    anvil::{AnvilNode, AnvilOptions},
    promises::{Promises, Seen, Verdict, follow},
    traffic::{Executor, Searcher},
};
use earnest_protocol::{
    RollupId, Slot, delegation::TrustRoots, receipt::PreconfReceipt, signing::EcdsaSecret,
};
use tokio::{sync::mpsc, task::JoinSet};
use url::Url;

use super::earnest_gateway::ROLLUPS;

/// Time between two transactions of a searcher.
const GAP: Duration = Duration::from_millis(400);
/// Wei of the searchers' account on the rollup that has accounts.
const FUNDS: u128 = 10_000_000_000_000_000_000_000;

/// What was seen of the gateway so far. Everything ends when it is dropped.
pub struct Searchers {
    searching: JoinSet<()>,
    _following: JoinSet<()>,
    sightings: mpsc::UnboundedReceiver<Seen>,
    promises: Promises,
    /// The first receipt of each rollup's window.
    first: BTreeMap<(RollupId, Slot), PreconfReceipt>,
    receipts: BTreeMap<Slot, u64>,
}

/// Starts the first rollup's execution client, with funds for the searchers.
///
/// # Panics
/// If it does not come up.
pub async fn start_rollup() -> AnvilNode {
    let [first, _] = ROLLUPS;
    let anvil = AnvilNode::start(&AnvilOptions::new(first.0)).await.unwrap_or_else(|error| panic!("{error}"));
    anvil.fund(account().address(), U256::from(FUNDS)).await.unwrap();
    anvil
}

fn account() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x5a; 32]).unwrap()
}

impl Searchers {
    /// Begins. `anvil` is what [`start_rollup`] gave, `l1` an execution client of L1 with the Inbox.
    ///
    /// # Panics
    /// If the gateway's URL is none.
    #[must_use]
    pub fn start(gateway: &Url, anvil: &AnvilNode, trust: TrustRoots, l1: &InboxWatch) -> Self {
        let (seen, sightings) = mpsc::unbounded_channel();
        let (mut searching, mut following) = (JoinSet::new(), JoinSet::new());
        let client = GatewayClient::new(gateway, Limits::default()).unwrap();
        for rollup in ROLLUPS {
            let rpc = (anvil.chain_id() == rollup.0).then(|| anvil.rpc().clone());
            let config = FollowerConfig {
                rollup,
                roots: trust,
                policy: None,
                inbox: Some(l1.clone()),
                last_event_id: None,
            };
            following.spawn(follow(client.clone(), config, seen.clone()));
            if let Some(rpc) = rpc.clone() {
                following.spawn(Executor { gateway: client.clone(), rollup, trust, rpc }.run());
            }
            searching.spawn(searcher(gateway, &client, rollup, trust, rpc).run(seen.clone()));
        }
        Self {
            searching,
            _following: following,
            sightings,
            promises: Promises::default(),
            first: BTreeMap::new(),
            receipts: BTreeMap::new(),
        }
    }

    /// Takes in what was seen since.
    pub fn look(&mut self) {
        while let Ok(seen) = self.sightings.try_recv() {
            if let Seen::Receipt { rollup, receipt, .. } = &seen {
                *self.receipts.entry(receipt.slot).or_default() += 1;
                self.first.entry((*rollup, receipt.slot)).or_insert_with(|| (**receipt).clone());
            }
            self.promises.on(&seen);
        }
    }

    /// How many receipts there are of a slot's windows.
    #[must_use]
    pub fn receipts(&self, slot: u64) -> u64 {
        self.receipts.get(&Slot(slot)).copied().unwrap_or_default()
    }

    /// The first receipt of each rollup's window.
    pub fn first_of_each(&self) -> impl Iterator<Item = &PreconfReceipt> {
        self.first.values()
    }

    /// Sends no more transactions.
    pub async fn stop(&mut self) {
        self.searching.shutdown().await;
        self.look();
    }

    /// Receipts whose segment is not on L1 yet.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.promises.open(Slot(u64::MAX))
    }

    /// What became of every receipt; whatever is not on L1 by now is broken.
    #[must_use]
    pub fn verdict(&mut self) -> Verdict {
        std::mem::take(&mut self.promises).verdict(Slot(u64::MAX), false)
    }
}

fn searcher(
    gateway: &Url,
    client: &GatewayClient,
    rollup: RollupId,
    trust: TrustRoots,
    rpc: Option<ExecutionClient>,
) -> Searcher {
    let gateways = vec![(gateway.clone(), client.clone())];
    Searcher { gateways, rollup, account: account(), gap: GAP, trust, rpc }
}
