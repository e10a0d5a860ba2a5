//! The builder on a real execution client: what comes into the pool half a slot before a slot gets into its block.

#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic, clippy::unwrap_used)] // Tests fail by panic.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256, b256};
use earnest_builder_types::bls::SecretKey;
use earnest_chain::SlotClock;
use earnest_devnet::{
    beacon::{BeaconNode, BeaconOptions},
    builder::{Builder, BuilderOptions},
    execution::{ExecutionNode, ExecutionOptions},
    validator::{Outcome, Report, ValidatorOptions, Validators, interop_key},
};
use earnest_protocol::signing::EcdsaSecret;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The first account of the common development mnemonic; the execution client funds it.
const FUNDED: B256 = b256!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

fn transfer(chain_id: u64, nonce: u64) -> Bytes {
    let tx = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::repeat_byte(9)),
        value: U256::from(1),
        access_list: vec![].into(),
        input: Bytes::new(),
    };
    let secret = EcdsaSecret::from_bytes(&FUNDED.0).unwrap();
    let signature = secret.sign(tx.signature_hash()).unwrap();
    let signature = Signature::from_raw(signature.as_slice()).unwrap();
    tx.into_signed(signature).encoded_2718().into()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn late_transactions_get_into_the_builders_block() {
    let execution = ExecutionNode::start(&ExecutionOptions::default()).await.unwrap();
    let engine = Arc::new(execution.engine().clone());
    let chain_id = execution.rpc().chain_id().await.unwrap();
    let keys: Vec<SecretKey> = (0..2).map(|index| interop_key(index).unwrap()).collect();
    let public = keys.iter().map(SecretKey::public_key).collect();
    let mut options = BeaconOptions::new(engine.clone(), public);
    options.chain_id = chain_id;
    options.slot_ms = 3_000;
    let beacon = BeaconNode::start(options).await.unwrap();

    let (folder, stop) = (TempDir::new().unwrap(), CancellationToken::new());
    let key_file = |name: &str, byte: u8| {
        let file = folder.path().join(name);
        std::fs::write(&file, B256::repeat_byte(byte).to_string()).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        json!({"file": file})
    };
    let version = beacon.genesis().genesis_fork_version;
    let config = json!({
        "listen": "127.0.0.1:0",
        "data_dir": folder.path().join("relay"),
        "beacon": [beacon.url()],
        "network": {"genesis_fork_version": version, "chain_id": chain_id},
        "bls_key": key_file("relay.bls", 7),
        "ecdsa_key": key_file("relay.ecdsa", 8),
        "inbox": "0x0000000000000000000000000000000000000001",
        "free_space_floor": 1,
    });
    let relay = earnest_relay::start(serde_json::from_value(config).unwrap(), stop.clone()).await.unwrap();
    let key = SecretKey::from_bytes(&[9; 32]).unwrap();
    let options = BuilderOptions::new(key, engine, beacon.url().clone(), vec![relay.url.clone()]);
    let builder = Builder::start(options).await.unwrap();
    let options = ValidatorOptions::new(keys, beacon.url().clone(), Some(relay.url.clone()));
    let validators = Validators::start(options).await.unwrap();
    let mut reports = validators.reports();

    // Half a slot before each slot, one transaction.
    let clock = beacon.clock();
    let sending = async {
        for nonce in 0_u64.. {
            let slot = clock.next_slot(now_ms() + clock.fraction_ms(1, 2)).max(1);
            tokio::time::sleep(SlotClock::until(now_ms(), clock.before(slot, 1, 2))).await;
            execution.rpc().send_raw_transaction(&transfer(chain_id, nonce)).await.unwrap();
            tokio::time::sleep(SlotClock::until(now_ms(), clock.start_of(slot))).await;
        }
    };
    // Blocks that pay the proposer are of the last attempt. Whatever else gets in on a slow machine (local
    // blocks, first attempts) leaves its transaction to them.
    let watching = async {
        let mut paying = 0;
        while paying < 3 {
            let Report::Proposed(proposal) = reports.recv().await.unwrap() else { continue };
            let Outcome::Builder { block_root, value, .. } = proposal.outcome else { continue };
            let block = beacon.block(block_root).expect("the relay published it");
            let transactions = block.message().body().execution_payload().transactions().len();
            if value > U256::ZERO {
                assert!(transactions > 0);
                paying += 1;
            }
        }
    };
    tokio::select! {
        () = sending => unreachable!("sends without end"),
        () = watching => {}
        () = tokio::time::sleep(Duration::from_secs(180)) => panic!("builders' blocks were not proposed"),
    }
    validators.shutdown().await;
    builder.shutdown().await;
    stop.cancel();
    relay.join().await.unwrap();
    execution.stop().await.unwrap();
}
