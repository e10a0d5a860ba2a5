//! A gateway's API: transactions in, receipts out, and the signed order as a stream (design §4).

use alloy_primitives::{B256, Bytes as RawBytes};
use earnest_protocol::RollupId;
use earnest_protocol::messages::{GatewayInfo, SubmitTransaction};
use earnest_protocol::receipt::PreconfReceipt;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use url::Url;

use crate::error::ClientError;
use crate::stream::OrderStream;
use crate::transport::{JSON, Limits, OCTETS, Transport};

/// Client of one gateway.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    transport: Transport,
}

impl GatewayClient {
    /// A client of the gateway at `base`.
    ///
    /// # Errors
    /// As [`Transport::new`].
    pub fn new(base: &Url, limits: Limits) -> Result<Self, ClientError> {
        Ok(Self { transport: Transport::new(base, limits)? })
    }

    /// The HTTP client below.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// `GET /ordering/v1/info`: who this gateway is and which windows it holds.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn info(&self) -> Result<GatewayInfo, ClientError> {
        self.transport.get_json("ordering/v1/info", "gateway info").await
    }

    /// Submits a signed transaction (EIP-2718) as JSON. Submitting it again gives the first receipt.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the gateway's code (`not_holder`, `nonce`, `busy`, …), or any other.
    pub async fn submit(
        &self,
        rollup: RollupId,
        transaction: &RawBytes,
    ) -> Result<PreconfReceipt, ClientError> {
        let body = SubmitTransaction { transaction: transaction.clone() };
        self.transport.post_json(&transactions(rollup), &body).await?.ok()?.json("receipt")
    }

    /// Submits a signed transaction as raw bytes.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn submit_raw(
        &self,
        rollup: RollupId,
        transaction: impl Into<bytes::Bytes>,
    ) -> Result<PreconfReceipt, ClientError> {
        let request = self
            .transport
            .request(Method::POST, &transactions(rollup))?
            .header(CONTENT_TYPE, OCTETS)
            .header(ACCEPT, JSON)
            .body(transaction.into());
        self.transport.send(request).await?.ok()?.json("receipt")
    }

    /// The receipt of a transaction, none if the gateway has not ordered it.
    ///
    /// # Errors
    /// Any [`ClientError`] but a 404.
    pub async fn receipt(
        &self,
        rollup: RollupId,
        tx_hash: B256,
    ) -> Result<Option<PreconfReceipt>, ClientError> {
        let path = format!("ordering/v1/rollups/{rollup}/receipts/{tx_hash}");
        match self.transport.get_json(&path, "receipt").await {
            Err(ClientError::Refused(refusal)) if refusal.status == 404 => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// The signed order of a rollup as it is made, from after the event `last_event_id`, or from the oldest the gateway
    /// keeps open. Reconnects by itself and resumes where it was.
    #[must_use]
    pub fn stream(&self, rollup: RollupId, last_event_id: Option<String>) -> OrderStream {
        OrderStream::new(self.transport.clone(), rollup, last_event_id)
    }
}

fn transactions(rollup: RollupId) -> String {
    format!("ordering/v1/rollups/{rollup}/transactions")
}
