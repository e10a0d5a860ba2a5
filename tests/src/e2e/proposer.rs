//! A validator that no validator client runs: the harness signs for it, over the beacon node's standard API, so that it
//! has the signed blinded block in hand between the header and the payload.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::B256;
use earnest_builder_types::{
    BlindedBeaconBlock, BlockContents, ForkCodec, ForkName, SignedBlindedBeaconBlock, TreeHash,
    ValidatorRegistration,
    bls::SecretKey,
    domain::{beacon_proposer_domain, builder_domain, randao_domain, signing_root},
};
use earnest_devnet::validator::interop_key;
use http::{HeaderValue, StatusCode, header};
use reqwest::RequestBuilder;
use serde_json::json;
use url::Url;

use super::{
    genesis::{FULU_FORK_VERSION, GAS_LIMIT, NETWORK, SLOTS_PER_EPOCH},
    http_client,
    peers::FEE_RECIPIENT,
};

const SSZ: HeaderValue = HeaderValue::from_static("application/octet-stream");
const FORK: HeaderValue = HeaderValue::from_static("fulu");

/// One validator.
#[derive(Debug)]
pub struct Proposer {
    index: u64,
    key: SecretKey,
    beacon: Url,
    validators_root: B256,
    http: reqwest::Client,
}

/// What the beacon node gave to sign.
#[derive(Debug)]
pub enum Produced {
    /// A header of the relay.
    Blinded(BlindedBeaconBlock),
    /// The node's own payload.
    Local(BlockContents),
}

impl Proposer {
    /// The validator with the interop key of `index`.
    ///
    /// # Panics
    /// Never in practice: every index has a key.
    #[must_use]
    pub fn new(index: u64, beacon: Url, validators_root: B256) -> Self {
        let key = interop_key(index).unwrap();
        Self { index, key, beacon, validators_root, http: http_client() }
    }

    /// Its index.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Registers with the beacon node, which passes that on to the relay.
    ///
    /// # Panics
    /// If the node refuses.
    pub async fn register(&self) {
        let preparation =
            json!([{ "validator_index": self.index.to_string(), "fee_recipient": FEE_RECIPIENT }]);
        let prepare = self.post("eth/v1/validator/prepare_beacon_proposer").json(&preparation);
        taken(prepare.send().await.unwrap()).await.unwrap();
        let registration = ValidatorRegistration {
            fee_recipient: FEE_RECIPIENT,
            gas_limit: GAS_LIMIT,
            timestamp: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs(),
            pubkey: self.key.public_key(),
        };
        let signed = registration.sign(&self.key, builder_domain(NETWORK.genesis_fork_version));
        let register = self.post("eth/v1/validator/register_validator").json(&[signed]);
        taken(register.send().await.unwrap()).await.unwrap();
    }

    /// A block to sign, as the node makes it: with the relay's header if there is one of use.
    ///
    /// # Panics
    /// If the node gives none.
    pub async fn produce(&self, slot: u64) -> Produced {
        let epoch = slot / SLOTS_PER_EPOCH;
        let domain = randao_domain(FULU_FORK_VERSION, self.validators_root);
        let reveal = self.key.sign(signing_root(epoch.tree_hash_root(), domain));
        let path = format!("eth/v3/validator/blocks/{slot}?randao_reveal={reveal}&graffiti={}", B256::ZERO);
        let request = self.http.get(self.beacon.join(&path).unwrap()).header(header::ACCEPT, SSZ);
        let answer = request.send().await.unwrap();
        let blinded = answer.headers().get("eth-execution-payload-blinded").cloned();
        let (status, bytes) = (answer.status(), answer.bytes().await.unwrap());
        assert!(status.is_success(), "no block: {status} {}", String::from_utf8_lossy(&bytes));
        if blinded.is_some_and(|blinded| blinded == "true") {
            Produced::Blinded(BlindedBeaconBlock::from_ssz(ForkName::Fulu, &bytes).unwrap())
        } else {
            Produced::Local(BlockContents::from_ssz(ForkName::Fulu, &bytes).unwrap())
        }
    }

    /// Signs a blinded block.
    #[must_use]
    pub fn sign(&self, block: BlindedBeaconBlock) -> SignedBlindedBeaconBlock {
        block.sign(&self.key, beacon_proposer_domain(FULU_FORK_VERSION, self.validators_root))
    }

    /// Hands a signed blinded block to the beacon node, which hands it to the relay.
    ///
    /// # Errors
    /// What the node said.
    ///
    /// # Panics
    /// If the node does not answer.
    pub async fn hand_in(&self, block: &SignedBlindedBeaconBlock) -> Result<(), String> {
        let request = self.ssz("eth/v2/beacon/blinded_blocks").body(block.to_ssz());
        taken(request.send().await.unwrap()).await
    }

    /// Signs and publishes a local block.
    ///
    /// # Errors
    /// What the node said.
    ///
    /// # Panics
    /// If the node does not answer.
    pub async fn publish(&self, block: BlockContents) -> Result<(), String> {
        let domain = beacon_proposer_domain(FULU_FORK_VERSION, self.validators_root);
        let signed = block.sign(&self.key, domain);
        taken(self.ssz("eth/v2/beacon/blocks").body(signed.to_ssz()).send().await.unwrap()).await
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(self.beacon.join(path).unwrap())
    }

    fn ssz(&self, path: &str) -> RequestBuilder {
        self.post(path).header(header::CONTENT_TYPE, SSZ).header("eth-consensus-version", FORK)
    }
}

async fn taken(answer: reqwest::Response) -> Result<(), String> {
    let status = answer.status();
    if status == StatusCode::OK || status == StatusCode::ACCEPTED {
        return Ok(());
    }
    Err(format!("{status} {}", answer.text().await.unwrap_or_default()))
}
