//! Nonces and balances of many accounts on one state, in few requests.

use std::sync::atomic::Ordering;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, U64, U256};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{Answer, ExecutionClient, Request, Unusable};
use crate::error::ChainError;

/// Accounts in one JSON-RPC batch. Each takes two calls, and some clients take no more than 100 at once.
const ACCOUNTS_AT_ONCE: usize = 50;
/// JSON-RPC's code for parameters that the method does not take.
const INVALID_PARAMS: i64 = -32602;

/// An account on one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountState {
    /// Its next nonce.
    pub nonce: u64,
    /// Its balance, in wei.
    pub balance: U256,
}

impl ExecutionClient {
    /// Nonce and balance of each account after the block `at`, in the order of `accounts`: `eth_getTransactionCount`
    /// and `eth_getBalance`, one JSON-RPC batch for up to 50 accounts.
    ///
    /// A block named by its hash is asked for in the form of EIP-1898. A client that does not take that form is asked
    /// by the block's number, if the block is on its chain before and after.
    ///
    /// # Errors
    /// As [`Self::call_method`], for the first call that failed. [`ChainError::Malformed`] if the client cannot be
    /// asked by hash and the block is not on its chain.
    pub async fn account_states(
        &self,
        accounts: &[Address],
        at: BlockId,
    ) -> Result<Vec<AccountState>, ChainError> {
        match (self.states(accounts, at).await, at) {
            (Err(ChainError::Rpc { code: INVALID_PARAMS, message, .. }), BlockId::Hash(hash)) => {
                tracing::debug!(
                    node = self.endpoint.name(),
                    message,
                    "no states by block hash, asking by number"
                );
                let number = self.number_on_chain(hash.block_hash).await?;
                let states = self.states(accounts, number.into()).await?;
                // A reorganisation in between would have given the state of another block.
                self.number_on_chain(hash.block_hash).await?;
                Ok(states)
            }
            (answer, _) => answer,
        }
    }

    /// The number of a block that is on the client's chain.
    async fn number_on_chain(&self, hash: B256) -> Result<u64, ChainError> {
        let missing = || self.endpoint.malformed(&format!("block {hash} is not on its chain"));
        let number = self.block_by_hash(hash).await?.ok_or_else(missing)?.header.number;
        let block = self.block(number.into()).await?.ok_or_else(missing)?;
        if block.header.hash == hash { Ok(number) } else { Err(missing()) }
    }

    async fn states(&self, accounts: &[Address], at: BlockId) -> Result<Vec<AccountState>, ChainError> {
        let at = match at {
            // alloy writes a hash bare, which not every client takes.
            BlockId::Hash(hash) => match hash.require_canonical {
                Some(required) => json!({"blockHash": hash.block_hash, "requireCanonical": required}),
                None => json!({"blockHash": hash.block_hash}),
            },
            BlockId::Number(number) => json!(number),
        };
        let mut states = Vec::with_capacity(accounts.len());
        for some in accounts.chunks(ACCOUNTS_AT_ONCE) {
            let calls: Vec<(&str, (Address, &Value))> = some
                .iter()
                .flat_map(|account| {
                    ["eth_getTransactionCount", "eth_getBalance"].map(|method| (method, (*account, &at)))
                })
                .collect();
            let body = self.batch(&calls).await?;
            for pair in body.chunks_exact(2) {
                let [nonce, balance] = pair else { continue };
                let nonce: U64 = self.read(nonce)?;
                states.push(AccountState { nonce: nonce.to(), balance: self.read(balance)? });
            }
        }
        Ok(states)
    }

    fn read<T: serde::de::DeserializeOwned>(&self, result: &RawValue) -> Result<T, ChainError> {
        serde_json::from_str(result.get()).map_err(|error| self.endpoint.malformed(&error))
    }

