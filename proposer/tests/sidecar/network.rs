//! Keys, blocks and bids that the tests share, and a running sidecar.

use std::path::Path;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};
use earnest_builder_types::bls::SecretKey;
use earnest_builder_types::proofs::TransactionTree;
use earnest_builder_types::{
    BlsPublicKey, BlsSignature, BuilderBid, ExecutionPayload, ExecutionPayloadDeneb, ExecutionRequests,
    KzgCommitments, SignedBuilderBid, Transactions, Versioned, domain,
};
use earnest_client::{HeaderWithProofs, install_tls_provider};
use earnest_journal::{Journal, Options};
use earnest_proposer::breaker::BreakerConfig;
use earnest_proposer::{Config, GatewayConfig, Running, SourceConfig, delegation_record, start_with_signer};
use earnest_protocol::objects::{
    Constraint, ConstraintsMessage, Delegation, InclusionProof, SignedConstraints, SlotAllocation,
};
use earnest_protocol::signing::{EcdsaSecret, Network, Signed};
use earnest_protocol::window::Fraction;
use earnest_protocol::{RollupId, Slot, Wei};
use earnest_signer::LocalBls;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;

pub(crate) const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 0, 0], chain_id: 1337 };
pub(crate) const SLOT: u64 = 77;
pub(crate) const PARENT: B256 = B256::repeat_byte(0xaa);
pub(crate) const HEADER_LIMIT_MS: u64 = 1_500;

/// Everyone's keys.
pub(crate) struct Cast {
    pub(crate) proposer: SecretKey,
    pub(crate) relay: SecretKey,
    pub(crate) relay_account: EcdsaSecret,
    pub(crate) delegate: SecretKey,
    pub(crate) committer: Address,
}

impl Cast {
    pub(crate) fn new() -> Self {
        install_tls_provider();
        Self {
            proposer: SecretKey::random().unwrap(),
            relay: SecretKey::random().unwrap(),
            relay_account: EcdsaSecret::random(),
            delegate: SecretKey::random().unwrap(),
            committer: Address::repeat_byte(0xc0),
        }
    }

    pub(crate) fn gateway(&self) -> GatewayConfig {
        GatewayConfig {
            committer: self.committer,
            delegate: self.delegate.public_key(),
            url: "http://127.0.0.1:1/".to_owned(),
            rollups: vec![RollupId(42)],
            relay_address: self.relay_account.address(),
            account: Address::ZERO,
        }
    }

    /// A delegation of [`SLOT`], as an earlier run of the sidecar recorded it.
    pub(crate) fn delegation(&self) -> Delegation {
        let allocation =
            SlotAllocation { slot: Slot(SLOT), start_ms: 1, auction_root: B256::ZERO, entries: Vec::new() };
        Delegation {
            proposer: self.proposer.public_key(),
            delegate: self.delegate.public_key(),
            committer: self.committer,
            slot: Slot(SLOT),
            metadata: allocation.to_metadata(),
        }
    }

    /// Constraints on [`SLOT`] that the delegate signed.
    pub(crate) fn constraints(&self, transactions: &[Bytes]) -> SignedConstraints {
        let message = ConstraintsMessage {
            proposer: self.proposer.public_key(),
            delegate: self.delegate.public_key(),
            slot: Slot(SLOT),
            constraints: transactions
                .iter()
                .map(|tx| Constraint::inclusion(Slot(SLOT), tx.clone()))
                .collect(),
            receivers: Vec::new(),
        };
        Signed::<_, BlsSignature>::sign(message, &self.delegate, &NETWORK).unwrap()
    }

    pub(crate) fn bid(&self, value: u64, block: &[Bytes]) -> SignedBuilderBid {
        bid(&self.relay, value, PARENT, block)
    }

    pub(crate) fn signer(&self) -> Arc<LocalBls> {
        Arc::new(LocalBls::new([self.proposer.clone()]))
    }
}

/// A bid for a block of these transactions, signed by `relay`.
pub(crate) fn bid(relay: &SecretKey, value: u64, parent_hash: B256, block: &[Bytes]) -> SignedBuilderBid {
    bid_at(relay, value, parent_hash, block, 1)
}

/// The same for a block of this timestamp.
pub(crate) fn bid_at(
    relay: &SecretKey,
    value: u64,
    parent_hash: B256,
    block: &[Bytes],
    timestamp: u64,
) -> SignedBuilderBid {
    let header = payload_at(value, parent_hash, block, timestamp).to_header();
    let (commitments, requests) = (KzgCommitments::default(), ExecutionRequests::default());
    BuilderBid::new(header, commitments, requests, U256::from(value), relay.public_key())
        .unwrap()
        .sign(relay, domain::builder_domain(NETWORK.genesis_fork_version))
}

