//! Integers in JSON: written as quoted decimals, read quoted or bare, decimal or `0x` hexadecimal.

use alloy_primitives::U256;
use serde::{Deserializer, Serializer, de};
use std::{fmt, marker::PhantomData};

/// Writes `value` as a quoted decimal.
pub fn serialize<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Reads an integer that fits `T`, quoted or bare.
pub fn deserialize<'de, T: TryFrom<U256>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Tolerant(PhantomData))
}

struct Tolerant<T>(PhantomData<T>);

impl<T: TryFrom<U256>> de::Visitor<'_> for Tolerant<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an unsigned integer, bare or as a decimal or 0x-hexadecimal string")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        T::try_from(U256::from(value)).map_err(|_| E::custom("integer out of range"))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        self.visit_u64(u64::try_from(value).map_err(|_| E::custom("negative integer"))?)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        parse(text)
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| E::custom("not an integer in range"))
    }
}

/// Parses a decimal or `0x` hexadecimal integer: digits only, no sign, no separators.
pub fn parse(text: &str) -> Option<U256> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.is_empty() || digits.len() > 78 || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    U256::from_str_radix(digits, u64::from(radix)).ok()
}

/// Like the parent module, but written in the constraints-specs form of a type number: `"0x01"`.
pub mod hex {
    use serde::Serializer;

    pub use super::deserialize;

    /// Writes `value` as quoted `0x` hexadecimal of whole bytes.
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let digits = format!("{value:x}");
        let zero = if digits.len().is_multiple_of(2) { "" } else { "0" };
        serializer.collect_str(&format_args!("0x{zero}{digits}"))
    }
}

/// Lists of integers, each written as a quoted decimal.
pub mod list {
    use alloy_primitives::U256;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::fmt;

    /// Writes each value as a quoted decimal.
    pub fn serialize<T: fmt::Display, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(T::to_string))
    }

    /// Reads each value quoted or bare.
    pub fn deserialize<'de, T: TryFrom<U256>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        struct Item<T>(T);
        impl<'de, T: TryFrom<U256>> Deserialize<'de> for Item<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                super::deserialize(deserializer).map(Self)
            }
        }
        Ok(Vec::<Item<T>>::deserialize(deserializer)?.into_iter().map(|item| item.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        #[serde(with = "super")]
        plain: u16,
        #[serde(with = "super::hex")]
        kind: u64,
    }

    #[test]
    fn reads_every_form_and_writes_one() {
        for plain in ["258", "\"258\"", "\"0x102\""] {
            for kind in ["1", "\"1\"", "\"0x1\"", "\"0x01\""] {
                let row: Row =
                    serde_json::from_str(&format!("{{\"plain\":{plain},\"kind\":{kind}}}")).unwrap();
                assert_eq!(row, Row { plain: 258, kind: 1 });
                assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"plain":"258","kind":"0x01"}"#);
            }
        }
    }

    #[test]
    fn refuses_what_is_no_integer_in_range() {
        for plain in
            ["65536", "-1", "1.5", "\"\"", "\"0x\"", "\"+1\"", "\"1_0\"", "\"0b1\"", "null", "\" 1\""]
        {
            let text = format!("{{\"plain\":{plain},\"kind\":1}}");
            assert!(serde_json::from_str::<Row>(&text).is_err(), "{plain}");
        }
    }
}
