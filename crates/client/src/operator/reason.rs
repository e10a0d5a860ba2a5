//! A contract's refusal as a sentence that says what to do.

use alloy_primitives::U256;
use alloy_sol_types::SolInterface;
use earnest_bindings::{
    OrderingMarket::OrderingMarketErrors as MarketError, Registry::RegistryErrors as RegistryError,
};

use crate::l1_account::L1Error;

use super::amount::ether;

/// Why something was not done on L1, in the contract's own reason where it gave one.
#[must_use]
pub fn explain(error: &L1Error) -> String {
    let L1Error::Chain(chain) = error else { return error.to_string() };
    let reason = chain.revert_data().and_then(|data| reason(data));
    reason.unwrap_or_else(|| match chain {
        earnest_chain::ChainError::Rpc { message, .. } if message.contains("nsufficient funds") => {
            format!("the account has too little ether for it: {message}")
        }
        other => other.to_string(),
    })
}

/// The reason in what a contract returned when it reverted; none if it is not of the Registry or the OrderingMarket.
#[must_use]
pub fn reason(data: &[u8]) -> Option<String> {
    if let Ok(error) = RegistryError::abi_decode(data) {
        return Some(of_registry(&error));
    }
    MarketError::abi_decode(data).ok().map(|error| of_market(&error))
}

fn of_registry(error: &RegistryError) -> String {
    match error {
        RegistryError::AlreadyOptedIn(_) => {
            "the operator has opted in to this slasher already; for another committer opt out first"
        }
        RegistryError::AlreadyUnregistered(_) => "the operator has unregistered already; claim comes next",
        RegistryError::CollateralOverflow(_) => "the collateral would be more than 80 bits of wei; take less",
        RegistryError::CommitterInUse(error) => {
            return format!(
                "the committer is, or was, that of operator {}; take a fresh committer key",
                error.registrationRoot
            );
        }
        RegistryError::CollateralIsLocked(error) => {
            return format!(
                "an accusation is open, and locks the collateral until {} (Unix time) at the latest; answer it",
                error.until
            );
        }
        RegistryError::EthTransferFailed(_) => "the owner's account does not take ether",
        RegistryError::FraudProofWindowNotMet(_) => {
            "the fraud proof window after the registration is not over; opt in later (status says when)"
        }
        RegistryError::InsufficientCollateral(_) => {
            "that is less collateral than the Registry takes; give more by --collateral"
        }
        RegistryError::InvalidCommitter(_) => "the committer is the zero address; name one",
        RegistryError::InvalidOwnerAddress(_) => "the owner is the zero address; name one",
        RegistryError::InvalidProof(_) => "the key is not one of the operator's",
        RegistryError::InvalidRegistrationRoot(_) => "there are no keys to register, or too many",
        RegistryError::NoCollateral(_) => "there is no operator with collateral of this root; register first",
        RegistryError::NoCredit(_) => "the Registry credits nothing to this account",
        RegistryError::NotOptedIn(_) => "the operator has not opted in to this slasher",
        RegistryError::NotSlashed(_) => "the operator was not slashed; claim its collateral the usual way",
        RegistryError::NotUnregistered(_) => "the operator has not unregistered; unregister first",
        RegistryError::OperatorAlreadyRegistered(_) => "the operator is registered already",
        RegistryError::OperatorAlreadyUnregistered(_) => {
            "the operator is unregistering; register again with other consents"
        }
        RegistryError::OperatorDeleted(_) => {
            "the operator's collateral was claimed, which ends it; register again"
        }
        RegistryError::OptInDelayNotMet(_) => {
            "the time between opting in and out, or out and in, is not over (status says when it is)"
        }
        RegistryError::SlashWindowNotMet(_) => {
            "further slashes are possible until the slash window is over; claim later"
        }
        RegistryError::SlashingAlreadyOccurred(_) => {
            "the operator was slashed; what is left can be claimed after the slash window"
        }
        RegistryError::UnregistrationDelayNotMet(_) => {
            "the operator unregistered too short a time ago; claim later (status says when)"
        }
        RegistryError::WrongOperator(_) => {
            "the account is not the operator's owner, or nobody registered that root; check the owner's key"
        }
        other => return format!("the Registry refuses it: {other:?}"),
    }
    .to_owned()
}