/// The payload of the block that [`bid_at`] is for.
pub(crate) fn payload_at(value: u64, parent_hash: B256, block: &[Bytes], timestamp: u64) -> ExecutionPayload {
    ExecutionPayload::Deneb(ExecutionPayloadDeneb {
        parent_hash,
        fee_recipient: Address::ZERO,
        state_root: B256::ZERO,
        receipts_root: B256::ZERO,
        logs_bloom: FixedBytes::ZERO,
        prev_randao: B256::ZERO,
        block_number: 1,
        gas_limit: 30_000_000,
        gas_used: 0,
        timestamp,
        extra_data: Default::default(),
        base_fee_per_gas: U256::from(7),
        block_hash: B256::from(U256::from(value)),
        transactions: Transactions::new(block.to_vec()).unwrap(),
        withdrawals: Default::default(),
        blob_gas_used: 0,
        excess_blob_gas: 0,
    })
}

pub(crate) fn json(bid: &SignedBuilderBid) -> Vec<u8> {
    Versioned::new(bid.clone()).to_json().unwrap()
}

/// Five transactions; nobody looks into them.
pub(crate) fn block() -> Vec<Bytes> {
    (0u8..5).map(|byte| Bytes::from(vec![2, byte, byte])).collect()
}

pub(crate) fn proofs(block: &[Bytes], positions: &[usize]) -> Vec<InclusionProof> {
    let tree = TransactionTree::new(block).unwrap();
    let prove = |position: &usize| {
        let proof = tree.prove(*position).unwrap();
        InclusionProof { signed_tx: block[*position].clone(), index: proof.index, branch: proof.proof }
    };
    positions.iter().map(prove).collect()
}

pub(crate) fn with_proofs(bid: &SignedBuilderBid, proofs: &[InclusionProof]) -> Vec<u8> {
    HeaderWithProofs::new(bid.clone(), proofs).to_json().unwrap()
}

/// A URL where nobody listens.
pub(crate) async fn nobody() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap()
}

pub(crate) fn earnest(url: &Url, pubkey: BlsPublicKey) -> SourceConfig {
    SourceConfig { url: url.clone(), name: None, pubkey: Some(pubkey), earnest: true }
}

pub(crate) fn mev_boost(url: &Url) -> SourceConfig {
    SourceConfig { url: url.clone(), name: None, pubkey: None, earnest: false }
}

pub(crate) fn config(data_dir: &Path, beacon: Url, sources: Vec<SourceConfig>) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: data_dir.to_path_buf(),
        beacon: vec![beacon],
        network: NETWORK,
        sources,
        gateway: None,
        market: None,
        keys: None,
        commit_boost: None,
        web3signer: None,
        opted_in: Vec::new(),
        registry: None,
        validators: Vec::new(),
        min_bid_wei: Wei::default(),
        breaker: BreakerConfig::default(),
        seal: Fraction(1, 2),
        header_limit_ms: HEADER_LIMIT_MS,
        header_latest: Fraction(1, 4),
        payload_limit_ms: 4_000,
        max_body: 8 << 20,
        free_space_floor: 0,
    }
}

/// A sidecar without a beacon node, with what an earlier run recorded.
pub(crate) struct Sidecar {
    pub(crate) running: Running,
    pub(crate) http: reqwest::Client,
    token: CancellationToken,
    _directory: TempDir,
}

impl Sidecar {
    pub(crate) async fn start(cast: &Cast, sources: Vec<SourceConfig>, constrained: bool) -> Self {
        Self::start_with(cast, sources, constrained, |_| {}).await
    }

    /// The same, with a change to its configuration.
    pub(crate) async fn start_with(
        cast: &Cast,
        sources: Vec<SourceConfig>,
        constrained: bool,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = TempDir::new().unwrap();
        if constrained {
            let journal =
                Journal::open(directory.path(), Options { free_space_floor: 0, ..Options::default() })
                    .unwrap();
            delegation_record::claim(&journal, &cast.delegation(), &NETWORK).unwrap();
            journal.close();
        }
        let mut config = config(directory.path(), nobody().await, sources);
        change(&mut config);
        let token = CancellationToken::new();
        let running = start_with_signer(config, cast.signer(), token.clone()).await.unwrap();
        Self { running, http: reqwest::Client::new(), token, _directory: directory }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        self.running.url().unwrap().join(path).unwrap()
    }

    pub(crate) fn header_url(&self, cast: &Cast) -> Url {
        self.url(&format!("eth/v1/builder/header/{SLOT}/{PARENT}/{}", cast.proposer.public_key()))
    }

    pub(crate) async fn stop(self) {
        self.token.cancel();
        self.running.join().await.unwrap();
    }
}
