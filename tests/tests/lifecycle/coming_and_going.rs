//! Registering, counting and leaving, by one operator and by several.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use earnest_bindings::{OrderingMarket, Registry};
use earnest_protocol::signing::EcdsaSecret;
use serde_json::{Value, json};

use super::{COMMITTER, FRAUD_WINDOW, LEAVING, OPT_IN_DELAY, OWNER, RELAY, Rig, WITHDRAWAL, ether};

#[tokio::test]
async fn an_operator_comes_counts_and_goes() {
    let rig = Rig::start().await;
    let (boosted, elsewhere) = (rig.hold(&rig.commit_boost), rig.hold(&rig.web3signer));
    rig.proposer(&["status"]).await.refused("no operator is known");

    // Dry: shown, not sent, not written.
    let before = rig.blocks().await;
    let said = rig.proposer(&["register", "--dry-run"]).await.well();
    for part in
        ["register 4 keys", "with 2 ether", " gas, ", "gwei now", "would be written", "nothing was sent"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!((rig.blocks().await, rig.roots().len()), (before, 0));
    assert!(!rig.operator_folder().exists());

    // With keystores, Commit-Boost and Web3Signer: every consent holds, or the indexer would leave the key out.
    let said = rig.proposer(&["register", "--collateral", "2.5ether"]).await.well();
    let [root] = rig.roots()[..] else { panic!("{said}") };
    assert!(said.contains(&format!("registration root {root}")) && said.contains("   in block "), "{said}");
    let operator = rig.operator(root).await;
    assert_eq!((operator.owner, operator.numKeys), (OWNER, 4));
    assert_eq!(operator.collateralWei.to::<u128>(), 2_500_000_000_000_000_000);
    let file = rig.operator_folder().join(format!("registration-{root}.json"));
    let record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let keys: Vec<&str> = record["registrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["pubkey"].as_str().unwrap())
        .collect();
    assert!(keys.contains(&boosted.to_string().as_str()) && keys.contains(&elsewhere.to_string().as_str()));
    assert_eq!((rig.commit_boost.requests().len(), rig.web3signer.requests().len()), (2, 2));

    // Again: nothing is left to do.
    let before = rig.blocks().await;
    let said = rig.proposer(&["register"]).await.well();
    assert!(said.contains(&format!("4 keys are registered in {root}")), "{said}");
    assert_eq!(rig.blocks().await, before);

    // Not before the time for showing forged consents is over.
    rig.proposer(&["opt-in"]).await.refused("fraud proof window");
    let (code, status) = rig.status().await;
    assert_eq!((code, &status["operators"][0]["keys_signed"]), (3, &json!(4)));
    assert!(
        status["operators"][0]["problems"][0].as_str().unwrap().contains("it can opt in from"),
        "{status}"
    );
    rig.wait(FRAUD_WINDOW).await;
    let said = rig.proposer(&["opt-in", "--dry-run"]).await.well();
    assert!(said.contains("1. opt in") && said.contains("2. name"), "{said}");
    let said = rig.proposer(&["opt-in"]).await.well();
    assert!(said.contains("count from epoch"), "{said}");
    let slasher = rig.addresses.ordering_slasher;
    let call = Registry::getSlasherCommitmentCall { registrationRoot: root, slasher };
    assert_eq!(rig.ask(rig.addresses.registry, &call).await.committer, COMMITTER);
    let call = OrderingMarket::relayOfCall { registrationRoot: root };
    assert_eq!(rig.ask(rig.addresses.ordering_market, &call).await, RELAY);
    let said = rig.proposer(&["opt-in"]).await.well();
    assert!(said.contains("nothing is left to do"), "{said}");
    rig.proposer(&["opt-in", "--committer", &RELAY.to_string()]).await.refused("opt out, wait");

    let said = rig.proposer(&["deposit", "--escrow", "1ether", "--collateral", "0.5ether"]).await.well();
    assert!(said.contains("now: 1 ether") && said.contains("now: 3 ether"), "{said}");
    assert_eq!(rig.escrow().await, ether(1));

    // By the beacon node it does not count yet; without one nothing is known that is wrong.
    let (code, status) = rig.status().await;
    assert_eq!(code, 3);
    assert!(
        status["operators"][0]["problems"][0].as_str().unwrap().contains("counts from epoch"),
        "{status}"
    );
    rig.configure("no-beacon.toml", &"http://127.0.0.1:9".parse().unwrap(), "owner", COMMITTER);
    let said = rig.with("no-beacon.toml", &["status"]).await;
    assert!(said.err.contains("no beacon node answers"), "{}", said.all());
    let said = said.well();
    let committer = COMMITTER.to_string();
    for part in [
        "operational       yes",
        "3 ether, at least 2 ether",
        "4, 4 signed",
        &committer,
        "escrow          1 ether",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    // Proposer shares go to the owner: L1 itself checks the consents of the keys with signers elsewhere.
    for key in [boosted, elsewhere] {
        rig.give_share(&key, ether(1)).await;
    }
    assert!(rig.with("no-beacon.toml", &["status"]).await.well().contains("2 ether to claim"));
    let before = rig.balance().await;
    let said = rig.proposer(&["claim"]).await.well();
    assert!(
        said.contains("2. claim 1 ether of proposer shares") && said.contains("the collateral stays"),
        "{said}"
    );
    assert!(rig.balance().await > before + ether(1));

    // Out again.
    rig.proposer(&["claim"]).await.refused("unregister it");
    let said = rig.proposer(&["unregister", "--dry-run"]).await.well();
    assert!(said.contains("1 min 20 s after that"), "{said}");
    let said = rig.proposer(&["unregister"]).await.well();
    for part in ["can be claimed from", "is liable for what", "keep the sidecar running"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(rig.proposer(&["unregister"]).await.well().contains("done: unregistered at"));
    rig.proposer(&["claim"]).await.refused("the collateral can be claimed from");
    let (code, status) = rig.status().await;
    assert_eq!((code, &status["operators"][0]["liable"]), (3, &json!(true)));
    // An accusation keeps the collateral beyond that.
    let call = Registry::lockCollateralCall { registrationRoot: root }.abi_encode();
    rig.as_slasher(call).await;
    rig.wait(LEAVING).await;
    rig.proposer(&["claim"]).await.refused("an accusation is open");
    let (_, status) = rig.status().await;
    assert!(
        status["operators"][0]["locked_until"].is_u64() && status["operators"][0]["liable"] == true,
        "{status}"
    );
    let call = Registry::freeCollateralCall { registrationRoot: root }.abi_encode();
    rig.as_slasher(call).await;
    let before = rig.balance().await;
    rig.proposer(&["claim"]).await.well();
    let after = rig.balance().await;
    assert!(after > before + ether(2) && after < before + ether(3), "collateral less gas: {before} {after}");
    assert!(rig.operator(root).await.deleted);
    assert!(rig.proposer(&["claim"]).await.well().contains("done: the collateral was claimed"));

    rig.proposer(&["withdraw", "--amount", "2ether"]).await.refused("holds 1 ether");
    assert!(rig.proposer(&["withdraw"]).await.well().contains("1 min 40 s after it was asked for"));
    assert!(rig.proposer(&["withdraw"]).await.well().contains("done: 1 ether were asked for"));
    rig.wait(WITHDRAWAL).await;
    rig.proposer(&["withdraw"]).await.well();
    assert_eq!(rig.escrow().await, U256::ZERO);
    assert!(rig.proposer(&["withdraw"]).await.well().contains("nothing in escrow"));

    // The very same keys come back, under another root.
    rig.proposer(&["register"]).await.well();
    let roots = rig.roots();
    assert_eq!(roots.len(), 2);
    let back = roots.into_iter().find(|other| *other != root).unwrap();
    assert_eq!(rig.operator(back).await.numKeys, 4);
    let (_, status) = rig.status().await;
    let came_back = status["operators"].as_array().unwrap().iter();
    let keys: Vec<_> = came_back.map(|it| (it["claimed"].clone(), it["keys_signed"].clone())).collect();
    assert!(keys.contains(&(json!(false), json!(4))) && keys.contains(&(json!(true), json!(4))), "{status}");
}

#[tokio::test]
async fn an_operator_changes_its_committer() {
    let rig = Rig::start().await;
    rig.proposer(&["register"]).await.well();
    rig.wait(FRAUD_WINDOW).await;
    rig.proposer(&["opt-in"]).await.well();
    rig.proposer(&["opt-out"]).await.refused("the operator can opt out from");
    rig.wait(OPT_IN_DELAY).await;
    let said = rig.proposer(&["opt-out"]).await.well();
    assert!(said.contains("is liable for what its committer signed"), "{said}");
    assert!(rig.proposer(&["opt-out"]).await.well().contains("done: opted out"));
    let fresh = EcdsaSecret::random().address().to_string();
    rig.proposer(&["opt-in", "--committer", &fresh]).await.refused("can opt in again from");
    rig.wait(OPT_IN_DELAY).await;
    rig.proposer(&["opt-in", "--committer", &fresh]).await.well();
    let (code, status) = rig.status().await;
    assert_eq!(
        (code, status["operators"][0]["committer"].as_str().unwrap().to_lowercase()),
        (3, fresh.to_lowercase())
    );
    let problems = status["operators"][0]["problems"].to_string();
    assert!(problems.contains("the gateway's is"), "{problems}");
}

#[tokio::test]
async fn more_keys_than_a_transaction_holds_are_several_operators() {
    let rig = Rig::start().await;
    for _ in 0..255 {
        rig.hold(&rig.web3signer);
    }
    let said = rig.proposer(&["register"]).await.well();
    assert_eq!(said.matches("registration root").count(), 2, "{said}");
    let mut keys = Vec::new();
    for root in rig.roots() {
        keys.push(rig.operator(root).await.numKeys);
    }
    keys.sort_unstable();
    assert_eq!(keys, [1, 256]);
    let said = rig.proposer(&["register"]).await.well();
    assert!(said.contains("256 keys are registered in") && said.contains("nothing is left to do"), "{said}");
}