fn of_market(error: &MarketError) -> String {
    let until = |time: &U256| format!("not before {time} (Unix time)");
    match error {
        MarketError::EscrowTooLow(error) => {
            return format!("the escrow holds {} only; ask for less", ether(error.escrowWei));
        }
        MarketError::InvalidProof(_) => {
            "the key did not sign its registration for the operator's owner, so its shares cannot be paid"
        }
        MarketError::NotOwner(_) => "the account is not the operator's owner; check the owner's key",
        MarketError::NotReady(error) => {
            return format!("the escrow cannot be taken yet: {}", until(&error.readyAt));
        }
        MarketError::NotRequested(_) => "no withdrawal was asked for; ask for one first",
        MarketError::NothingToClaim(_) => "there is nothing to claim",
        MarketError::ZeroAddress(_) => "the account or the relay is the zero address; name it",
        MarketError::ZeroAmount(_) => "the amount is zero",
        MarketError::EthTransferFailed(_) => "the receiving account does not take ether",
        other => return format!("the market refuses it: {other:?}"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{B256, Bytes};
    use alloy_sol_types::SolError;
    use earnest_bindings::{OrderingMarket, Registry};
    use earnest_chain::ChainError;

    fn reverted(data: Vec<u8>) -> L1Error {
        let data = Some(Bytes::from(data));
        L1Error::Chain(ChainError::Rpc { code: 3, message: "execution reverted".to_owned(), data })
    }

    #[test]
    fn a_contracts_error_is_a_sentence_that_says_what_to_do() {
        let root = B256::repeat_byte(7);
        let said = explain(&reverted(Registry::CommitterInUse { registrationRoot: root }.abi_encode()));
        assert!(said.contains(&root.to_string()) && said.contains("fresh committer"), "{said}");
        let said = explain(&reverted(Registry::FraudProofWindowNotMet {}.abi_encode()));
        assert!(said.contains("opt in later"), "{said}");
        let said = explain(&reverted(OrderingMarket::NotReady { readyAt: U256::from(77) }.abi_encode()));
        assert!(said.contains("77"), "{said}");
        let said = explain(&reverted(
            OrderingMarket::EscrowTooLow { escrowWei: U256::from(10).pow(U256::from(18)) }.abi_encode(),
        ));
        assert!(said.contains("1 ether"), "{said}");
    }

    #[test]
    fn what_is_no_contracts_error_stays_what_it_is() {
        assert_eq!(explain(&reverted(vec![1, 2, 3])), "JSON-RPC error 3: execution reverted");
        let poor = ChainError::Rpc {
            code: -32000,
            message: "insufficient funds for gas * price + value".to_owned(),
            data: None,
        };
        assert!(explain(&L1Error::Chain(poor)).starts_with("the account has too little ether"));
        assert_eq!(explain(&L1Error::NoBlock), L1Error::NoBlock.to_string());
    }

    #[test]
    fn every_error_of_both_contracts_has_words() {
        for (contract, selectors) in
            [("Registry", RegistryError::SELECTORS), ("OrderingMarket", MarketError::SELECTORS)]
        {
            for selector in selectors {
                // Arguments of no error are longer than this.
                let data = [selector.as_slice(), &[0; 128]].concat();
                if let Some(said) = reason(&data) {
                    assert!(said.len() > 15, "{contract} {said}");
                }
            }
        }
        bolero::check!().with_iterations(500).for_each(|bytes: &[u8]| {
            let _ = reason(bytes);
        });
    }
}
