//! The chain's configuration and first states: Fulu on the consensus side, Osaka on the execution side, from slot 0.

use std::{path::PathBuf, time::Duration};

use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
use alloy_primitives::{Address, U256};
use earnest_bindings::deploy::{FACTORY, FACTORY_CODE};
use earnest_devnet::process::Process;
use earnest_protocol::signing::Network;
use serde_json::{Value, json};
use tokio::process::Command;

use super::settings::Settings;

/// Validators of the genesis state, with the interop keys.
pub const VALIDATORS: u64 = 64;
/// Slots of an epoch: the mainnet preset, which the programs are built with.
pub const SLOTS_PER_EPOCH: u64 = 32;
/// Gas limit of every block, and what validators register.
pub const GAS_LIMIT: u64 = 60_000_000;
/// What all signatures are for.
pub const NETWORK: Network = Network { genesis_fork_version: [0x10, 0xe2, 0xe0, 0x00], chain_id: 1337 };
/// Version of the fork that is in force.
pub const FULU_FORK_VERSION: [u8; 4] = [0x70, 0xe2, 0xe0, 0x00];

/// Time from making the state to slot 0. The beacon node takes five seconds to start, and validators register at once.
const GENESIS_DELAY: u64 = 25;
const RUN_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of a Fulu state before the offset of its first part of variable size, `historical_roots`: genesis time,
/// validators root, slot, fork, latest block header, block roots, state roots.
const BEFORE_FIRST_OFFSET: usize = 8 + 32 + 8 + 16 + 112 + 2 * 8192 * 32;

/// The files that the peers start from.
#[derive(Debug, Clone)]
pub struct Genesis {
    /// Unix seconds of slot 0.
    pub time: u64,
    /// Consensus configuration.
    pub config: PathBuf,
    /// Consensus state, SSZ.
    pub state: PathBuf,
    /// Execution genesis, JSON.
    pub execution: PathBuf,
}

/// Makes the files in `data`. `proposers` are the validators of the first two epochs' slots.
///
/// # Panics
/// If prysmctl fails.
pub async fn generate(
    settings: &Settings,
    data: &std::path::Path,
    funded: &[Address],
    proposers: &[u64],
) -> Genesis {
    let config = data.join("config.yml");
    let (template, execution) = (data.join("genesis-template.json"), data.join("genesis.json"));
    let state = data.join("genesis.ssz");
    std::fs::write(&config, consensus_config(settings.slot_seconds)).unwrap();
    std::fs::write(&template, execution_template(funded).to_string()).unwrap();
    let mut command = Command::new(&settings.programs.prysmctl);
    command.args(["testnet", "generate-genesis", "--fork", "fulu"]);
    command.args(["--num-validators", &VALIDATORS.to_string()]);
    command.args(["--genesis-time-delay", &GENESIS_DELAY.to_string()]);
    command.arg("--chain-config-file").arg(&config);
    command.arg("--geth-genesis-json-in").arg(&template);
    command.arg("--geth-genesis-json-out").arg(&execution);
    command.arg("--output-ssz").arg(&state);
    let log = settings.logs.join("prysmctl.log");
    let mut making = Process::spawn("prysmctl", command, log.clone()).unwrap();
    let status =
        tokio::time::timeout(RUN_LIMIT, making.ended()).await.expect("prysmctl does not end").unwrap();
    let mut bytes = std::fs::read(&state).unwrap_or_else(|error| {
        panic!("prysmctl ended ({status}) without a state: {error}; see {}", log.display())
    });
    set_lookahead(&mut bytes, proposers);
    std::fs::write(&state, &bytes).unwrap();
    let time = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    Genesis { time, config, state, execution }
}

/// Names the proposers of the first two epochs in a Fulu genesis state. prysmctl 7.1.2 leaves them all zero: validator 0
/// would propose every slot. They are the last of the state's fixed part.
///
/// # Panics
/// If the state is none, names proposers already, or `proposers` are not those of two epochs.
pub fn set_lookahead(state: &mut [u8], proposers: &[u64]) {
    let offset: [u8; 4] = state[BEFORE_FIRST_OFFSET..][..4].try_into().unwrap();
    let fixed = usize::try_from(u32::from_le_bytes(offset)).unwrap();
    let bytes: Vec<u8> = proposers.iter().flat_map(|index| index.to_le_bytes()).collect();
    assert_eq!(proposers.len() as u64, 2 * SLOTS_PER_EPOCH);
    let lookahead = &mut state[fixed - bytes.len()..fixed];
    assert!(lookahead.iter().all(|byte| *byte == 0), "prysmctl names proposers now: nothing is to be set");
    lookahead.copy_from_slice(&bytes);
}

