//! Prysm's beacon node and validator client over geth, as processes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::Address;
use earnest_chain::BeaconClient;
use earnest_devnet::process::{Process, free_ports};
use tokio::process::Command;
use url::Url;

use super::{
    genesis::{GAS_LIMIT, Genesis, NETWORK},
    geth::Geth,
    loopback,
    settings::Settings,
};

/// Who gets the fees of every block of the validators.
pub const FEE_RECIPIENT: Address = Address::repeat_byte(0xaa);
/// How long a peer may take to answer, or to end.
const LIMIT: Duration = Duration::from_secs(60);

/// How the beacon node speaks to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuilderEncoding {
    /// JSON, its default.
    Json,
    /// `--enable-builder-ssz`.
    Ssz,
}

impl BuilderEncoding {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ssz => "ssz",
        }
    }
}

/// The running peers. All are killed when dropped.
#[derive(Debug)]
pub struct Peers {
    settings: Settings,
    data: PathBuf,
    genesis: Genesis,
    relay: Url,
    ports: Ports,
    // In the order in which they may go.
    validators: Option<Process>,
    beacon: Option<Process>,
    /// The beacon node's execution client.
    pub geth: Geth,
    /// The builder's.
    pub builder_geth: Geth,
    /// Another builder's, if there is one.
    pub other_geth: Option<Geth>,
    /// Where the beacon node's API answers.
    pub beacon_url: Url,
}

/// Ports of the loopback interface.
#[derive(Debug, Clone, Copy)]
struct Ports {
    beacon_http: u16,
    beacon_grpc: u16,
    tcp: u16,
    udp: u16,
    quic: u16,
    validator_grpc: u16,
    validator_http: u16,
}

impl Peers {
    /// Starts the execution clients, and finds free ports for the others. `relay` is where the beacon node will ask for
    /// headers; `another` says whether there is another builder.
    ///
    /// # Panics
    /// If geth does not come up.
    pub async fn start(
        settings: &Settings,
        data: &Path,
        genesis: Genesis,
        relay: Url,
        another: bool,
    ) -> Self {
        let other = async {
            if another { Some(Geth::start(settings, data, &genesis, "geth-other").await) } else { None }
        };
        let (geth, builder_geth, other_geth) = tokio::join!(
            Geth::start(settings, data, &genesis, "geth"),
            Geth::start(settings, data, &genesis, "geth-builder"),
            other,
        );
        let [beacon_http, beacon_grpc, tcp, udp, quic, validator_grpc, validator_http] =
            free_ports::<7>().unwrap();
        Self {
            settings: settings.clone(),
            data: data.to_owned(),
            genesis,
            relay,
            ports: Ports { beacon_http, beacon_grpc, tcp, udp, quic, validator_grpc, validator_http },
            validators: None,
            beacon: None,
            geth,
            builder_geth,
            other_geth,
            beacon_url: loopback(beacon_http),
        }
    }

    /// Starts the beacon node and waits until it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start_beacon(&mut self, encoding: BuilderEncoding) {
        let Ports { beacon_http, beacon_grpc, tcp, udp, quic, .. } = self.ports;
        let mut command = Command::new(&self.settings.programs.beacon_chain);
        command.arg("--accept-terms-of-use");
        command.arg("--datadir").arg(self.data.join("beacon"));
        command.arg("--genesis-state").arg(&self.genesis.state);
        command.arg("--chain-config-file").arg(&self.genesis.config);
        command.arg("--jwt-secret").arg(self.data.join("geth/jwt.hex"));
        let chain_id = NETWORK.chain_id;
        flags(
            &mut command,
            &format!(
                "--chain-id {chain_id} --network-id {chain_id} --contract-deployment-block 0 \
                 --interop-eth1data-votes --execution-endpoint {} \
                 --min-sync-peers 0 --minimum-peers-per-subnet 0 --no-discovery --bootstrap-node= \
                 --p2p-local-ip 127.0.0.1 --p2p-host-ip 127.0.0.1 --p2p-static-id --p2p-max-peers 1 \
                 --p2p-tcp-port {tcp} --p2p-udp-port {udp} --p2p-quic-port {quic} \
                 --rpc-host 127.0.0.1 --rpc-port {beacon_grpc} --http-host 127.0.0.1 --http-port {beacon_http} \
                 --disable-monitoring --subscribe-all-subnets --suggested-fee-recipient {FEE_RECIPIENT} \
                 --http-mev-relay {}",
                self.geth.engine_url, self.relay
            ),
        );
        if encoding == BuilderEncoding::Ssz {
            flags(&mut command, "--enable-builder-ssz");
        }
        let log = self.settings.logs.join("beacon.log");
        let mut beacon = Process::spawn("beacon-chain", command, log).unwrap();
        let client = BeaconClient::new([self.beacon_url.clone()]).unwrap();
        beacon
            .until(LIMIT, async || client.slot_clock().await)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        self.beacon = Some(beacon);
    }

    /// Starts the validator client with the first `count` validators.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_validators(&mut self, count: u64) {
        let Ports { beacon_grpc, validator_grpc, validator_http, .. } = self.ports;
        let mut command = Command::new(&self.settings.programs.validator);
        command.arg("--accept-terms-of-use");
        command.arg("--datadir").arg(self.data.join("validator"));
        command.arg("--chain-config-file").arg(&self.genesis.config);
        flags(
            &mut command,
            &format!(
                "--interop-num-validators {count} --interop-start-index 0 \
                 --beacon-rpc-provider 127.0.0.1:{beacon_grpc} --rpc-host 127.0.0.1 --rpc-port {validator_grpc} \
                 --http-host 127.0.0.1 --http-port {validator_http} --disable-monitoring \
                 --suggested-fee-recipient {FEE_RECIPIENT} --enable-builder --suggested-gas-limit {GAS_LIMIT}"
            ),
        );
        let log = self.settings.logs.join("validator.log");
        self.validators = Some(Process::spawn("validator", command, log).unwrap());
    }

    /// Checks that no peer has ended by itself.
    ///
    /// # Panics
    /// If one has.
    pub fn all_run(&mut self) {
        let peers = [
            Some(&mut self.geth.process),
            Some(&mut self.builder_geth.process),
            self.other_geth.as_mut().map(|geth| &mut geth.process),
            self.beacon.as_mut(),
            self.validators.as_mut(),
        ];
        for peer in peers.into_iter().flatten() {
            let ended = peer.has_ended().unwrap();
            assert_eq!(ended, None, "a peer ended; see {}", peer.log().display());
        }
    }
}

/// Flags that hold no white space.
fn flags(command: &mut Command, text: &str) {
    command.args(text.split_ascii_whitespace());
}
