//! What stands between the beacon node and the relays where the sidecar is in front:
//!
//! ```text
//!                searchers ──▶ gateway ──gossip── L1, and the builders' pools
//!                                 │
//!                                wire
//!                                 │
//! beacon node ── sidecar ──wire── relay, which holds the constraints ◀── builder
//!                   └──────wire── mev-boost ── another relay, which holds none ◀── another builder
//! ```

use std::path::Path;

use alloy_primitives::Address;
use earnest_bindings::deploy::{Addresses, Plan};
use earnest_builder_types::BlsPublicKey;
use earnest_chain::SlotClock;
use earnest_client::inbox_watch::InboxWatch;
use earnest_devnet::{anvil::AnvilNode, builder::Builder};
use earnest_protocol::delegation::TrustRoots;
use earnest_relay::MarketConfig;
use tokio::task::JoinHandle;

use super::{
    builder,
    contracts::{self, RegistrySection},
    earnest_gateway::{self, EarnestGateway},
    gateway::Gateway,
    genesis::{Genesis, NETWORK},
    gossip::Gossip,
    mev_boost::MevBoost,
    network::Network,
    peers::Peers,
    relay::Relay,
    rival::Rival,
    searchers::{Searchers, start_rollup},
    settings::Settings,
    sidecar::{Sidecar, Told},
    wire::Wire,
};

/// Slots that the contracts may take to get onto L1. The Registry's state at the end of epoch 0 is the first that counts.
const DEPLOYMENT_SLOTS: u32 = 20;

/// The parts, all of them running. Killed when dropped.
pub struct Front {
    /// Who bids beside the sidecar.
    pub rival: Rival,
    /// Who uses the gateway; none before genesis is near.
    pub searchers: Option<Searchers>,
    anvil: Option<AnvilNode>,
    /// The gateway.
    pub gateway: EarnestGateway,
    /// From the gateway to the relay.
    pub gateway_wire: Wire,
    gossip: Option<Gossip>,
    other_builder: Option<Builder>,
    /// The sidecar.
    pub sidecar: Sidecar,
    /// From the sidecar to the relay.
    pub relay_wire: Wire,
    /// From the sidecar to mev-boost.
    pub mev_boost_wire: Wire,
    /// mev-boost.
    pub mev_boost: MevBoost,
    /// The relay behind it.
    pub other: Relay,
    plan: Plan,
    told: Option<Told>,
    deploying: Option<JoinHandle<u64>>,
    /// The first slot at which the rollups' terms on L1 are in force, once they are there.
    terms_from: Option<u64>,
}

impl Front {
    /// Makes keys, folders and wires before the chain's genesis is made; starts no program.
    ///
    /// # Panics
    /// If the disk or the system's ports cannot be used.
    pub async fn prepare(
        settings: &Settings,
        data: &Path,
        genesis: &Genesis,
        relay: &Relay,
        sidecar: Sidecar,
        gateway: &Gateway,
    ) -> Self {
        let other = Relay::prepare("relay-other", data, &settings.logs);
        let mev_boost = MevBoost::prepare(settings, genesis, &other.url, other.pubkey);
        let plan = contracts::planned(genesis.time * 1000, settings.slot_seconds * 1000);
        let relay_wire = Wire::to(relay.url.port().unwrap()).await;
        let mev_boost_wire = Wire::to(mev_boost.port).await;
        let rival = Rival::new(plan.addresses.ordering_market, settings.logs.join("acknowledged"));
        Self {
            rival,
            searchers: None,
            anvil: None,
            gateway: EarnestGateway::prepare(data, &settings.logs, gateway),
            gateway_wire: Wire::to(relay.url.port().unwrap()).await,
            gossip: None,
            other_builder: None,
            sidecar,
            relay_wire,
            mev_boost_wire,
            mev_boost,
            other,
            plan,
            told: None,
            deploying: None,
            terms_from: None,
        }
    }

    /// The contracts on L1, or where they will be.
    #[must_use]
    pub const fn contracts(&self) -> &Addresses {
        &self.plan.addresses
    }

