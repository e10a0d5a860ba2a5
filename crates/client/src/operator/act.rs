//! What an operator does on L1, and the calls that do it.

use std::{fmt, sync::Arc};

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolValue;
use earnest_bindings::{OrderingMarket, Registry, deploy::Addresses};
use earnest_protocol::{registry::RegistrationTree, signing::EARNEST_SIGNING_ID, sol};

use crate::l1_account::Call;

use super::amount::ether;

/// Where the contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contracts {
    /// The Registry.
    pub registry: Address,
    /// The slasher that commitments name.
    pub slasher: Address,
    /// The OrderingMarket, if there is one.
    pub market: Option<Address>,
}

impl From<&Addresses> for Contracts {
    fn from(addresses: &Addresses) -> Self {
        let Addresses { registry, ordering_slasher, ordering_market, .. } = *addresses;
        Self { registry, slasher: ordering_slasher, market: Some(ordering_market) }
    }
}

/// Something that an operator does, one transaction each. Amounts in wei.
#[derive(Debug, Clone)]
pub enum Act {
    /// Registers keys. The signing id is `earnest.v1`.
    Register {
        /// The keys' consents.
        tree: Arc<RegistrationTree>,
        /// Whom they consent to.
        owner: Address,
        /// What is put up.
        collateral: U256,
    },
    /// Opts in to the slasher.
    OptIn {
        /// The operator.
        root: B256,
        /// Who signs its commitments.
        committer: Address,
    },
    /// Opts out of the slasher.
    OptOut {
        /// The operator.
        root: B256,
    },
    /// Names the market relay; zero names none.
    NameRelay {
        /// The operator.
        root: B256,
        /// The relay's ECDSA address.
        relay: Address,
    },
    /// Adds to the collateral.
    AddCollateral {
        /// The operator.
        root: B256,
        /// How much.
        amount: U256,
    },
    /// Adds to what an account can bid with.
    Deposit {
        /// The account.
        account: Address,
        /// The relay whose auctions it is for.
        relay: Address,
        /// How much.
        amount: U256,
    },
    /// Starts to leave.
    Unregister {
        /// The operator.
        root: B256,
    },
    /// Takes the collateral out.
    ClaimCollateral {
        /// The operator.
        root: B256,
        /// It was slashed: what is left goes another way.
        slashed: bool,
    },
    /// Takes a proposer key's shares.
    ClaimShare {
        /// Shows that the key is an operator's.
        proof: Box<sol::RegistrationProof>,
        /// How much there is.
        amount: U256,
    },
    /// Takes what the market credited to the account.
    ClaimMarketCredit {
        /// How much there is.
        amount: U256,
    },
    /// Takes what the Registry credited to the account, as the harmed party of a slash.
    ClaimRegistryCredit {
        /// How much there is.
        amount: U256,
    },
    /// Asks for escrow back.
    RequestWithdrawal {
        /// The relay whose auctions it was for.
        relay: Address,
        /// How much.
        amount: U256,
    },
    /// Takes the escrow that was asked for.
    Withdraw {
        /// The relay whose auctions it was for.
        relay: Address,
    },
}

/// Why there is no call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// The market is not known.
    #[error("the OrderingMarket's address is missing: `market` in [registry], or an addresses file")]
    NoMarket,
    /// What is registered does not encode.
    #[error("the registration does not encode: {0}")]
    Encoding(String),
}

