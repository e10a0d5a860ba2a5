//! anvil as a rollup's execution.

#![allow(clippy::unwrap_used)]

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, U256};
use earnest_devnet::anvil::{AnvilNode, AnvilOptions};

#[tokio::test]
async fn two_rollups_beside_each_other() {
    let first = AnvilNode::start(&AnvilOptions::new(4242)).await.unwrap();
    let second = AnvilNode::start(&AnvilOptions::new(4243)).await.unwrap();
    assert_ne!(first.rpc_url(), second.rpc_url());
    assert_eq!(first.rpc().chain_id().await.unwrap(), 4242);
    assert_eq!(second.rpc().chain_id().await.unwrap(), 4243);

    let account = Address::repeat_byte(0x77);
    first.fund(account, U256::from(5)).await.unwrap();
    assert_eq!(first.rpc().balance(account, BlockNumberOrTag::Latest).await.unwrap(), U256::from(5));
    assert_eq!(second.rpc().balance(account, BlockNumberOrTag::Latest).await.unwrap(), U256::ZERO);

    let gone = first.rpc().clone();
    first.stop().await.unwrap();
    assert!(gone.chain_id().await.is_err());
    assert!(second.rpc().chain_id().await.is_ok());
}