/// `SLOT_DURATION_MS` goes beside `SECONDS_PER_SLOT`: clients read either. No parent is so strong that its late child is orphaned: a
/// third of a slot of 4 seconds is soon over on a busy machine.
fn consensus_config(slot_seconds: u64) -> String {
    let hex = |version: [u8; 4]| alloy_primitives::hex::encode_prefixed(version);
    let mut text = format!(
        "PRESET_BASE: mainnet
CONFIG_NAME: earnest-e2e
MIN_GENESIS_ACTIVE_VALIDATOR_COUNT: {VALIDATORS}
MIN_GENESIS_TIME: 0
GENESIS_DELAY: 0
GENESIS_FORK_VERSION: {}
TERMINAL_TOTAL_DIFFICULTY: 0
SECONDS_PER_SLOT: {slot_seconds}
SLOT_DURATION_MS: {}
SECONDS_PER_ETH1_BLOCK: {slot_seconds}
ETH1_FOLLOW_DISTANCE: 8
MIN_VALIDATOR_WITHDRAWABILITY_DELAY: 1
SHARD_COMMITTEE_PERIOD: 1
REORG_PARENT_WEIGHT_THRESHOLD: 1000000
DEPOSIT_CHAIN_ID: {chain_id}
DEPOSIT_NETWORK_ID: {chain_id}
DEPOSIT_CONTRACT_ADDRESS: {}
BLOB_SCHEDULE: []
",
        hex(NETWORK.genesis_fork_version),
        slot_seconds * 1000,
        deposit_contract(),
        chain_id = NETWORK.chain_id,
    );
    let forks = ["ALTAIR", "BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU"];
    for (name, number) in forks.into_iter().zip(2_u8..) {
        let [_, rest @ ..] = FULU_FORK_VERSION;
        let version = hex([number << 4, rest[0], rest[1], rest[2]]);
        text += &format!("{name}_FORK_VERSION: {version}\n{name}_FORK_EPOCH: 0\n");
    }
    text
}

/// prysmctl sets the times of the forks. The system contracts are those that blocks of Osaka call; nobody deposits. The
/// factory makes our own contracts.
fn execution_template(funded: &[Address]) -> Value {
    let blobs = json!({ "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 });
    let mut config = json!({
        "chainId": NETWORK.chain_id,
        "terminalTotalDifficulty": 0,
        "depositContractAddress": deposit_contract(),
        "blobSchedule": { "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477 },
            "prague": blobs, "osaka": blobs },
    });
    for block in [
        "homestead",
        "eip150",
        "eip155",
        "eip158",
        "byzantium",
        "constantinople",
        "petersburg",
        "istanbul",
        "muirGlacier",
        "berlin",
        "london",
        "arrowGlacier",
        "grayGlacier",
        "mergeNetsplit",
    ] {
        config[format!("{block}Block")] = 0.into();
    }
    for time in ["shanghai", "cancun", "prague", "osaka"] {
        config[format!("{time}Time")] = 0.into();
    }
    let mut accounts = json!({});
    for (address, code) in [
        (eip4788::BEACON_ROOTS_ADDRESS, &eip4788::BEACON_ROOTS_CODE),
        (eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE),
        (eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, &eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE),
        (eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, &eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE),
        (FACTORY, &FACTORY_CODE),
    ] {
        accounts[address.to_string()] = json!({ "balance": "0x0", "nonce": "0x1", "code": code });
    }
    let ether = U256::from(10).pow(U256::from(18));
    for address in funded {
        accounts[address.to_string()] = json!({ "balance": U256::from(1000) * ether });
    }
    json!({
        "config": config,
        "nonce": "0x0", "timestamp": "0x0", "extraData": "0x", "difficulty": "0x0",
        "mixHash": alloy_primitives::B256::ZERO, "coinbase": Address::ZERO,
        "gasLimit": format!("{GAS_LIMIT:#x}"), "baseFeePerGas": "0x3b9aca00",
        "alloc": accounts,
    })
}

fn deposit_contract() -> Address {
    Address::repeat_byte(0x42)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lookahead_is_the_end_of_the_fixed_part() {
        let fixed = BEFORE_FIRST_OFFSET + 4 + 10 + 512;
        let mut state = vec![0; fixed + 7];
        state[BEFORE_FIRST_OFFSET..][..4].copy_from_slice(&u32::try_from(fixed).unwrap().to_le_bytes());
        let proposers: Vec<u64> = (1..=64).collect();
        set_lookahead(&mut state, &proposers);
        assert_eq!(state[fixed - 512..][..16], [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(state[fixed - 8..], [64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(state[fixed - 513], 0);
    }

    #[test]
    fn every_fork_is_in_force_from_the_start() {
        let text = consensus_config(4);
        assert!(text.contains("SECONDS_PER_SLOT: 4\nSLOT_DURATION_MS: 4000\n"), "{text}");
        assert_eq!(text.matches("_FORK_EPOCH: 0\n").count(), 6);
        assert!(text.contains("FULU_FORK_VERSION: 0x70e2e000\n"), "{text}");
        assert!(text.contains("GENESIS_FORK_VERSION: 0x10e2e000\n"), "{text}");
    }
}