impl Act {
    /// The call that does it.
    ///
    /// # Errors
    /// [`ActError`].
    pub fn call(&self, contracts: &Contracts) -> Result<Call, ActError> {
        let Contracts { registry, slasher, market } = *contracts;
        let market = || market.ok_or(ActError::NoMarket);
        Ok(match self {
            Self::Register { tree, owner, collateral } => {
                let registrations: Result<Vec<_>, _> = tree.registrations().iter().map(words).collect();
                let call = Registry::registerCall {
                    registrations: registrations?,
                    owner: *owner,
                    signingId: EARNEST_SIGNING_ID,
                };
                Call::new(registry, &call).paying(*collateral)
            }
            Self::OptIn { root, committer } => {
                let (root, committer) = (*root, *committer);
                Call::new(
                    registry,
                    &Registry::optInToSlasherCall { registrationRoot: root, slasher, committer },
                )
            }
            Self::OptOut { root } => {
                Call::new(registry, &Registry::optOutOfSlasherCall { registrationRoot: *root, slasher })
            }
            Self::NameRelay { root, relay } => {
                let call = OrderingMarket::nameRelayCall { registrationRoot: *root, relay: *relay };
                Call::new(market()?, &call)
            }
            Self::AddCollateral { root, amount } => {
                Call::new(registry, &Registry::addCollateralCall { registrationRoot: *root }).paying(*amount)
            }
            Self::Deposit { account, relay, amount } => {
                let call = OrderingMarket::depositCall { account: *account, relay: *relay };
                Call::new(market()?, &call).paying(*amount)
            }
            Self::Unregister { root } => {
                Call::new(registry, &Registry::unregisterCall { registrationRoot: *root })
            }
            Self::ClaimCollateral { root, slashed: false } => {
                Call::new(registry, &Registry::claimCollateralCall { registrationRoot: *root })
            }
            Self::ClaimCollateral { root, slashed: true } => {
                Call::new(registry, &Registry::claimSlashedCollateralCall { registrationRoot: *root })
            }
            Self::ClaimShare { proof, .. } => {
                let proof = SolValue::abi_decode(&proof.abi_encode()).map_err(encoding)?;
                Call::new(market()?, &OrderingMarket::claimProposerShareCall { proof })
            }
            Self::ClaimMarketCredit { .. } => Call::new(market()?, &OrderingMarket::claimCall {}),
            Self::ClaimRegistryCredit { .. } => Call::new(registry, &Registry::claimCreditCall {}),
            Self::RequestWithdrawal { relay, amount } => {
                let call = OrderingMarket::requestWithdrawalCall { relay: *relay, amountWei: *amount };
                Call::new(market()?, &call)
            }
            Self::Withdraw { relay } => Call::new(market()?, &OrderingMarket::withdrawCall { relay: *relay }),
        })
    }
}

/// Two bindings of one struct.
fn words(registration: &sol::SignedRegistration) -> Result<Registry::SignedRegistration, ActError> {
    Registry::SignedRegistration::abi_decode(&registration.abi_encode()).map_err(encoding)
}

#[expect(clippy::needless_pass_by_value, reason = "errors are handed over")]
fn encoding(error: alloy_sol_types::Error) -> ActError {
    ActError::Encoding(error.to_string())
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { tree, owner, collateral } => {
                let keys = tree.registrations().len();
                write!(
                    f,
                    "register {keys} keys for {owner} with {}: root {}",
                    ether(*collateral),
                    tree.root()
                )
            }
            Self::OptIn { committer, .. } => write!(f, "opt in to the slasher with committer {committer}"),
            Self::OptOut { .. } => f.write_str("opt out of the slasher"),
            Self::NameRelay { relay, .. } => write!(f, "name {relay} as the market relay"),
            Self::AddCollateral { amount, .. } => write!(f, "add {} to the collateral", ether(*amount)),
            Self::Deposit { account, relay, amount } => {
                write!(f, "deposit {} for the bids of {account} at relay {relay}", ether(*amount))
            }
            Self::Unregister { root } => write!(f, "unregister {root}"),
            Self::ClaimCollateral { root, slashed: false } => write!(f, "claim the collateral of {root}"),
            Self::ClaimCollateral { root, slashed: true } => {
                write!(f, "claim what slashing left of the collateral of {root}")
            }
            Self::ClaimShare { amount, .. } => write!(f, "claim {} of proposer shares", ether(*amount)),
            Self::ClaimMarketCredit { amount } => {
                write!(f, "claim {} that the market credits", ether(*amount))
            }
            Self::ClaimRegistryCredit { amount } => {
                write!(f, "claim {} that the Registry credits", ether(*amount))
            }
            Self::RequestWithdrawal { amount, relay } if amount.is_zero() => {
                write!(f, "take back the request for escrow at relay {relay}")
            }
            Self::RequestWithdrawal { amount, relay } => {
                write!(f, "ask for {} of the escrow at relay {relay}", ether(*amount))
            }
            Self::Withdraw { relay } => write!(f, "take the escrow asked for at relay {relay}"),
        }
    }
}
