//! The chain's first block and state.

use alloy_primitives::{Address, Bytes, U256, address};
use earnest_bindings::deploy::{FACTORY, FACTORY_CODE};
use serde_json::{Value, json};

/// Prague from the start, the system contracts of EIP-2935, EIP-4788, EIP-7002 and EIP-7251, no accounts.
const TEMPLATE: &str = include_str!("../../peers/genesis-prague.json");

/// What differs from one devnet to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenesisOptions {
    /// Chain id.
    pub chain_id: u64,
    /// Unix seconds. The first block must be later.
    pub timestamp: u64,
    /// Gas limit of the first block; it stays there.
    pub gas_limit: u64,
    /// Wei per gas of the first block.
    pub base_fee: u64,
    /// Accounts and their wei.
    pub accounts: Vec<(Address, U256)>,
    /// Contracts that are there from the start, without state, and their code.
    pub contracts: Vec<(Address, Bytes)>,
}

impl Default for GenesisOptions {
    /// Chain id 7014190335, long ago, 30 million gas, the base fee at its least, one account: the first of the
    /// common development mnemonic, with 10,000 ether; and the factory through which contracts are deployed.
    fn default() -> Self {
        Self {
            chain_id: 7_014_190_335,
            timestamp: 0x6500_0000,
            gas_limit: 30_000_000,
            base_fee: 7,
            accounts: vec![(
                address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
                U256::from(10_000_000_000_000_000_000_000_u128),
            )],
            contracts: vec![(FACTORY, FACTORY_CODE)],
        }
    }
}

/// The template is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("genesis template: {0}")]
pub struct GenesisError(String);

impl GenesisOptions {
    /// The genesis in geth's form.
    pub(crate) fn to_json(&self) -> Result<String, GenesisError> {
        let mut genesis: Value =
            serde_json::from_str(TEMPLATE).map_err(|error| GenesisError(error.to_string()))?;
        let mut set = |pointer: &str, value: Value| {
            let place = genesis.pointer_mut(pointer).ok_or_else(|| GenesisError(format!("no {pointer}")))?;
            *place = value;
            Ok::<_, GenesisError>(())
        };
        set("/config/chainId", json!(self.chain_id))?;
        set("/timestamp", json!(format!("{:#x}", self.timestamp)))?;
        set("/gasLimit", json!(format!("{:#x}", self.gas_limit)))?;
        set("/baseFeePerGas", json!(format!("{:#x}", self.base_fee)))?;
        let accounts = genesis
            .pointer_mut("/alloc")
            .and_then(Value::as_object_mut)
            .ok_or_else(|| GenesisError("no /alloc".into()))?;
        for (account, balance) in &self.accounts {
            accounts.insert(account.to_string(), json!({ "balance": format!("{balance:#x}") }));
        }
        for (contract, code) in &self.contracts {
            accounts.insert(contract.to_string(), json!({ "balance": "0x0", "code": code }));
        }
        Ok(genesis.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_eips::{eip2935, eip4788, eip7002, eip7251};
    use alloy_primitives::bytes;

    #[test]
    fn the_options_and_the_system_contracts_are_in_it() {
        let account = Address::repeat_byte(0xab);
        let options = GenesisOptions {
            chain_id: 5,
            timestamp: 1_764_000_000,
            gas_limit: 36_000_000,
            base_fee: 1_000_000_000,
            accounts: vec![(account, U256::MAX)],
            contracts: vec![(Address::repeat_byte(0xcd), bytes!("6001"))],
        };
        let genesis: Value = serde_json::from_str(&options.to_json().unwrap()).unwrap();
        assert_eq!(genesis["config"]["chainId"], 5);
        assert_eq!(genesis["timestamp"], "0x69248100");
        assert_eq!(genesis["gasLimit"], "0x2255100");
        assert_eq!(genesis["baseFeePerGas"], "0x3b9aca00");
        let alloc = genesis["alloc"].as_object().unwrap();
        assert_eq!(alloc.len(), 6);
        assert_eq!(alloc[&Address::repeat_byte(0xcd).to_string()]["code"], "0x6001");
        assert_eq!(alloc[&account.to_string()]["balance"], format!("{:#x}", U256::MAX));
        for (place, code) in [
            (eip4788::BEACON_ROOTS_ADDRESS, &eip4788::BEACON_ROOTS_CODE),
            (eip2935::HISTORY_STORAGE_ADDRESS, &eip2935::HISTORY_STORAGE_CODE),
            (eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, &eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_CODE),
            (
                eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
                &eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_CODE,
            ),
        ] {
            let found = alloc[&place.to_string()]["code"].as_str().unwrap();
            assert_eq!(&found.parse::<Bytes>().unwrap(), code, "{place}");
        }
    }
}