    /// Sends calls as one batch; their results in the order of the calls.
    async fn batch<P: Serialize + Copy>(
        &self,
        calls: &[(&str, P)],
    ) -> Result<Vec<Box<RawValue>>, ChainError> {
        let count = u64::try_from(calls.len()).unwrap_or(u64::MAX);
        let first = self.next_id.fetch_add(count, Ordering::Relaxed);
        let requests: Vec<Request<'_, P>> = (first..)
            .zip(calls)
            .map(|(id, (method, params))| Request { jsonrpc: "2.0", id, method, params: *params })
            .collect();
        let request = self.endpoint.request(Method::POST, "").json(&requests);
        let (status, body) = self.endpoint.send(request).await?;
        match read_answers(&body, first, calls.len()) {
            Ok(results) => Ok(results),
            Err(unusable) => Err(self.unusable(unusable, status, &body)),
        }
    }
}

/// The results in an answer to a batch of `count` requests with ids from `first` on, in the order of the ids. A
/// client that refuses the batch as a whole answers one error object.
fn read_answers(body: &[u8], first: u64, count: usize) -> Result<Vec<Box<RawValue>>, Unusable> {
    let answers: Vec<Answer<'_>> = match serde_json::from_slice(body) {
        Ok(answers) => answers,
        Err(error) => {
            let whole = serde_json::from_slice::<Answer<'_>>(body).ok().and_then(|answer| answer.error);
            return Err(whole.map_or_else(|| Unusable::NotRpc(error.to_string()), Unusable::Failure));
        }
    };
    let mut results: Vec<Option<Box<RawValue>>> = vec![None; count];
    for answer in answers {
        if let Some(failure) = answer.error {
            return Err(Unusable::Failure(failure));
        }
        let place = answer.id.as_u64().and_then(|id| usize::try_from(id.checked_sub(first)?).ok());
        let held = place
            .and_then(|place| results.get_mut(place))
            .ok_or_else(|| Unusable::NotRpc("an answer to another request".to_owned()))?;
        *held = Some(answer.result.unwrap_or(RawValue::NULL).to_owned());
    }
    let missing = || Unusable::NotRpc("an answer that leaves out requests".to_owned());
    results.into_iter().collect::<Option<_>>().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<String>, String> {
        read_answers(body.as_bytes(), 7, 2)
            .map(|results| results.iter().map(|result| result.get().to_owned()).collect())
            .map_err(|unusable| match unusable {
                Unusable::Failure(failure) => format!("{}: {}", failure.code, failure.message),
                Unusable::NotRpc(_) => "not an answer".to_owned(),
            })
    }

    #[test]
    fn answers_come_in_the_order_of_the_requests() {
        let ok = Ok(vec!["\"0x1\"".to_owned(), "\"0x2\"".to_owned()]);
        assert_eq!(read(r#"[{"id":7,"result":"0x1"},{"id":8,"result":"0x2"}]"#), ok);
        assert_eq!(read(r#"[{"id":8,"result":"0x2"},{"id":7,"result":"0x1"}]"#), ok);
    }

    #[test]
    fn a_batch_fails_as_a_whole() {
        let refused =
            r#"[{"id":7,"result":"0x1"},{"id":8,"error":{"code":-32000,"message":"header not found"}}]"#;
        assert_eq!(read(refused), Err("-32000: header not found".to_owned()));
        let whole = r#"{"id":null,"error":{"code":-32600,"message":"batch too large"}}"#;
        assert_eq!(read(whole), Err("-32600: batch too large".to_owned()));
        for odd in [
            "[]",
            r#"[{"id":7,"result":"0x1"}]"#,
            r#"[{"id":7,"result":"0x1"},{"id":7,"result":"0x1"}]"#,
            r#"[{"id":7,"result":"0x1"},{"id":9,"result":"0x1"}]"#,
            r#"[{"id":7,"result":"0x1"},{"id":6,"result":"0x1"}]"#,
            r#"[{"id":7,"result":"0x1"},{"id":"8","result":"0x1"}]"#,
            r#"{"id":7,"result":"0x1"}"#,
            "<html>",
        ] {
            assert_eq!(read(odd), Err("not an answer".to_owned()), "{odd}");
        }
    }

    #[test]
    fn any_bytes_are_answers_or_an_error() {
        bolero::check!().with_iterations(1000).for_each(|bytes: &[u8]| {
            let _ = read_answers(bytes, 1, 2);
        });
    }
}
