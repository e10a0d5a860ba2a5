//! Commands that are killed, and transactions that get nowhere.

use std::{path::Path, sync::Arc};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::U256;
use axum::{Router, routing::post};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::{OWNER, RELAY, Rig, ether};

#[tokio::test]
async fn what_a_killed_command_sent_is_not_sent_again() {
    let rig = Rig::start().await;
    rig.rpc("evm_setAutomine", json!([false])).await;
    rig.killed(&["register"], async || rig.in_pool().await).await;
    let [root] = rig.roots()[..] else { panic!("the file is there before anything is sent") };
    let said = rig.proposer(&["register", "--dry-run"]).await.well();
    assert!(said.contains("would be sent again") && said.contains("on its way: register"), "{said}");
    rig.rpc("evm_setAutomine", json!([true])).await;
    rig.rpc("evm_mine", json!([])).await;
    let before = rig.blocks().await;
    let said = rig.proposer(&["register"]).await.well();
    assert!(said.contains("cut off") && said.contains(&format!("2 keys are registered in {root}")), "{said}");
    assert_eq!((rig.blocks().await, rig.roots().len()), (before, 1));

    // Of two steps the first was sent: it counts, and the second is done.
    let deposit = ["deposit", "--escrow", "1ether", "--collateral", "1ether"];
    rig.rpc("evm_setAutomine", json!([false])).await;
    rig.killed(&deposit, async || rig.in_pool().await).await;
    rig.rpc("evm_setAutomine", json!([true])).await;
    rig.rpc("evm_mine", json!([])).await;
    let said = rig.proposer(&deposit).await.well();
    assert!(said.contains("by the run that was cut off") && said.contains("1. add 1 ether"), "{said}");
    assert_eq!(rig.escrow().await, ether(1));
    assert_eq!(rig.operator(root).await.collateralWei.to::<U256>(), ether(3));
    // Asked for once more, it is done once more.
    rig.proposer(&deposit).await.well();
    assert_eq!(
        (rig.escrow().await, rig.operator(root).await.collateralWei.to::<U256>()),
        (ether(2), ether(4))
    );
}

#[tokio::test]
async fn a_transaction_whose_fee_became_too_low_is_replaced_and_done_once() {
    let rig = Rig::start().await;
    rig.rpc("evm_setAutomine", json!([false])).await;
    let deposit = ["deposit", "--escrow", "1ether"];
    rig.killed(&deposit, async || rig.in_pool().await).await;
    rig.rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be4000"])).await;
    rig.rpc("evm_mine", json!([])).await;
    assert!(rig.escrow().await.is_zero(), "the block takes no offer that low");
    rig.rpc("evm_setAutomine", json!([true])).await;
    let said = rig.proposer(&deposit).await.well();
    assert!(
        said.contains("the base fee is 160 gwei by now") && said.contains("cut off (transaction"),
        "{said}"
    );
    assert_eq!(rig.escrow().await, ether(1));
    let folder = std::fs::read_dir(rig.operator_folder()).unwrap();
    assert!(
        folder.into_iter().all(|entry| !entry.unwrap().file_name().to_str().unwrap().starts_with("sent-"))
    );
}

/// Stands before the execution client, and keeps what is sent to itself.
async fn swallower(rpc: Url, sent: Arc<Mutex<u32>>) -> Url {
    let client = reqwest::Client::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let pass = async move |body: String| -> String {
        if body.contains("eth_sendRawTransaction") {
            *sent.lock() += 1;
            std::future::pending::<()>().await;
        }
        let request = client.post(rpc).header("content-type", "application/json").body(body);
        request.send().await.unwrap().text().await.unwrap()
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(pass))).await.unwrap() });
    url
}

#[tokio::test]
async fn what_was_signed_and_never_arrived_is_sent_as_it_was() {
    let rig = Rig::start().await;
    let sent = Arc::new(Mutex::new(0));
    let proxy = swallower(rig.anvil.rpc_url().clone(), Arc::clone(&sent)).await;
    let nonce = async || rig.anvil.rpc().nonce(OWNER, BlockNumberOrTag::Pending).await.unwrap();
    let first = nonce().await;
    let through = ["deposit", "--escrow", "1ether", "--rpc", proxy.as_str()];
    rig.killed(&through, async || *sent.lock() == 1).await;
    assert_eq!(nonce().await, first, "the node has not got it");
    let written = sent_file(&rig.operator_folder());
    let said = rig.proposer(&["deposit", "--escrow", "1ether"]).await.well();
    assert!(said.contains(written[0]["hash"].as_str().unwrap()), "{said}");
    assert_eq!((rig.escrow().await, nonce().await), (ether(1), first + 1));

    // A node that does not answer: it is said that the transaction may be on its way.
    let said = rig.proposer(&through).await;
    said.refused("nothing is sent twice");
    assert_eq!(*sent.lock(), 2);
    // Meanwhile the account did something else.
    rig.transact(json!({"from": OWNER, "to": RELAY, "value": "0x1"})).await;
    let said = rig.proposer(&["deposit", "--escrow", "1ether"]).await.well();
    assert!(said.contains("came to nothing"), "{said}");
    assert_eq!((rig.escrow().await, nonce().await), (ether(2), first + 3));
}

fn sent_file(folder: &Path) -> Value {
    let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = names.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("sent-")).unwrap();
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}
