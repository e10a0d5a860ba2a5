//! A relay over a beacon node and an execution chain in memory, all in this process and on loopback.

use std::{path::Path, sync::Arc, time::Duration};

use alloy_primitives::hex;
use earnest_builder_types::{BlsPublicKey, bls::SecretKey};
use earnest_client::RelayClient;
use earnest_devnet::beacon::{BeaconNode, BeaconOptions, MemoryEngine};
use earnest_protocol::signing::EcdsaSecret;
use earnest_relay::{Config, KeyFile, Running};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    RelayLoad, cause,
    payload_attributes::{PayloadAttributes, now_ms},
};
use crate::failure::Failure;

/// A slot outlasts every measurement: what is on offer stays so.
const SLOT: Duration = Duration::from_secs(3_600);
/// Time for the relay to start and listen, before the beacon node announces what the next payload is built with.
const LEAD: Duration = Duration::from_secs(5);
/// The genesis fork version of devnets.
pub(super) const FORK_VERSION: [u8; 4] = [0x10, 0, 0, 0x38];

/// A running relay and what it stands on.
pub(super) struct World {
    /// Speaks with the relay.
    pub(super) client: RelayClient,
    /// The coming slot's payload attributes.
    pub(super) attributes: PayloadAttributes,
    relay: Running,
    stop: CancellationToken,
    beacon: BeaconNode,
    _data: TempDir,
}

impl World {
    /// Starts it on threads of `servers`; the relay writes to a new folder in `parent`.
    pub(super) async fn start(
        servers: &Handle,
        validators: Vec<BlsPublicKey>,
        parent: &Path,
    ) -> Result<Self, Failure> {
        let mut options = BeaconOptions::new(Arc::new(MemoryEngine::new()), validators);
        options.genesis_fork_version = FORK_VERSION;
        options.slot_ms = u64::try_from(SLOT.as_millis()).unwrap_or(u64::MAX);
        // Half of slot 1 is over in a moment: then the attributes of slot 2 are announced.
        let begun = SLOT.saturating_add(SLOT.div_f64(2.0)).saturating_sub(LEAD).as_secs();
        options.genesis_time = (now_ms() / 1000).saturating_sub(begun);
        let network = json!({
            "genesis_fork_version": hex::encode_prefixed(FORK_VERSION),
            "chain_id": options.chain_id,
        });
        let beacon = servers.spawn(BeaconNode::start(options)).await.map_err(cause)?.map_err(cause)?;
        let attributes = PayloadAttributes::listen(beacon.url()).await?;
        let data = tempfile::Builder::new().prefix("earnest-load-").tempdir_in(parent).map_err(cause)?;
        let config: Config = serde_json::from_value(json!({
            "listen": "127.0.0.1:0",
            "data_dir": data.path().join("relay"),
            "beacon": [beacon.url()],
            "network": network,
            "bls_key": key_file(data.path(), "bls", SecretKey::random().map_err(cause)?.to_bytes().as_slice())?,
            "ecdsa_key": key_file(data.path(), "ecdsa", EcdsaSecret::random().to_bytes().as_ref())?,
            "inbox": "0x00000000000000000000000000000000000000aa",
            "clients": { "per_second": 0 },
            // Every block that is offered is also given out here, where one slot sees hundreds.
            "bounds": { "offered_per_slot": 100_000, "bytes_per_slot": 16_u64 << 30 },
        }))
        .map_err(cause)?;
        let stop = CancellationToken::new();
        let starting = servers.spawn(earnest_relay::start(config, stop.clone()));
        let relay = starting.await.map_err(cause)?.map_err(cause)?;
        let client = RelayLoad::client(&relay.url)?;
        Ok(Self { client, attributes, relay, stop, beacon, _data: data })
    }

    /// Base URLs of the relay and of its beacon node.
    #[cfg(test)]
    pub(super) fn urls(&self) -> (&url::Url, &url::Url) {
        (&self.relay.url, self.beacon.url())
    }

    /// Stops everything and removes the data.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.relay.join().await.map_err(cause)?;
        self.beacon.shutdown().await;
        Ok(())
    }
}

fn key_file(folder: &Path, name: &str, secret: &[u8]) -> Result<KeyFile, Failure> {
    let path = folder.join(name);
    std::fs::write(&path, hex::encode(secret)).map_err(cause)?;
    Ok(KeyFile::bare(path))
}
