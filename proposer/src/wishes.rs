//! What each validator wants of its bids: whom they pay, how much they are worth, and who may offer them (design §6). Pure.

use std::collections::HashMap;

use alloy_primitives::{Address, U256};
use earnest_builder_types::BlsPublicKey;

use crate::config::Config;
use crate::slot_state::SourceIndex;

/// What a validator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whom its blocks must pay. None: whomever its registration names.
    pub fee_recipient: Option<Address>,
    /// Least value of a bid, in wei.
    pub min_bid: U256,
    /// The sources that may know it, in the order of the configuration.
    pub sources: Vec<SourceIndex>,
}

/// What every validator wants.
#[derive(Debug, Clone)]
pub struct Wishes {
    common: Wish,
    own: HashMap<BlsPublicKey, Wish>,
}

impl Wishes {
    /// The wishes of a configuration that [`Config::check`] has passed.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let names: Vec<String> = config.sources.iter().map(crate::config::SourceConfig::name).collect();
        let all: Vec<SourceIndex> = (0..names.len()).collect();
        let common = Wish { fee_recipient: None, min_bid: config.min_bid_wei.0, sources: all };
        let mut own = HashMap::new();
        for validators in &config.validators {
            let named = |index: &SourceIndex| {
                let name = names.get(*index);
                validators.relays.is_empty() || name.is_some_and(|name| validators.relays.contains(name))
            };
            let wish = Wish {
                fee_recipient: validators.fee_recipient,
                min_bid: validators.min_bid_wei.map_or(common.min_bid, |wei| wei.0),
                sources: common.sources.iter().copied().filter(named).collect(),
            };
            own.extend(validators.pubkeys.iter().map(|key| (*key, wish.clone())));
        }
        Self { common, own }
    }

    /// What a validator wants.
    #[must_use]
    pub fn of(&self, key: &BlsPublicKey) -> &Wish {
        self.own.get(key).unwrap_or(&self.common)
    }

    /// Whether all validators want the same, so that nobody need look at them one by one.
    #[must_use]
    pub fn are_all_alike(&self) -> bool {
        self.own.values().all(|wish| wish.fee_recipient.is_none() && wish.sources == self.common.sources)
    }
}
