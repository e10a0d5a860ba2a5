//! Amounts of wei as people write them.

use std::{fmt, str::FromStr};

use alloy_primitives::{
    U256,
    utils::{format_units, parse_units},
};

/// Longest amount that is read, in characters.
const MAX_TEXT: usize = 100;

/// An amount, wei. Written as `32ether`, `0.5ether`, `20gwei`, `7wei`, or as a whole number of wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(pub U256);

/// Not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write an amount as 32ether, 0.5ether, 20gwei, or a whole number of wei")]
pub struct AmountError;

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text.len() > MAX_TEXT {
            return Err(AmountError);
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let decimals = match text.get(digits.len()..).unwrap_or_default() {
            "ether" | "eth" | "ETH" => 18,
            "gwei" => 9,
            "wei" | "" => 0,
            _ => return Err(AmountError),
        };
        let number = digits.trim();
        // What `parse_units` takes besides, such as a sign or a bare point, nobody means.
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(part) || (number.contains('.') && part.len() > decimals.into()) {
            return Err(AmountError);
        }
        let wei = parse_units(number, decimals).map_err(|_| AmountError)?;
        Ok(Self(wei.get_absolute()))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ether(self.0))
    }
}

/// An amount of wei in ether, to the wei, without trailing zeros: `0.5 ether`.
#[must_use]
pub fn ether(wei: U256) -> String {
    let text = format_units(wei, 18).unwrap_or_else(|_| wei.to_string());
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} ether")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_written_in_ether_gwei_or_wei() {
        let wei = |text: &str| text.parse::<Amount>().map(|amount| amount.0);
        let ether = U256::from(10).pow(U256::from(18));
        assert_eq!(wei("32ether"), Ok(ether * U256::from(32)));
        assert_eq!(wei("0.5 ether"), Ok(ether / U256::from(2)));
        assert_eq!(wei("1eth"), Ok(ether));
        assert_eq!(wei("20gwei"), Ok(U256::from(20_000_000_000_u64)));
        assert_eq!(wei("7"), Ok(U256::from(7)));
        assert_eq!(wei("7wei"), Ok(U256::from(7)));
        assert_eq!(wei("0.000000000000000001ether"), Ok(U256::from(1)));
        for wrong in [
            "",
            "ether",
            "-1ether",
            "+1ether",
            "1.5",
            "1.5wei",
            "0.0000000000000000001ether",
            "1e18",
            "0x10",
            "1 2ether",
            ".5ether",
            "5.ether",
            "1.2.3ether",
            "1finney",
            "1,5ether",
            "1_000",
        ] {
            assert_eq!(wei(wrong), Err(AmountError), "{wrong}");
        }
        assert_eq!(wei(&"9".repeat(99)), Err(AmountError));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(words in any::<[u64; 3]>()) {
            let wei = U256::from_limbs([words[0], words[1], words[2], 0]);
            prop_assert_eq!(ether(wei).parse::<Amount>().unwrap().0, wei);
        }

        #[test]
        fn any_text_is_an_amount_or_an_error(text in ".{0,120}") {
            let _ = text.parse::<Amount>();
        }
    }
}