    /// What roles are told of the Registry at the start, and of the market.
    #[must_use]
    pub fn registry(
        &self,
        peers: &Peers,
        relay: Address,
        committer: Address,
    ) -> (RegistrySection, MarketConfig) {
        let addresses = self.plan.addresses;
        let registry =
            RegistrySection { execution: peers.geth.rpc_url.clone(), addresses, with_market: false };
        (registry, contracts::listed_market(addresses.ordering_market, relay, committer))
    }

    /// Whether the rollups' terms on L1 are in force at a slot.
    #[must_use]
    pub fn has_terms(&self, slot: u64) -> bool {
        self.terms_from.is_some_and(|from| slot >= from)
    }

    /// Starts the sidecar again. Once the terms on L1 are in force it reads the market's contracts; whether it does.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn restart_sidecar(&mut self, slot: u64) -> bool {
        let with_market = self.has_terms(slot);
        let told = self.told.as_mut().expect("the sidecar was told");
        told.registry.with_market = with_market;
        self.sidecar.configure(told);
        self.sidecar.start().await;
        with_market
    }

    /// Starts the programs; the beacon node and the relay run. `gateway` is who signs orderings, and who signs constraints.
    ///
    /// # Panics
    /// If one does not come up.
    pub async fn start(&mut self, peers: &Peers, relay: &Relay, gateway: (Address, BlsPublicKey)) {
        let (anvil, _, ()) =
            tokio::join!(start_rollup(), self.other.start(&peers.beacon_url), self.mev_boost.start());
        let others = Network::pools(peers).all().split_off(1);
        let gossip = Gossip::before(peers.geth.rpc_url.clone(), others).await;
        self.gateway.configure(&earnest_gateway::Told {
            beacon: peers.beacon_url.clone(),
            execution: gossip.url.clone(),
            relay: (self.gateway_wire.url.clone(), relay.address),
            contracts: self.plan.addresses,
            rollup: anvil.rpc_url().clone(),
        });
        (self.anvil, self.gossip) = (Some(anvil), Some(gossip));
        self.gateway.start().await;
        let registry = relay.registry.clone().expect("the relay is told of the Registry");
        let told = self.told.insert(Told {
            beacon: peers.beacon_url.clone(),
            relay: (self.relay_wire.url.clone(), relay.pubkey, relay.address),
            mev_boost: self.mev_boost_wire.url.clone(),
            gateway: (gateway.0, gateway.1, self.gateway.url.clone()),
            registry,
        });
        self.sidecar.configure(told);
        self.sidecar.start().await;
    }

    /// Has the other builder and the searchers begin, and the contracts put onto L1. `relay` signs the receipts of delegations.
    ///
    /// # Panics
    /// If the builder does not come up.
    pub async fn begin(
        &mut self,
        peers: &Peers,
        clock: SlotClock,
        (committer, relay): (Address, Address),
        logs: &Path,
    ) {
        let geth = peers.other_geth.as_ref().expect("another builder has a client of its own");
        let log = logs.join("builder-other.log");
        self.other_builder = Some(builder::start(geth, &peers.beacon_url, &self.other, &log).await);
        let anvil = self.anvil.as_ref().expect("the rollup is up");
        let slasher = Some(self.plan.addresses.ordering_slasher);
        let trust = TrustRoots { network: NETWORK, relay, proposer: None, slasher };
        // Without the clock: in a fault a batch may come late, and no promise is broken by us.
        let l1 = InboxWatch {
            execution: peers.geth.rpc.clone(),
            inbox: self.plan.addresses.inbox,
            poll: clock.slot_duration(),
            timing: None,
        };
        self.searchers = Some(Searchers::start(&self.gateway.url, anvil, trust, &l1));
        let (pools, plan) = (Network::pools(peers).all(), self.plan.clone());
        let limit = clock.slot_duration() * DEPLOYMENT_SLOTS;
        let deploy = async move { contracts::deploy(&pools, &plan, (committer, relay), limit).await };
        self.deploying = Some(tokio::spawn(deploy));
    }

    /// Waits until the contracts are on L1.
    ///
    /// # Panics
    /// If they do not get there.
    pub async fn deployed(&mut self) {
        if let Some(deploying) = self.deploying.take() {
            self.terms_from = Some(deploying.await.expect("the contracts are put onto L1"));
        }
    }
}
