//! `/relay/v1/data`: what the relay saw and did, for everyone. One file for each endpoint.

pub(super) mod builder_blocks_received;
pub(super) mod proposer_payload_delivered;
pub(super) mod validator_registration;

use crate::api::decimal;
use axum::extract::{Query, rejection::QueryRejection};
use earnest_http::ApiError;
use std::{collections::HashMap, str::FromStr};

/// What stands behind the question mark, name by name.
pub(super) type RawQuery = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The arguments of a query. As at other relays, an empty one is none, and a name that is not known is passed over.
#[derive(Debug)]
struct Arguments(HashMap<String, String>);

impl Arguments {
    /// # Errors
    /// 400 if the query cannot be read, or names an argument twice.
    fn read(query: RawQuery) -> Result<Self, ApiError> {
        let Query(pairs) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
        let mut arguments = HashMap::with_capacity(pairs.len());
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            if arguments.contains_key(&name) {
                return Err(ApiError::bad_request(format!("{name} is given twice")));
            }
            arguments.insert(name, value);
        }
        Ok(Self(arguments))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// # Errors
    /// 400 if the argument is there and is none.
    fn get<T>(
        &self,
        name: &str,
        form: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let invalid = || ApiError::bad_request(format!("invalid {name} argument: expected {form}"));
        read(text).map(Some).ok_or_else(invalid)
    }

    fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.get(name, "a decimal number", decimal)
    }

    fn hash<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.get(name, "0x and 64 hexadecimal digits", |text| text.parse().ok())
    }

    fn key<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.get(name, "0x and 96 hexadecimal digits", |text| text.parse().ok())
    }

    /// # Errors
    /// 400 if the limit is not a number, or is more than `most`.
    fn limit(&self, most: usize) -> Result<Option<usize>, ApiError> {
        let Some(limit) = self.number("limit")? else { return Ok(None) };
        match usize::try_from(limit) {
            Ok(limit) if limit <= most => Ok(Some(limit)),
            _ => Err(ApiError::bad_request(format!("maximum limit is {most}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use axum::http::Uri;

    fn arguments(query: &str) -> Result<Arguments, ApiError> {
        let uri: Uri = format!("/?{query}").parse().unwrap();
        Arguments::read(Query::try_from_uri(&uri))
    }

    #[test]
    fn arguments_by_table() {
        let hash = format!("block_hash=0x{}", "ab".repeat(32));
        let cases: [(&str, Result<(), &str>); 15] = [
            ("", Ok(())),
            ("slot=&block_hash=&limit=", Ok(())),
            ("something=else", Ok(())),
            ("slot=18446744073709551615&limit=10", Ok(())),
            (&hash, Ok(())),
            ("slot=1&slot=2", Err("slot is given twice")),
            ("slot=18446744073709551616", Err("invalid slot argument: expected a decimal number")),
            ("slot=%2B1", Err("invalid slot argument: expected a decimal number")),
            ("slot=-1", Err("invalid slot argument: expected a decimal number")),
            ("slot=0x10", Err("invalid slot argument: expected a decimal number")),
            ("slot=%00", Err("invalid slot argument: expected a decimal number")),
            ("block_hash=0x12", Err("invalid block_hash argument: expected 0x and 64 hexadecimal digits")),
            ("limit=11", Err("maximum limit is 10")),
            ("limit=18446744073709551615", Err("maximum limit is 10")),
            ("limit=ten", Err("invalid limit argument: expected a decimal number")),
        ];
        for (query, expected) in cases {
            let read = || {
                let arguments = arguments(query)?;
                arguments.number("slot")?;
                arguments.hash::<B256>("block_hash")?;
                arguments.limit(10)
            };
            let error = read().err().map(|error| (error.status.as_u16(), error.message));
            assert_eq!(error, expected.err().map(|message| (400, message.to_owned())), "{query}");
        }
    }

    #[test]
    fn any_query_is_read_or_refused() {
        bolero::check!().with_iterations(1000).with_type::<String>().for_each(|query| {
            let Ok(uri) = format!("/?{query}").parse::<Uri>() else { return };
            if let Ok(arguments) = Arguments::read(Query::try_from_uri(&uri)) {
                let _ = (arguments.number("slot"), arguments.hash::<B256>("block_hash"), arguments.limit(1));
            }
        });
    }
}
