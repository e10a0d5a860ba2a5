//! The contracts onto a chain, by the binary and by Forge: the same addresses, code that answers, and nothing twice.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_rpc_types_eth::{TransactionInput, TransactionRequest};
use alloy_sol_types::SolCall;
use earnest_bindings::{
    OrderingMarket, OrderingSlasher, Registry,
    deploy::{Addresses, FACTORY, FACTORY_CODE, Parameters, plan},
};
use earnest_devnet::anvil::{AnvilNode, AnvilOptions};
use earnest_tests::binary::run;
use tokio::process::Command;

/// The first account of the common development mnemonic, which anvil funds.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

fn contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts").canonicalize().unwrap()
}

fn addresses(file: &Path) -> Addresses {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

async fn call<C: SolCall>(anvil: &AnvilNode, to: alloy_primitives::Address, call: &C) -> C::Return {
    let request = TransactionRequest {
        to: Some(to.into()),
        input: TransactionInput::both(call.abi_encode().into()),
        ..TransactionRequest::default()
    };
    C::abi_decode_returns(&anvil.rpc().call(&request, BlockId::latest()).await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_binary_and_forge_deploy_to_the_same_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let parameters = contracts().join("script/parameters.json");
    let known: Parameters = serde_json::from_str(&std::fs::read_to_string(&parameters).unwrap()).unwrap();
    let anvil = AnvilNode::start(&AnvilOptions::new(known.chain_id)).await.unwrap();
    std::fs::write(file("key"), KEY).unwrap();

    let deploy = async |out: &str, more: &[&str]| {
        let parameters = parameters.to_str().unwrap();
        let rpc = anvil.rpc_url().as_str();
        let mut arguments = vec!["contracts", "deploy", "--rpc", rpc, "--key-file", "key"];
        arguments.extend(["--parameters", parameters, "--out", out]);
        arguments.extend(more);
        let outcome = run(arguments, folder.path()).await;
        let said = String::from_utf8(outcome.stdout).unwrap();
        assert!(outcome.status.success(), "{said}{}", String::from_utf8_lossy(&outcome.stderr));
        said
    };
    let said = deploy("dry.json", &["--dry-run"]).await;
    assert_eq!(said.matches("would be deployed").count(), 5, "{said}");
    assert_eq!(anvil.rpc().block_number().await.unwrap(), 0, "nothing was sent");
    let said = deploy("made.json", &[]).await;
    assert_eq!(said.matches("deployed with").count(), 5, "{said}");
    let said = deploy("again.json", &[]).await;
    assert_eq!(said.matches("is there").count(), 5, "{said}");
    assert_eq!(anvil.rpc().block_number().await.unwrap(), 5);

    let made = addresses(&file("made.json"));
    assert_eq!(made, plan(&known).unwrap().addresses);
    assert_eq!((addresses(&file("dry.json")), addresses(&file("again.json"))), (made, made));
    let config = call(&anvil, made.registry, &Registry::getConfigCall {}).await;
    assert_eq!(config.minCollateralWei.to::<u128>(), known.registry.min_collateral_wei);
    let config = call(&anvil, made.ordering_slasher, &OrderingSlasher::getConfigCall {}).await;
    assert_eq!(config.safetyWei.to::<u128>(), known.slasher.safety_wei);
    assert_eq!(call(&anvil, made.ordering_market, &OrderingMarket::INBOXCall {}).await, made.inbox);

    let forges = AnvilNode::start(&AnvilOptions::new(known.chain_id)).await.unwrap();
    let out = format!("cache/addresses-{}.json", std::process::id());
    let outcome = Command::new(contracts().join("forge"))
        .args(["script", "script/Deploy.s.sol", "--rpc-url", forges.rpc_url().as_str()])
        .args(["--private-key", KEY, "--broadcast", "--slow"])
        .env("PARAMETERS", "script/parameters.json")
        .env("ADDRESSES", &out)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success(), "{said}{}", String::from_utf8_lossy(&outcome.stderr));
    let by_forge = addresses(&contracts().join(&out));
    std::fs::remove_file(contracts().join(&out)).unwrap();
    assert_eq!(by_forge, made);
    for (name, address) in made.named() {
        let code = async |node: &AnvilNode| node.rpc().code(address, BlockNumberOrTag::Latest).await.unwrap();
        assert_eq!(code(&anvil).await, code(&forges).await, "{name}");
    }
    assert_eq!(anvil.rpc().code(FACTORY, BlockNumberOrTag::Latest).await.unwrap(), FACTORY_CODE);
}

#[tokio::test]
async fn what_cannot_be_deployed_is_said_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let parameters = std::fs::read_to_string(contracts().join("script/parameters.json")).unwrap();
    std::fs::write(folder.path().join("key"), KEY).unwrap();
    let anvil = AnvilNode::start(&AnvilOptions::new(1)).await.unwrap();
    for (parameters, said) in [
        (parameters.clone(), "chain id 1, not 560048"),
        (parameters.replace("\"slash_window\": 604800", "\"slash_window\": 5"), "way out"),
        (parameters.replace("slot_ms", "slot"), "unknown field"),
    ] {
        std::fs::write(folder.path().join("parameters.json"), parameters).unwrap();
        let rpc = anvil.rpc_url().as_str();
        let mut arguments = vec!["contracts", "deploy", "--rpc", rpc, "--key-file", "key"];
        arguments.extend(["--parameters", "parameters.json", "--out", "out.json"]);
        let outcome = run(arguments, folder.path()).await;
        let error = String::from_utf8_lossy(&outcome.stderr);
        assert!(!outcome.status.success() && error.contains(said), "{said}: {error}");
        assert!(!folder.path().join("out.json").exists());
    }
    assert_eq!(anvil.rpc().block_number().await.unwrap(), 0);
}
