//! Integers in JSON: quoted decimals, as the Ethereum APIs have them.

use std::{fmt, marker::PhantomData, str::FromStr};

use serde::{Deserializer, Serializer, de};
use serde_with::{DeserializeAs, SerializeAs};

/// An unsigned integer as a string of its decimal digits, and nothing else: no sign, no space, no other base.
pub(crate) struct Decimal;

impl<T: fmt::Display> SerializeAs<T> for Decimal {
    fn serialize_as<S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }
}

impl<'de, T: FromStr> DeserializeAs<'de, T> for Decimal {
    fn deserialize_as<D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(Digits(PhantomData))
    }
}

struct Digits<T>(PhantomData<T>);

impl<T: FromStr> de::Visitor<'_> for Digits<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an unsigned integer as a string of decimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let read = if digits { text.parse().ok() } else { None };
        read.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
    use serde::{Deserialize, Serialize, de::DeserializeOwned};
    use serde_with::As;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(bound = "T: fmt::Display + FromStr")]
    struct Number<T>(#[serde(with = "As::<Decimal>")] T);

    fn read<T: fmt::Display + FromStr + PartialEq + fmt::Debug>(json: &str) -> Result<T, String>
    where
        Number<T>: DeserializeOwned,
    {
        serde_json::from_str::<Number<T>>(json).map(|number| number.0).map_err(|error| error.to_string())
    }

    #[test]
    fn digits_alone_are_a_number() {
        assert_eq!(read::<u64>(r#""0""#), Ok(0));
        assert_eq!(read::<u64>(r#""007""#), Ok(7));
        assert_eq!(read::<u64>(r#""18446744073709551615""#), Ok(u64::MAX));
        assert_eq!(read::<U256>(&format!("\"{}\"", U256::MAX)), Ok(U256::MAX));
        assert_eq!(serde_json::to_string(&Number(7_u64)).unwrap(), r#""7""#);
        for text in ["+7", "-7", " 7", "7 ", "7.0", "7e0", "0x7", "0b1", "7_0", "", "\u{661}"] {
            let json = serde_json::to_string(text).unwrap();
            for error in [read::<u64>(&json).unwrap_err(), read::<U256>(&json).unwrap_err()] {
                assert!(
                    error.contains("expected an unsigned integer as a string of decimal digits"),
                    "{error}"
                );
            }
        }
        read::<u64>(r#""18446744073709551616""#).unwrap_err();
        read::<U256>(&format!("\"{}0\"", U256::MAX)).unwrap_err();
        for json in ["7", "null", "true", "[]", "{}", "7.5", "-7"] {
            read::<u64>(json).unwrap_err();
        }
    }
}
